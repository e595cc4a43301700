/** @hotpath finds the server-sent events in a streamed answer, wherever it is cut (measured by text-event.bench.ts) */

import { KeptBytes } from '../http/kept-bytes.ts';

/** Takes the data of events: `bytes[from, to)`, borrowed for the call. */
export interface EventListener {
  onEvent(bytes: Buffer, from: number, to: number): void;
}

/** Of an event that came in pieces. */
const MAX_EVENT_BYTES = 16 * 1024 * 1024;

const LF = 10;
const CR = 13;
const SPACE = 32;
const COLON = 58;

/**
 * Reads an event stream; only `data` fields mean anything here. An event that comes whole in one read is not copied. Lines end in LF, CRLF or CR.
 *
 * Source: HTML Living Standard, 9.2.6, but that an event which the stream's end cuts after its line is given too: some servers leave out the last blank line.
 */
export class EventScanner {
  /** Why no more is read; '' as long as all is well. */
  fault = '';
  readonly #listener: EventListener;
  /** The beginning of an event whose end is yet to come. */
  readonly #held: KeptBytes = new KeptBytes(MAX_EVENT_BYTES);
  // What follows is about the event that is being read: offsets in `held`, or in the bytes of the current call.
  #start = 0;
  #at = 0;
  #lineAt = 0;
  #dataFrom = 0;
  #dataEnd = 0;
  #dataLines = 0;
  #afterCr = false;

  constructor(listener: EventListener) {
    this.#listener = listener;
  }

  /** Expects a stream. */
  begin(): void {
    this.fault = '';
    if (!this.#held.isEmpty) this.#held.clear();
    this.#afterCr = false;
    this.#move(0);
  }

  /** Reads `bytes[from, to)`. */
  feed(bytes: Buffer, from: number, to: number): void {
    if (this.fault !== '') return;
    const held = this.#held;
    if (held.isEmpty) {
      this.#move(from);
      this.#scan(bytes, to);
      this.#hold(bytes, to);
      return;
    }
    held.add(bytes, from, to);
    if (held.isFull) {
      this.fault = `an event of more than ${MAX_EVENT_BYTES} bytes`;
      return;
    }
    const all = held.view;
    this.#scan(all, all.length);
    if (this.#start === 0) return;
    held.clear();
    this.#hold(all, all.length);
  }

  /** The stream has ended. */
  end(): void {
    const all = this.#held.view;
    if (all.length === 0 || this.fault !== '') return;
    if (this.#lineAt < all.length) this.#endLine(all, all.length);
    if (this.#dataLines > 0) this.#dispatch(all, all.length);
    this.#held.clear();
    this.#move(0);
  }

  #move(at: number): void {
    this.#start = at;
    this.#at = at;
    this.#lineAt = at;
    this.#dataLines = 0;
  }

  /** Keeps what the event that is being read has so far. */
  #hold(bytes: Buffer, to: number): void {
    const start = this.#start;
    if (start < to) this.#held.add(bytes, start, to);
    this.#start = 0;
    this.#at = to - start;
    this.#lineAt -= start;
    this.#dataFrom -= start;
    this.#dataEnd -= start;
  }

  #scan(bytes: Buffer, to: number): void {
    for (let at = this.#at; at < to; at++) {
      const byte = bytes[at]!;
      if (byte > CR || (byte !== LF && byte !== CR)) {
        this.#afterCr = false;
        continue;
      }
      if (byte === LF && this.#afterCr) {
        // The second half of CRLF: the line has ended already, and perhaps the event.
        this.#afterCr = false;
        this.#lineAt = at + 1;
        if (this.#start === at) this.#start = at + 1;
        continue;
      }
      this.#afterCr = byte === CR;
      if (at > this.#lineAt) this.#endLine(bytes, at);
      else {
        if (this.#dataLines > 0) this.#dispatch(bytes, at);
        this.#move(at + 1);
      }
      this.#lineAt = at + 1;
    }
    this.#at = to;
  }

  #endLine(bytes: Buffer, end: number): void {
    const at = this.#lineAt;
    if (!isData(bytes, at, end)) return;
    let from = Math.min(at + 5, end);
    if (from < end && bytes[from] === SPACE) from++;
    if (this.#dataLines++ > 0) return;
    this.#dataFrom = from;
    this.#dataEnd = end;
  }

  #dispatch(bytes: Buffer, end: number): void {
    if (this.#dataLines === 1) {
      this.#listener.onEvent(bytes, this.#dataFrom, this.#dataEnd);
      return;
    }
    // Latin-1 both ways, so that bytes stay what they are.
    const lines = bytes.toString('latin1', this.#start, end).split(/\r\n|\n|\r/);
    const data = lines.filter((line) => /^data(?::|$)/.test(line)).map((line) => line.replace(/^data:? ?/, ''));
    const joined = Buffer.from(data.join('\n'), 'latin1');
    this.#listener.onEvent(joined, 0, joined.length);
  }
}

/** `data:`, or `data` alone. */
function isData(bytes: Buffer, at: number, end: number): boolean {
  return (
    end - at >= 4 &&
    bytes[at] === 0x64 &&
    bytes[at + 1] === 0x61 &&
    bytes[at + 2] === 0x74 &&
    bytes[at + 3] === 0x61 &&
    (end - at === 4 || bytes[at + 4] === COLON)
  );
}
