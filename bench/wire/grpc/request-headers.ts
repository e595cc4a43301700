/** The header block of requests, by HPACK. Source: RFC 7541; gRPC over HTTP/2, "Requests". */

import { STATIC_NAMES, STATIC_VALUES } from '../../../proto/hpack/static-table.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import { authorityOf, requestMetadata } from './request-metadata.ts';

/** What a frame carries at the least (RFC 9113, 6.5.2): a block within it needs no CONTINUATION. */
const MAX_BLOCK_BYTES = 16_384;
/** The decoder's table unless its SETTINGS say otherwise, and what an entry takes beside its text (RFC 7541, 4.1). */
const DEFAULT_TABLE_BYTES = 4_096;
const ENTRY_BYTES = 32;

const INDEXED = 0x80;
const LITERAL_INDEXED = 0x40;
const LITERAL = 0x00;
/** The dynamic table gets a size of 0. */
const NO_TABLE = 0x20;
const FIRST_DYNAMIC = 62;

const TIMEOUT = 'grpc-timeout';
/** Eight digits, the most that gRPC allows, and the unit. */
const TIMEOUT_BYTES = 9;
const LARGEST_TIMEOUT = 99_999_999;

type Field = readonly [name: string, value: string];

/** What all requests of a plan have in common, encoded once; each connection has an encoder of its own. */
export class RequestHeaders {
  /** Self-contained: every field is spelled out. */
  readonly plain: Buffer;
  /** The same, which also puts the fields into the dynamic table; and how they are called from then on. As other gRPC clients do it: ten bytes in place of two hundred. */
  readonly teaching: Buffer;
  readonly taught: Buffer;
  /** The timeout's name in these three forms; its value follows. */
  readonly plainTimeout: Buffer;
  readonly teachingTimeout: Buffer;
  readonly taughtTimeout: Buffer;
  /** Whether requests have a timeout, unless they have none themselves. */
  readonly hasTimeout: boolean;
  /** Of the table that holds all fields. */
  readonly tableBytes: number;

  /** `path`: of the method. Throws INVALID_ARGUMENT for the target's headers where they are no metadata, or too large. */
  constructor(target: LoadTarget, path: string, hasTimeout: boolean) {
    const statics: Field[] = [
      [':method', 'POST'],
      [':scheme', target.tls === null ? 'http' : 'https'],
    ];
    const own: Field[] = [
      [':path', target.basePath + path],
      [':authority', authorityOf(target)],
      ...Object.entries({ 'user-agent': 'nereid-bench', ...requestMetadata(target) }),
    ];
    const timeout: Field = [TIMEOUT, '0'.repeat(TIMEOUT_BYTES)];
    this.hasTimeout = hasTimeout;
    const known = statics.map(([name, value]) => Buffer.from([INDEXED | staticIndex(name, value)]));
    // The last field that went in has the first place.
    const last = FIRST_DYNAMIC + own.length - 1 + (hasTimeout ? 1 : 0);
    this.plain = Buffer.concat([...known, ...own.map((field) => literal(field, LITERAL, 4))]);
    this.teaching = Buffer.concat([...known, ...own.map((field) => literal(field, LITERAL_INDEXED, 6))]);
    this.taught = Buffer.concat([...known, ...own.map((_, i) => integer(INDEXED, 7, last - i))]);
    this.plainTimeout = withoutValue(literal(timeout, LITERAL, 4));
    this.teachingTimeout = withoutValue(literal(timeout, LITERAL_INDEXED, 6));
    this.taughtTimeout = Buffer.concat([integer(LITERAL, 4, FIRST_DYNAMIC), Buffer.from([TIMEOUT_BYTES])]);
    const kept = hasTimeout ? [...own, timeout] : own;
    this.tableBytes = kept.reduce((sum, [name, value]) => sum + name.length + value.length + ENTRY_BYTES, 0);
    if (this.maxBytes > MAX_BLOCK_BYTES) {
      throw new InferenceError(
        'INVALID_ARGUMENT',
        `headers: expected at most ${MAX_BLOCK_BYTES} bytes with gRPC's own, got ${this.maxBytes}: leave some out`,
      );
    }
  }

  /** Of any block. */
  get maxBytes(): number {
    return 1 + this.plain.length + this.teachingTimeout.length + TIMEOUT_BYTES;
  }

  /** For a connection whose server's SETTINGS say `tableBytes`; -1: they say nothing. */
  encoder(tableBytes: number): RequestHeaderEncoder {
    return new RequestHeaderEncoder(this, tableBytes < 0 ? DEFAULT_TABLE_BYTES : tableBytes);
  }
}

/** Writes the blocks of one connection, in their order on the wire. */
export class RequestHeaderEncoder {
  readonly #headers: RequestHeaders;
  #mayTeach: boolean;
  #hasTaught = false;
  /** The server's table has shrunk: the next block must say that its new size is known (RFC 7541, 4.2). */
  #mustAnswer: boolean;

  constructor(headers: RequestHeaders, tableBytes: number) {
    this.#headers = headers;
    this.#mayTeach = headers.tableBytes <= Math.min(tableBytes, DEFAULT_TABLE_BYTES);
    this.#mustAnswer = !this.#mayTeach;
  }

  /** The server's SETTINGS have changed on the way: the table is given up. */
  tableChanged(): void {
    this.#mayTeach = false;
    this.#mustAnswer = true;
  }

  /** Writes a block of at most `maxBytes` at `at`; gives the offset behind it. `timeoutMs` 0: none. */
  write(into: Buffer, at: number, timeoutMs: number): number {
    const headers = this.#headers;
    const hasTimeout = timeoutMs > 0;
    if (this.#hasTaught && this.#mayTeach) {
      // One without a timeout leaves the table as it is.
      at = append(headers.taught, into, at);
      return hasTimeout && headers.hasTimeout ? putTimeout(headers.taughtTimeout, into, at, timeoutMs) : at;
    }
    if (this.#mustAnswer) {
      this.#mustAnswer = false;
      into[at++] = NO_TABLE;
    }
    // Only a block with all fields teaches.
    const teaches = this.#mayTeach && hasTimeout === headers.hasTimeout;
    if (teaches) this.#hasTaught = true;
    at = append(teaches ? headers.teaching : headers.plain, into, at);
    return hasTimeout ? putTimeout(teaches ? headers.teachingTimeout : headers.plainTimeout, into, at, timeoutMs) : at;
  }
}

function append(bytes: Buffer, into: Buffer, at: number): number {
  into.set(bytes, at);
  return at + bytes.length;
}

/** Microseconds, or milliseconds where those are too many; at least one. */
function putTimeout(name: Buffer, into: Buffer, at: number, timeoutMs: number): number {
  at = append(name, into, at);
  const us = Math.max(1, Math.round(timeoutMs * 1000));
  const isUs = us <= LARGEST_TIMEOUT;
  let rest = isUs ? us : Math.min(LARGEST_TIMEOUT, Math.ceil(timeoutMs));
  for (let digit = TIMEOUT_BYTES - 2; digit >= 0; digit--) {
    into[at + digit] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  into[at + TIMEOUT_BYTES - 1] = isUs ? 0x75 : 0x6d;
  return at + TIMEOUT_BYTES;
}

function withoutValue(field: Buffer): Buffer {
  return field.subarray(0, field.length - TIMEOUT_BYTES);
}

function staticIndex(name: string, value: string): number {
  return STATIC_NAMES.findIndex((one, i) => one === name && STATIC_VALUES[i] === value);
}

/** A field spelled out, without Huffman coding; its name by the static table where it is there. `bits`: of `form` that are left for the index. */
function literal([name, value]: Field, form: number, bits: number): Buffer {
  const index = STATIC_NAMES.indexOf(name);
  return Buffer.concat([integer(form, bits, Math.max(0, index)), ...(index > 0 ? [] : [text(name)]), text(value)]);
}

function text(value: string): Buffer {
  return Buffer.concat([integer(0, 7, value.length), Buffer.from(value, 'latin1')]);
}

/** RFC 7541, 5.1. */
function integer(form: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([form | value]);
  const bytes = [form | most];
  let rest = value - most;
  for (; rest >= 0x80; rest >>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
