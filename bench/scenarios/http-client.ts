import { connect, type Socket } from 'node:net';

/**
 * The cheapest honest HTTP client: one keep-alive connection, one prepared request sent again and again, each answer awaited and its status checked.
 * Latencies are in microseconds, where autocannon counts whole milliseconds.
 */
export class PingPong {
  readonly #socket: Socket;
  readonly #request: Buffer;

  private constructor(socket: Socket, request: Buffer) {
    this.#socket = socket;
    this.#request = request;
  }

  static async connect(port: number, request: Buffer): Promise<PingPong> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new PingPong(socket, request);
  }

  /** Sends for `durationMs` and returns the latency of each answer, microseconds, in order. Rejects on any answer but 200. */
  run(durationMs: number): Promise<Float64Array> {
    const socket = this.#socket;
    const latencies: number[] = [];
    const untilMs = performance.now() + durationMs;
    return new Promise((resolve, reject) => {
      let sentMs = 0;
      let received: Buffer = Buffer.alloc(0);
      const send = (): void => {
        received = Buffer.alloc(0);
        sentMs = performance.now();
        socket.write(this.#request);
      };
      const finish = (end: () => void): void => {
        socket.off('data', onData);
        socket.off('error', reject);
        end();
      };
      const onData = (chunk: Buffer): void => {
        received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
        const headEnd = received.indexOf('\r\n\r\n');
        if (headEnd < 0) return;
        const head = received.toString('latin1', 0, headEnd);
        const length = Number(/\r\ncontent-length: *([0-9]+)/i.exec(head)?.[1] ?? Number.NaN);
        if (!head.startsWith('HTTP/1.1 200') || Number.isNaN(length)) {
          finish(() => reject(new Error(`unexpected answer: ${head.split('\r\n')[0]}`)));
          return;
        }
        if (received.length < headEnd + 4 + length) return;
        const nowMs = performance.now();
        latencies.push((nowMs - sentMs) * 1000);
        if (nowMs < untilMs) send();
        else finish(() => resolve(Float64Array.from(latencies)));
      };
      socket.on('data', onData);
      socket.on('error', reject);
      send();
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A whole HTTP/1.1 request as bytes. */
export function postRequest(path: string, headers: Readonly<Record<string, string>>, body: Uint8Array): Buffer {
  const lines = Object.entries({ host: '127.0.0.1', ...headers, 'content-length': String(body.length) }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`), body]);
}

/** The value below which a fraction `q` of the (unsorted) values lies. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: ArrayLike<number>): number => quantile(values, 0.5);
