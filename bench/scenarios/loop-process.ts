import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { builtRoot } from './built-root.ts';
import type { LoopMessage, LoopReply, LoopResult } from './loop-task.ts';
import { nodeOnCore } from './pinning.ts';

/** A process that repeats one piece of work whenever it is asked to; the script's side is `serveLoop` of loop-task.ts. */
export class LoopProcess {
  readonly pid: number;
  /** What it said of itself when it was ready. */
  readonly note: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, note: string) {
    this.pid = child.pid!;
    this.note = note;
    this.#child = child;
  }

  /** `script`: a file of this folder in dist/. `options` go to its `prepare`, by structured clone. Rejects with what is thrown there. */
  static async start(script: string, options: unknown, core: number | null): Promise<LoopProcess> {
    const path = fileURLToPath(new URL(`bench/scenarios/${script}`, builtRoot));
    const [command, ...args] = nodeOnCore(core, [path]);
    const child = spawn(command!, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
    try {
      const reply = await ask(child, { prepare: options });
      return new LoopProcess(child, 'ready' in reply ? reply.ready : '');
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async run(ms: number): Promise<LoopResult> {
    const reply = await ask(this.#child, { runMs: ms });
    if (!('result' in reply)) throw new Error('a loop process answered a run with something else');
    return reply.result;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    // It may be inside a blocking call, where nothing else ends it.
    this.#child.kill('SIGKILL');
    await ended;
  }
}

function ask(child: ChildProcess, message: LoopMessage): Promise<LoopReply> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null): void => reject(new Error(`a loop process ended with ${code} before it answered`));
    child.once('exit', ended);
    child.once('message', (reply: LoopReply) => {
      child.off('exit', ended);
      if ('failed' in reply) reject(new Error(reply.failed));
      else resolve(reply);
    });
    child.send(message);
  });
}
