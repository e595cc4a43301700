import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface LineServerOptions {
  readonly kind?: 'lines' | 'echo';
  readonly host?: string;
  readonly port?: number;
  /** What follows the number of the line; 'silence': nothing at all; 'parts': three parts, 30 ms apart, then ok. */
  readonly answer?: string;
  /** Which line (from 1) holds the whole server up, and how long. */
  readonly stallAt?: number;
  readonly stallMs?: number;
  /** Ends a connection after so many lines on it; 0: never. */
  readonly closeAfter?: number;
}

/** fixtures/line-server.mjs in a thread of its own: a native loop blocks the one that it runs in. */
export class LineServer {
  readonly port: number;
  readonly #worker: Worker;

  private constructor(worker: Worker, port: number) {
    this.#worker = worker;
    this.port = port;
  }

  static async start(options: LineServerOptions = {}): Promise<LineServer> {
    const worker = new Worker(new URL('./fixtures/line-server.mjs', import.meta.url), { workerData: options });
    const [message] = (await once(worker, 'message')) as [{ port?: number; error?: string }];
    if (message.port !== undefined) return new LineServer(worker, message.port);
    await worker.terminate();
    throw new Error(`the test's server does not listen: ${message.error}`);
  }

  async tell(message: { answer?: string; drop?: boolean; pause?: boolean; stopListening?: boolean }): Promise<void> {
    this.#worker.postMessage(message);
    await once(this.#worker, 'message');
  }

  /** Lines as they came, and the sockets open now. */
  async report(): Promise<{ readonly seen: readonly string[]; readonly sockets: number }> {
    this.#worker.postMessage({ report: true });
    const [message] = (await once(this.#worker, 'message')) as [{ seen: string[]; sockets: number }];
    return message;
  }

  /** Returns when no connection is open any more. */
  async closed(): Promise<void> {
    const endMs = performance.now() + 5000;
    while ((await this.report()).sockets > 0) {
      if (performance.now() > endMs) throw new Error('connections are left open');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
