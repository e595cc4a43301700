/** @hotpath what each generated token adds to the text of a request, and how much of it may be given (measured by text-instance.bench.ts) */

import type { GeneratedToken } from '../engine/generation-job.ts';
import type { StopStrings } from './stop-strings.ts';
import type { TokenText } from './token-text.ts';
import { Utf8Assembler } from './utf8-assembler.ts';

/** Of a text's first piece; it grows. */
const CAPACITY_BYTES = 256;

export interface GeneratedTextOptions {
  readonly tokens: TokenText;
  readonly stops: StopStrings;
  /** The stop string that ends the text is part of it. */
  readonly showsStop: boolean;
  /** Control tokens that the text shows by their names. */
  readonly shownTokens: ReadonlySet<number>;
  readonly keepsTokens: boolean;
  /** Stop strings are not looked for in the text of so many tokens. */
  readonly minTokens: number;
  /** Bytes that the caller wants in front of each piece. */
  readonly lead: number;
}

/** The text of one request: tokens in, whole characters out, none of them after or inside of a stop string. */
export class GeneratedText {
  readonly text: Utf8Assembler;
  /** Bytes at the front of the text that are sure to be part of it. */
  ready = 0;
  isStopped = false;
  readonly #tokens: TokenText;
  readonly #stops: StopStrings;
  readonly #showsStop: boolean;
  readonly #shownTokens: ReadonlySet<number> | null;
  /** Tokens whose text has not been taken, with where it begins in the whole text; null: nobody wants them. */
  readonly #kept: GeneratedToken[] | null;
  readonly #starts: number[] = [];
  #taken = 0;
  #unscanned: number;

  constructor(options: GeneratedTextOptions) {
    this.text = new Utf8Assembler(options.lead, CAPACITY_BYTES);
    this.#tokens = options.tokens;
    this.#stops = options.stops;
    this.#showsStop = options.showsStop;
    this.#shownTokens = options.shownTokens.size === 0 ? null : options.shownTokens;
    this.#kept = options.keepsTokens ? [] : null;
    this.#unscanned = options.minTokens;
  }

  /** Text in front of what is generated, where no stop string is looked for. */
  begin(bytes: Uint8Array): void {
    this.text.push(bytes);
    this.text.finish();
    this.ready = this.text.end - this.text.lead;
  }

  /** Not to be called when `isStopped`. */
  push(generated: GeneratedToken): void {
    const { token } = generated;
    if (this.#kept !== null) {
      this.#kept.push(generated);
      this.#starts.push(this.text.total);
    }
    const { end } = this.text;
    this.text.push(this.#shownTokens?.has(token) === true ? this.#tokens.shownBytes(token) : this.#tokens.bytes(token));
    if (this.#unscanned > 0) this.#unscanned--;
    else this.#scan(end);
    if (!this.isStopped) this.ready = this.text.end - this.text.lead - this.#stops.held;
  }

  /** No more tokens come: what was held back is text. */
  finish(): void {
    if (this.isStopped) return;
    const { end } = this.text;
    this.text.finish();
    this.#scan(end);
    if (!this.isStopped) this.ready = this.text.end - this.text.lead;
  }

  /** Tokens that the ready text begins, each once; at the end (`isLast`) also those that have no text. */
  takeTokens(isLast: boolean): readonly GeneratedToken[] {
    if (this.#kept === null) return [];
    let count = this.#starts.length;
    if (!isLast || this.isStopped) {
      const end = this.#taken + this.ready;
      count = 0;
      while (count < this.#starts.length && this.#starts[count]! < end) count++;
    }
    this.#starts.splice(0, count);
    return this.#kept.splice(0, count);
  }

  /** The ready text has been given, and is no longer wanted. */
  take(): void {
    this.text.take(this.ready);
    this.#taken += this.ready;
    this.ready = 0;
  }

  #scan(from: number): void {
    const found = this.#stops.scan(this.text.bytes, from, this.text.end);
    if (found < 0) return;
    this.isStopped = true;
    this.ready = found - this.text.lead - (this.#showsStop ? 0 : this.#stops.matchLength);
  }
}
