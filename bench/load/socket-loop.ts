/** Byte streams for lanes: native sockets (epoll by FFI, Linux), or Node's. */

import type { LoadTarget } from './load-plan.ts';

export interface LoadSocket {
  /** Queues what the kernel does not take at once. The bytes are borrowed until they are out: a caller that writes them again before an answer came must not change them. */
  write(bytes: Uint8Array): void;
  /** Two pieces that lie apart, in one system call where there is one. */
  writeTwo(first: Uint8Array, second: Uint8Array): void;
  /** Bytes queued and not taken by the kernel yet. */
  readonly queuedBytes: number;
  close(): void;
}

export interface SocketHandler {
  /** `bytes[0, length)` are new; the buffer is used again after the call returns. */
  onBytes(bytes: Buffer, length: number): void;
  /** Once, unless `close` was called. */
  onClose(reason: string): void;
}

/** What is to be done at a time of its own: the open loop's schedule, timeouts, the end of a window. */
export interface Pacer {
  /** When `due` is to be called next, on `now`'s clock; Infinity: never. */
  nextDueMs(): number;
  due(nowMs: number): void;
}

export interface SocketLoop {
  readonly kind: 'native' | 'node';
  /** Milliseconds with a fraction, monotonic: performance.now(). */
  now(): number;
  connect(target: LoadTarget, handler: SocketHandler): Promise<LoadSocket>;
  /** Reads sockets and keeps `pacer`'s times until `isDone` says so; gives Node's own loop a turn at least every 50 ms. */
  run(pacer: Pacer, isDone: () => boolean): Promise<void>;
  /** Time that `run` has spent waiting, ms, since the loop was made. */
  waitedMs(): number;
  close(): void;
}
