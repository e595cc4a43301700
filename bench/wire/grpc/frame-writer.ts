import type { LaneSink } from '../../load/lane.ts';
import type { LoadSocket } from '../../load/socket-loop.ts';

/** Four of the largest frames that every server takes, and some: what a write to the kernel carries at the most. */
const BUFFER_BYTES = 96 * 1024;

/** Collects frames until they are sent with one write. Requests that are sent while answers are being read go out together. */
export class FrameWriter {
  readonly #socket: LoadSocket;
  readonly #sink: LaneSink;
  buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  /** Where the next frame begins. */
  at = 0;
  /** What lies before is the socket's. */
  #start = 0;

  constructor(socket: LoadSocket, sink: LaneSink) {
    this.#socket = socket;
    this.#sink = sink;
  }

  /** Makes room for so many bytes (at most 64 KiB) from {@link at} on in {@link buffer}, which may be another one afterwards. */
  reserve(bytes: number): void {
    if (this.at + bytes <= BUFFER_BYTES) return;
    this.flush();
    if (this.at + bytes <= BUFFER_BYTES) return;
    this.buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    this.at = 0;
    this.#start = 0;
  }

  flush(): void {
    const count = this.at - this.#start;
    if (count === 0) return;
    this.#socket.write(this.buffer.subarray(this.#start, this.at));
    this.#sink.sentBytes(count);
    // Bytes that the kernel has not taken yet are borrowed: the next ones go behind them.
    if (this.#socket.queuedBytes === 0) this.at = 0;
    this.#start = this.at;
  }
}
