/** @hotpath a binary request whose JSON is, byte for byte, one that was parsed before is not parsed again (measured by decode-request.bench.ts) */

import type { Datatype } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestedOutput } from '../../inference/inference-request.ts';
import type { RequestJsonParser } from './request-json.ts';
import type { RequestParameters } from './request-parameters.ts';

/** Clients of one model send few kinds of requests; whoever sends more of them has them parsed. */
const MAX_HEADERS = 4;
const MAX_HEADER_BYTES = 2_048;

interface RememberedInput {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** What a header said. Nothing of it may be changed: all requests with that header share it. */
export interface RememberedHeader {
  readonly bytes: Uint8Array;
  readonly inputs: readonly RememberedInput[];
  /** Of all inputs, behind the header. */
  readonly tailBytes: number;
  /** As the model version gets them: all of its outputs, where the header asks for those as binary data. */
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<RequestParameters>;
}

/**
 * The last headers of binary requests to a model version. A client sends the same one with every request, since names, shapes and sizes stay as they are while the tensors behind it change. Headers
 * with an id or a sequence differ each time and are not kept.
 */
export class RememberedHeaders {
  readonly #headers: RememberedHeader[] = [];
  #next = 0;

  /** Of a body that begins with a known header and is as long as it says; else null. */
  find(body: Uint8Array, jsonBytes: number): RememberedHeader | null {
    const headers = this.#headers;
    for (let i = 0; i < headers.length; i++) {
      const header = headers[i]!;
      if (header.bytes.length === jsonBytes && jsonBytes + header.tailBytes === body.length && startsWith(body, header.bytes))
        return header;
    }
    return null;
  }

  /** `parser` has read the header, and all its inputs were binary. */
  remember(body: Uint8Array, jsonBytes: number, parser: RequestJsonParser, outputs: readonly RequestedOutput[]): void {
    if (jsonBytes > MAX_HEADER_BYTES || parser.id !== '' || parser.parameters.sequence !== null) return;
    const inputs = parser.inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, byteLength: data.length }));
    // JSON tensors are bytes of their own and not of the body's tail.
    const tailBytes = inputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (jsonBytes + tailBytes !== body.length) return;
    this.#headers[this.#next] = { bytes: body.slice(0, jsonBytes), inputs, tailBytes, outputs, parameters: parser.parameters };
    this.#next = (this.#next + 1) % MAX_HEADERS;
  }
}

/** The tensors of a request with a known header: views of its body. */
export function viewInputs(header: RememberedHeader, body: Uint8Array): Tensor[] {
  const { inputs } = header;
  const tensors: Tensor[] = [];
  let at = body.byteOffset + header.bytes.length;
  for (let i = 0; i < inputs.length; i++) {
    const { name, datatype, shape, byteLength } = inputs[i]!;
    tensors.push({ name, datatype, shape, data: new Uint8Array(body.buffer, at, byteLength) });
    at += byteLength;
  }
  return tensors;
}

function startsWith(body: Uint8Array, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (body[i] !== bytes[i]) return false;
  return true;
}
