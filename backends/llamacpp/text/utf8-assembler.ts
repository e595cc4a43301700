/** @hotpath puts the bytes of tokens together to whole characters (measured by token-text.bench.ts) */

/** Bytes of an unfinished character, at most. */
const MAX_PENDING = 3;

/**
 * Text that grows at its end and is taken from its front. Only whole characters go in; what is no UTF-8 becomes U+FFFD, as a decoder of all bytes
 * at once would have it. A few bytes in front of the text are the caller's.
 */
export class Utf8Assembler {
  /** The text is `bytes[lead, end)`. Another object when it has grown. */
  bytes: Buffer;
  end: number;
  readonly lead: number;
  /** All that ever went in, also what has been taken since. */
  total = 0;
  readonly #pending: Buffer = Buffer.allocUnsafe(MAX_PENDING);
  #pendingLength = 0;

  constructor(lead: number, capacity: number) {
    this.bytes = Buffer.allocUnsafe(lead + capacity);
    this.lead = lead;
    this.end = lead;
  }

  push(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length === 0) return;
    if (this.#pendingLength === 0) {
      // Most tokens of most texts: nothing to hold, nothing to repair.
      let i = 0;
      while (i < length && bytes[i]! < 0x80) i++;
      if (i === length) {
        this.#append(bytes, length);
        return;
      }
      this.#pushAny(bytes);
      return;
    }
    this.#pushAny(Buffer.concat([this.#pending.subarray(0, this.#pendingLength), bytes]));
  }

  /** No more bytes come: an unfinished character is one U+FFFD. */
  finish(): void {
    if (this.#pendingLength === 0) return;
    this.#appendRepaired(Buffer.from(this.#pending.subarray(0, this.#pendingLength)));
    this.#pendingLength = 0;
  }

  /** The first `count` bytes of the text are no longer wanted. */
  take(count: number): void {
    const start = this.lead + count;
    this.bytes.copyWithin(this.lead, start, this.end);
    this.end -= count;
  }

  #pushAny(bytes: Uint8Array): void {
    const tail = unfinishedBytes(bytes);
    const whole = bytes.length - tail;
    for (let i = 0; i < tail; i++) this.#pending[i] = bytes[whole + i]!;
    this.#pendingLength = tail;
    if (whole > 0) this.#appendRepaired(bytes.subarray(0, whole));
  }

  #appendRepaired(bytes: Uint8Array): void {
    const repaired = Buffer.from(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'), 'utf8');
    this.#append(repaired, repaired.length);
  }

  #append(bytes: Uint8Array, length: number): void {
    if (this.end + length > this.bytes.length) {
      const grown = Buffer.allocUnsafe(2 * (this.end + length));
      this.bytes.copy(grown, 0, 0, this.end);
      this.bytes = grown;
    }
    this.bytes.set(bytes, this.end);
    this.end += length;
    this.total += length;
  }
}

/** How many bytes at the end are the beginning of a character that more bytes could complete. */
function unfinishedBytes(bytes: Uint8Array): number {
  const { length } = bytes;
  for (let back = 1; back <= MAX_PENDING && back <= length; back++) {
    const lead = bytes[length - back]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    const size = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
    if (back >= size) return 0;
    return back === 1 || mayFollow(lead, bytes[length - back + 1]!) ? back : 0;
  }
  return 0;
}

/** Whether a character may go on so: no longer form than needed, no surrogates, nothing above U+10FFFF. */
function mayFollow(lead: number, second: number): boolean {
  switch (lead) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second < 0xa0;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second < 0x90;
    default:
      return true;
  }
}
