import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type InferenceClient } from '../../clients/typescript/src/index.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { ConfigDocument, HostKind } from './knobs.ts';
import { serverEntry } from './server-entry.ts';

/** Of the server's log, for the error that tells of its end. */
const LOG_BYTES = 8_000;
/** How long it may take to end by itself. */
const END_GRACE_MS = 5_000;
/** A model that takes longer to load than the server lets it fails there. */
const LOAD_TIMEOUT_MS = 15 * 60_000;
/** Lines of its log that tell why it ended. */
const TELLING: ReadonlySet<unknown> = new Set(['error', 'fatal']);

export interface TuneServerOptions {
  /** The model repository; nothing is written there. */
  readonly repository: string;
  readonly host: HostKind;
}

/** A `nereid serve` on free ports of the loopback interface, which loads what it is told to. Whoever starts it closes it. */
export class TuneServer {
  readonly pid: number;
  readonly host: HostKind;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #log = '';
  #http = '';
  #grpc = '';
  #client: InferenceClient | null = null;
  #hasEnded = false;

  private constructor({ repository, host }: TuneServerOptions) {
    this.host = host;
    const args = [
      ...['serve', '--model-repository', repository, '--model-control-mode', 'explicit', '--execution-host', host],
      ...['--http-address', '127.0.0.1', '--grpc-address', '127.0.0.1', '--metrics-address', '127.0.0.1'],
      ...['--http-port', '0', '--grpc-port', '0', '--metrics-port', '0', '--exit-timeout-secs', '2'],
      // What a configuration took the place of is not kept in memory beside it.
      ...['--rollback-keep-secs', '0', '--log-format', 'json', '--log-level', 'info'],
    ];
    // Its options come from the environment as those of any server; but its log is read here.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('NEREID_LOG_')));
    this.#child = spawn(process.execPath, [serverEntry(), ...args], { stdio: ['ignore', 'ignore', 'pipe'], env });
    this.pid = this.#child.pid ?? 0;
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-LOG_BYTES);
      this.#child.emit('log');
    });
    const kill = (): void => void this.#child.kill('SIGKILL');
    // Nothing is left behind, however this process ends; but for a SIGKILL.
    process.once('exit', kill);
    this.#exited = new Promise((resolve) => {
      const ended = (): void => {
        this.#hasEnded = true;
        process.removeListener('exit', kill);
        resolve();
      };
      this.#child.once('error', ended);
      this.#child.once('close', ended);
    });
  }

  /** Throws InferenceError with its own last words when it does not come up. */
  static async start(options: TuneServerOptions): Promise<TuneServer> {
    const server = new TuneServer(options);
    try {
      await server.#listens();
      server.#client = await connect(server.#http, { retry: false });
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** As `nereid bench --url` takes them. */
  urlFor(isGrpc: boolean): string {
    return isGrpc ? this.#grpc : this.#http;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** `config`: in the place of the one on disk; null: that. What was loaded before is gone first, so that nothing of it is left in memory. Throws InferenceError. */
  async load(model: string, config: ConfigDocument | null): Promise<void> {
    await this.unload(model);
    await this.#call((client) => client.loadModel(model, { ...(config === null ? {} : { config }), timeoutMs: LOAD_TIMEOUT_MS }));
  }

  async unload(model: string): Promise<void> {
    await this.#call((client) => client.unloadModel(model));
  }

  /** With everything filled in. The model must be loaded. */
  config(model: string): Promise<ConfigDocument> {
    return this.#call((client) => client.modelConfig(model));
  }

  /** Ends it, and waits for that. */
  async close(): Promise<void> {
    await this.#client?.close();
    this.#child.kill('SIGTERM');
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), END_GRACE_MS);
    await this.#exited;
    clearTimeout(kill);
  }

  /** Why it ended, from its log: ''. */
  lastWords(): string {
    const lines = this.#log.split('\n').map(parseLine);
    const line = lines.findLast((one) => one !== null && TELLING.has(one['level']));
    return line === undefined || line === null ? '' : String(line['msg']);
  }

  async #call<T>(run: (client: InferenceClient) => Promise<T>): Promise<T> {
    try {
      return await run(this.#client!);
    } catch (error) {
      if (!this.#hasEnded) throw error;
      throw new InferenceError('UNAVAILABLE', this.#endedText(), { cause: error });
    }
  }

  async #listens(): Promise<void> {
    for (;;) {
      const line = this.#log
        .split('\n')
        .map(parseLine)
        .find((one) => one !== null && String(one['msg']).startsWith('serving '));
      if (line !== undefined && line !== null) {
        this.#http = String(line['http']);
        this.#grpc = String(line['grpc']);
        return;
      }
      if (this.#hasEnded) throw new InferenceError('UNAVAILABLE', this.#endedText());
      await Promise.race([new Promise<void>((resolve) => this.#child.once('log', resolve)), this.#exited]);
    }
  }

  #endedText(): string {
    const words = this.lastWords() || this.#log.trim().split('\n').at(-1) || '';
    return `the server that was started for the measurement has ended${words === '' ? '' : `: ${words}`}`;
  }
}

function parseLine(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' && line !== null ? (line as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
