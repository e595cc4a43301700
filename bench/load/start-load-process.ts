import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { InferenceError } from '../../proto/inference-error.ts';
import type { LoadProcess, StartLoadProcess } from './load-client.ts';
import type { LoadMessage, OwnerMessage } from './load-messages.ts';
import type { Pace } from './load-plan.ts';
import type { LoadWindow } from './load-window.ts';

/** What is kept of the last words of a process, for the error that tells of its end. */
const STDERR_BYTES = 2000;
/** How long a process may take to end by itself. */
const END_GRACE_MS = 2000;
/** A generator makes little that lives long: a young generation of this size, MiB, is emptied seldom, and in a moment. */
const SEMI_SPACE_MIB = 16;

export const startLoadProcess: StartLoadProcess = async (plan) => {
  const client = new LoadProcessClient();
  try {
    const ready = await client.ask({ kind: 'plan', plan }, 'ready');
    client.sockets = ready.sockets;
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
};

type Answer = Exclude<LoadMessage, { kind: 'window' | 'failed' }>;

/** The load process that one asked, and its answer's kind. One question at a time. */
interface Question {
  readonly kind: Answer['kind'];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: InferenceError) => void;
}

class LoadProcessClient implements LoadProcess {
  readonly pid: number;
  sockets: 'native' | 'node' = 'node';
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #stderr = '';
  #question: Question | null = null;
  #onWindow: (window: LoadWindow) => void = () => {};
  #end: InferenceError | null = null;

  constructor() {
    this.#child = fork(loadProcessEntry(), [], {
      serialization: 'advanced',
      // Not the owner's own flags: a debugger's port, for one, is taken.
      execArgv: [`--max-semi-space-size=${SEMI_SPACE_MIB}`],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.pid = this.#child.pid ?? 0;
    const stderr = this.#child.stderr!;
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_BYTES);
    });
    const wordsEnded = new Promise<void>((resolve) => stderr.once('close', resolve));
    this.#child.on('message', (message: LoadMessage) => this.#onMessage(message));
    this.ended = new Promise((resolve) => {
      const ended = (how: string): void => {
        const words = this.#stderr.trim();
        this.#end = new InferenceError('UNAVAILABLE', `the load process ended (${how})${words === '' ? '' : `: ${words}`}`);
        this.#question?.reject(this.#end);
        this.#question = null;
        resolve();
      };
      this.#child.once('error', (error) => ended(error.message));
      // Not 'close', which does not come where this side disconnects.
      this.#child.once('exit', (code, signal) => void wordsEnded.then(() => ended(signal ?? `exit code ${code}`)));
    });
  }

  async start(pace: Pace, windowMs: number, onWindow: (window: LoadWindow) => void): Promise<void> {
    this.#onWindow = onWindow;
    await this.ask({ kind: 'start', pace, windowMs }, 'started');
  }

  async stop(): Promise<LoadWindow> {
    return (await this.ask({ kind: 'stop' }, 'stopped')).window;
  }

  async close(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), END_GRACE_MS);
    await this.ended;
    clearTimeout(kill);
  }

  ask<K extends Answer['kind']>(message: OwnerMessage, kind: K): Promise<Extract<Answer, { kind: K }>> {
    return new Promise((resolve, reject) => {
      if (this.#end !== null) {
        reject(this.#end);
        return;
      }
      if (this.#question !== null) {
        reject(new InferenceError('INVALID_ARGUMENT', `the load process is still to say '${this.#question.kind}'; wait for it`));
        return;
      }
      this.#question = { kind, resolve: resolve as (answer: Answer) => void, reject };
      this.#child.send(message, (error) => {
        // Its end says why.
        if (error !== null && this.#child.pid === undefined) reject(new InferenceError('UNAVAILABLE', error.message, { cause: error }));
      });
    });
  }

  #onMessage(message: LoadMessage): void {
    if (message.kind === 'window') {
      this.#onWindow(message.window);
      return;
    }
    const question = this.#question;
    if (question === null) return;
    this.#question = null;
    if (message.kind === 'failed') question.reject(new InferenceError(message.code, message.message));
    else if (message.kind === question.kind) question.resolve(message);
    else question.reject(new InferenceError('INTERNAL', `the load process said '${message.kind}' where '${question.kind}' was to come`));
  }
}

/** `load-process.js` beside this module; when this runs from its sources (tests do), the twin under dist/, since a child process needs JavaScript. */
function loadProcessEntry(): string {
  const isBuilt = import.meta.url.endsWith('.js');
  const path = fileURLToPath(new URL(isBuilt ? './load-process.js' : '../../dist/bench/load/load-process.js', import.meta.url));
  if (!existsSync(path)) throw new InferenceError('UNAVAILABLE', `${path} is missing; run 'npm run build' first`);
  return path;
}
