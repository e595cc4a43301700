/** @hotpath the header fields of a request, and whether they are a request's. Source: RFC 9113, sections 8.2 and 8.3 (measured by grpc-transport.bench.ts) */

import type { FieldSink } from '../../../../proto/hpack/header-decoder.ts';
import { ENTRY_OVERHEAD_BYTES } from '../../../../proto/hpack/header-table.ts';
import type { CallPlan } from '../call-plan.ts';

/** What HTTP/1.1 says about a connection has no place in HTTP/2. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);
/** A field's name in HTTP/2: a token (RFC 9110, section 5.6.2) in lower case. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** No NUL, CR or LF, and no blank at either end. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not come.
const BAD_VALUE = /[\u0000\r\n]|^[ \t]|[ \t]$/;
const LENGTH = /^\d{1,15}$/;

export interface HeaderBounds {
  /** Names, values, and 32 bytes for each field, as HTTP/2 counts them. */
  readonly maxHeaderListBytes: number;
  readonly maxHeaderFields: number;
}

/** Does not change once its block is decoded: calls that begin with the same block have the same. */
export class RequestHeaders implements FieldSink {
  method = '';
  path = '';
  /** -1: it was not said. */
  contentLength = -1;
  listBytes = 0;
  /** Over the bounds: what came after is read and not kept. */
  isTooLarge = false;
  isMalformed = false;
  /** What the transport made of them. */
  plan: CallPlan | null = null;
  readonly #bounds: HeaderBounds;
  readonly #isTrailers: boolean;
  #hasScheme = false;
  #hasAuthority = false;
  readonly #names: string[] = [];
  readonly #values: string[] = [];

  constructor(bounds: HeaderBounds, isTrailers: boolean) {
    this.#bounds = bounds;
    this.#isTrailers = isTrailers;
  }

  /** '' when it was not sent. One that was sent twice is the values joined by ', '. */
  get(name: string): string {
    const names = this.#names;
    let joined = '';
    let isFound = false;
    for (let i = 0; i < names.length; i++) {
      if (names[i] !== name) continue;
      joined = isFound ? `${joined}, ${this.#values[i]!}` : this.#values[i]!;
      isFound = true;
    }
    return joined;
  }

  has(name: string): boolean {
    return this.#names.includes(name);
  }

  onField(name: string, value: string): void {
    this.listBytes += name.length + value.length + ENTRY_OVERHEAD_BYTES;
    if (this.isTooLarge || this.isMalformed) return;
    if (this.listBytes > this.#bounds.maxHeaderListBytes || this.#names.length >= this.#bounds.maxHeaderFields) this.isTooLarge = true;
    else if (name.charCodeAt(0) === 0x3a) this.isMalformed = !this.#takePseudo(name, value);
    else this.isMalformed = !this.#take(name, value);
  }

  /** The block is over. */
  finish(): void {
    if (this.isTooLarge || this.#isTrailers) return;
    if (this.method === '' || !this.#hasScheme || this.path === '') this.isMalformed = true;
  }

  /** Each once, before all others. */
  #takePseudo(name: string, value: string): boolean {
    if (this.#isTrailers || this.#names.length > 0 || BAD_VALUE.test(value)) return false;
    switch (name) {
      case ':method':
        if (this.method !== '') return false;
        this.method = value;
        return true;
      case ':path':
        if (this.path !== '') return false;
        this.path = value;
        return value !== '';
      case ':scheme':
        if (this.#hasScheme) return false;
        this.#hasScheme = true;
        return true;
      case ':authority':
        if (this.#hasAuthority) return false;
        this.#hasAuthority = true;
        return true;
      default:
        return false;
    }
  }

  #take(name: string, value: string): boolean {
    if (!NAME.test(name) || BAD_VALUE.test(value) || CONNECTION_FIELDS.has(name)) return false;
    if (name === 'te' && value !== 'trailers') return false;
    if (name === 'content-length') {
      if (!LENGTH.test(value) || (this.contentLength >= 0 && this.contentLength !== Number(value))) return false;
      this.contentLength = Number(value);
    }
    this.#names.push(name);
    this.#values.push(value);
    return true;
  }
}
