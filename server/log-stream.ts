import { constants, fstatSync, openSync, writeSync } from 'node:fs';

/** Bytes held for a reader that does not keep up. What comes beyond them is dropped and counted: a log never takes the server's memory. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;
const RETRY_MS = 20;
/** What a stuck reader may cost at the end of the process. */
const FLUSH_LIMIT_MS = 200;

/**
 * Where log lines go. A line is written before `write` returns, without ever waiting for the reader: what a full pipe does not take is held and tried
 * again. A reader that went away (EPIPE) ends the log, a full disk loses lines; neither throws and neither ends the process.
 *
 * (pino's own destination either waits in the pipe, or writes in a pool whose stuck write keeps the process from ending; and its flushSync goes on for
 * ever when the reader is gone.)
 */
export class LogStream {
  readonly #fd: number;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #droppedLines = 0;
  #isBroken = false;
  #hearsExit = false;

  /** A file descriptor, or a file to append to; throws when that cannot be opened. */
  constructor(destination: number | string) {
    this.#fd = typeof destination === 'string' ? openSync(destination, 'a') : reopenNonBlocking(destination);
  }

  write(line: string): void {
    if (this.#isBroken) return;
    let bytes: Buffer | null = Buffer.from(line);
    if (this.#held.length === 0) bytes = this.#writeSome(bytes);
    if (bytes === null) return;
    if (this.#heldBytes + bytes.length > MAX_HELD_BYTES) {
      this.#droppedLines++;
      return;
    }
    this.#hold(bytes);
  }

  /** Writes what is held, for at most a fifth of a second. pino calls it after a fatal line; the end of the process does too. */
  flushSync(): void {
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    const untilMs = performance.now() + FLUSH_LIMIT_MS;
    while (!this.#writeHeld() && performance.now() < untilMs) Atomics.wait(sleeper, 0, 0, 5);
  }

  #hold(bytes: Buffer): void {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#held.length === 1) this.#retryLater();
    if (this.#hearsExit) return;
    this.#hearsExit = true;
    process.once('exit', () => this.flushSync());
  }

  #retryLater(): void {
    setTimeout(() => {
      if (!this.#writeHeld()) this.#retryLater();
    }, RETRY_MS).unref();
  }

  /** True when nothing is held any more. */
  #writeHeld(): boolean {
    while (this.#held.length > 0) {
      const first = this.#held[0]!;
      const rest = this.#writeSome(first);
      this.#heldBytes -= first.length - (rest?.length ?? 0);
      if (rest !== null) {
        this.#held[0] = rest;
        return false;
      }
      this.#held.shift();
    }
    if (this.#droppedLines > 0) {
      const dropped = this.#droppedLines;
      this.#droppedLines = 0;
      this.write(
        `${JSON.stringify({ level: 'warn', time: new Date().toISOString(), dropped, msg: "lines were dropped: the log's reader did not keep up" })}\n`,
      );
    }
    return this.#held.length === 0;
  }

  /** What could not be written now; null when nothing is left to write, because it is written or because it is lost. */
  #writeSome(bytes: Buffer): Buffer | null {
    try {
      const written = writeSync(this.#fd, bytes);
      return written < bytes.length ? bytes.subarray(written) : null;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === 'EAGAIN' || code === 'EINTR') return bytes;
      if (code === 'EPIPE') {
        this.#isBroken = true;
        this.#held.length = 0;
        this.#heldBytes = 0;
      }
      return null;
    }
  }
}

/**
 * The same pipe or terminal as `fd`, opened anew so that not waiting is ours alone: O_NONBLOCK on the inherited one would change it for every process
 * that shares it. `fd` itself where that cannot be (a socket, another user's pipe, no /proc): there a stuck reader does hold up the server.
 */
function reopenNonBlocking(fd: number): number {
  if (fstatSync(fd).isFile()) return fd;
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY | constants.O_APPEND);
  } catch {
    return fd;
  }
}
