/** @hotpath a binary request whose JSON is one that was parsed before, but for its id, is not parsed again (measured by decode-request.bench.ts) */

import type { Datatype } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestedOutput } from '../../inference/inference-request.ts';
import { BACKSLASH, QUOTE } from './json-reader.ts';
import type { ReadRequest, RequestJsonParser } from './request-json.ts';
import type { RequestParameters } from './request-parameters.ts';

/** Clients of one model send few kinds of requests; whoever sends more of them has them parsed. */
const MAX_HEADERS = 4;
const MAX_HEADER_BYTES = 2_048;
/** A longer id is the parser's to judge. */
const MAX_ID_BYTES = 64;

interface RememberedInput {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** What a header said. Nothing of it may be changed: all requests with that header share it. */
export interface RememberedHeader<Envelope = null> {
  /** Up to the text of the id; all of the header where that has none. */
  readonly before: Uint8Array;
  /** From the closing quote of the id on. */
  readonly after: Uint8Array;
  readonly hasId: boolean;
  readonly inputs: readonly RememberedInput[];
  /** Of all inputs, behind the header. */
  readonly tailBytes: number;
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<RequestParameters>;
  /** What it said beside the request. */
  readonly envelope: Envelope;
}

/**
 * The last headers of binary requests to a model version, or on a connection. A client sends the same one with every request, since names, shapes and sizes stay as they are while the id and
 * the tensors behind it change. Headers with a sequence differ each time and are not kept, nor is one whose id has other characters than ASCII's, or escapes.
 */
export class RememberedHeaders<Envelope = null> {
  readonly #headers: RememberedHeader<Envelope>[] = [];
  #next = 0;

  /** Of a request whose `jsonBytes` of JSON at `start` of `body` are a known header, with as many bytes behind them as that says; else null. */
  find(body: Uint8Array, start: number, jsonBytes: number): RememberedHeader<Envelope> | null {
    const headers = this.#headers;
    for (let i = 0; i < headers.length; i++) {
      const header = headers[i]!;
      const { before, after } = header;
      const idBytes = jsonBytes - before.length - after.length;
      if (start + jsonBytes + header.tailBytes !== body.length) continue;
      if (header.hasId ? idBytes < 1 || idBytes > MAX_ID_BYTES : idBytes !== 0) continue;
      const idAt = start + before.length;
      if (!holds(body, start, before) || !holds(body, idAt + idBytes, after)) continue;
      return isPlain(body, idAt, idAt + idBytes) ? header : null;
    }
    return null;
  }

  /** `parser` has read the header. Does nothing where not all of its inputs are binary, or it is none that would come again. */
  remember(body: Uint8Array, start: number, jsonBytes: number, parser: RequestJsonParser, envelope: Envelope): void {
    if (jsonBytes > MAX_HEADER_BYTES || parser.parameters.sequence !== null) return;
    const inputs = parser.inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, byteLength: data.length }));
    // JSON tensors are bytes of their own and not of the body's tail.
    const tailBytes = inputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const end = start + jsonBytes;
    if (end + tailBytes !== body.length) return;
    const hasId = parser.id !== '';
    const idAt = hasId ? start + parser.idStart : end;
    const idEnd = hasId ? start + parser.idEnd : end;
    if (idEnd - idAt > MAX_ID_BYTES || !isPlain(body, idAt, idEnd)) return;
    const { outputs, parameters } = parser;
    const before = new Uint8Array(body.subarray(start, idAt));
    const after = new Uint8Array(body.subarray(idEnd, end));
    this.#headers[this.#next] = { before, after, hasId, inputs, tailBytes, outputs, parameters, envelope };
    this.#next = (this.#next + 1) % MAX_HEADERS;
  }
}

/** A request with a known header; its tensors are views of its body. */
export class KnownRequest implements ReadRequest {
  readonly id: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<RequestParameters>;

  /** As it was found: `jsonBytes` of JSON at `start` of `body`. */
  constructor(header: RememberedHeader<unknown>, body: Uint8Array, start: number, jsonBytes: number) {
    this.id = header.hasId ? textOf(body, start + header.before.length, start + jsonBytes - header.after.length) : '';
    this.inputs = viewInputs(header.inputs, body, start + jsonBytes);
    this.outputs = header.outputs;
    this.parameters = header.parameters;
  }
}

function viewInputs(inputs: readonly RememberedInput[], body: Uint8Array, start: number): Tensor[] {
  const tensors = new Array<Tensor>(inputs.length);
  let at = body.byteOffset + start;
  for (let i = 0; i < inputs.length; i++) {
    const { name, datatype, shape, byteLength } = inputs[i]!;
    tensors[i] = { name, datatype, shape, data: new Uint8Array(body.buffer, at, byteLength) };
    at += byteLength;
  }
  return tensors;
}

/** Whether the bytes of `part` stand at `at`, which leaves room for them. */
function holds(body: Uint8Array, at: number, part: Uint8Array): boolean {
  const { length } = part;
  // Quicker than the loop, but not to call.
  if (length > 64) return Buffer.prototype.compare.call(body, part, 0, length, at, at + length) === 0;
  for (let i = 0; i < length; i++) if (body[at + i] !== part[i]) return false;
  return true;
}

/** Whether a JSON string of these bytes would be, character by character, what they are. */
function isPlain(body: Uint8Array, at: number, end: number): boolean {
  for (; at < end; at++) {
    const c = body[at]!;
    if (c < 0x20 || c >= 0x80 || c === QUOTE || c === BACKSLASH) return false;
  }
  return true;
}

/** Of plain bytes. Quicker than a Buffer's toString for so few. */
function textOf(body: Uint8Array, at: number, end: number): string {
  let text = '';
  for (; at < end; at++) text += String.fromCharCode(body[at]!);
  return text;
}
