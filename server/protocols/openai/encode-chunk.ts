/** @hotpath one server-sent event for each piece of text: a head that is made once a call, the escaped text, a tail */

import { isUtf8 } from 'node:buffer';
import { putEscapedBytes } from '../oip-json/escape-json.ts';

const FIRST_BYTES = 16 * 1024;
/** A buffer that one large chunk made is not kept past it. */
const MAX_KEPT_BYTES = 256 * 1024;
/** Longer ones, which tokens are not, are quicker by JSON.stringify. */
const SHORT_TEXT = 256;

/** The chunks of one answer of a call: what is the same in all of them. */
export class ChunkForm {
  /** Up to the object of `choices`' only element, behind its index. */
  readonly #start: string;
  readonly #end: string;
  readonly #textHead: Buffer;
  readonly #textTail: Buffer;
  readonly #kind: 'chat' | 'completion';

  /** `envelope`: `"id":...,"object":...` and so on, without braces. */
  constructor(kind: 'chat' | 'completion', envelope: string, index: number, includesUsage: boolean) {
    this.#kind = kind;
    this.#start = `data: {${envelope},"choices":[{"index":${index},`;
    this.#end = includesUsage ? '}],"usage":null}\n\n' : '}]}\n\n';
    this.#textHead = Buffer.from(this.#start + (kind === 'chat' ? '"delta":{"content":"' : '"text":"'));
    this.#textTail = Buffer.from(`"${kind === 'chat' ? '}' : ''},"logprobs":null,"finish_reason":null${this.#end}`);
  }

  /** The event for one piece of text: borrowed, until the next event of any form. */
  text(text: Uint8Array): Uint8Array {
    const head = this.#textHead;
    const tail = this.#textTail;
    const out = scratchFor(head.length + 6 * text.length + tail.length);
    out.set(head, 0);
    const at = putEscaped(out, head.length, text);
    out.set(tail, at);
    return new Uint8Array(out.buffer, out.byteOffset, at + tail.length);
  }

  /** Any other event, all of it. `delta`: JSON of the delta object, or of the text; `logprobs`: JSON. */
  event(delta: string, logprobs: string, finishReason: string): string {
    const content = this.#kind === 'chat' ? `"delta":${delta}` : `"text":${delta}`;
    return `${this.#start}${content},"logprobs":${logprobs},"finish_reason":${finishReason === '' ? 'null' : JSON.stringify(finishReason)}${this.#end}`;
  }
}

let scratch: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

function scratchFor(bytes: number): Buffer {
  if (bytes <= scratch.length) return scratch;
  const larger = Buffer.allocUnsafeSlow(bytes);
  if (bytes <= MAX_KEPT_BYTES) scratch = larger;
  return larger;
}

/** Writes text as the inside of a JSON string; what is no UTF-8 becomes U+FFFD. Returns the offset behind it; never more than six bytes for one. */
export function putEscaped(out: Uint8Array, at: number, text: Uint8Array): number {
  if (text.length > SHORT_TEXT) return putAny(out, at, text);
  let seen = 0;
  for (let i = 0; i < text.length; i++) seen |= text[i]!;
  return seen < 0x80 || isUtf8(text) ? putEscapedBytes(out, at, text, 0, text.length) : putAny(out, at, text);
}

function putAny(out: Uint8Array, at: number, text: Uint8Array): number {
  const json = JSON.stringify(Buffer.from(text.buffer, text.byteOffset, text.length).toString('utf8'));
  const whole = Buffer.from(json).subarray(1, -1);
  out.set(whole, at);
  return at + whole.length;
}
