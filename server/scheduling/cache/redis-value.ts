/** @hotpath once per lookup that Redis answers, and per insertion (measured by cached-scheduler.bench.ts) */

import { LENGTH_PREFIX_BYTES, skipBytesElements } from '../../../proto/bytes.ts';
import { elementCount } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { CachedResponse } from './response-store.ts';

/** Changes with the form of what follows it. */
const MAGIC = 'NRC1';
const MAX_HEADER_BYTES = 64 * 1024;
const MAX_RANK = 64;

/**
 * A response as a value of a key-value store:
 *
 *     "NRC1"   u32 length of the header   header: JSON {"o": [[name, shape, byte length], ...], "p": parameters}   bytes of each output
 *
 * Null when it is larger than `maxBytes`.
 */
export function encodeValue({ outputs, parameters }: CachedResponse, maxBytes: number): Buffer | null {
  let dataLength = 0;
  for (const { data } of outputs) dataLength += data.length;
  if (dataLength > maxBytes) return null;
  const header = JSON.stringify({ o: outputs.map(({ name, shape, data }) => [name, shape, data.length]), p: parameters });
  const headerLength = Buffer.byteLength(header);
  const length = 8 + headerLength + dataLength;
  if (headerLength > MAX_HEADER_BYTES || length > maxBytes) return null;
  const value = Buffer.allocUnsafeSlow(length);
  value.write(MAGIC, 0, 'latin1');
  value.writeUInt32LE(headerLength, 4);
  value.write(header, 8);
  let at = 8 + headerLength;
  for (const { data } of outputs) {
    value.set(data, at);
    at += data.length;
  }
  return value;
}

/** What a value says, checked against the model as if a client had sent it: null when it is not this form, or no response of this model. */
export function decodeValue(value: Uint8Array, signature: ModelSignature): CachedResponse | null {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (bytes.length < 8 || bytes.toString('latin1', 0, 4) !== MAGIC) return null;
  const headerLength = bytes.readUInt32LE(4);
  if (headerLength > MAX_HEADER_BYTES || 8 + headerLength > bytes.length) return null;
  const header = parse(bytes.toString('utf8', 8, 8 + headerLength));
  if (!isObject(header) || !Array.isArray(header['o'])) return null;
  const listed: readonly unknown[] = header['o'];
  if (listed.length > signature.outputs.length) return null;
  const outputs: Tensor[] = [];
  let at = 8 + headerLength;
  for (const one of listed) {
    const output = decodeOutput(one, bytes, at, signature);
    if (output === null || outputs.some(({ name }) => name === output.name)) return null;
    outputs.push(output);
    at += output.data.length;
  }
  if (at !== bytes.length) return null;
  const parameters = header['p'] ?? null;
  return isParameters(parameters) ? { outputs, parameters } : null;
}

function decodeOutput(listed: unknown, bytes: Buffer, at: number, signature: ModelSignature): Tensor | null {
  if (!Array.isArray(listed)) return null;
  const [name, shape, byteLength]: readonly unknown[] = listed;
  const spec = typeof name === 'string' ? signature.outputs[signature.outputIndex.get(name) ?? -1] : undefined;
  if (spec === undefined || !isShape(shape) || typeof byteLength !== 'number') return null;
  if (!Number.isSafeInteger(byteLength) || byteLength < 0 || byteLength > bytes.length - at) return null;
  const skip = signature.maxBatchSize > 0 ? 1 : 0;
  if (shape.length !== spec.dims.length + skip || spec.dims.some((dim, i) => dim >= 0 && dim !== shape[i + skip])) return null;
  const count = elementCount(shape);
  if (count < 0) return null;
  // A copy, so that it lies as wide datatypes want it, and what a reply shares memory with may go.
  const data = new Uint8Array(byteLength);
  data.set(bytes.subarray(at, at + byteLength));
  if (spec.byteSize === 0 ? !holdsElements(data, count) : count * spec.byteSize !== byteLength) return null;
  return { name: spec.name, datatype: spec.datatype, shape, data };
}

function holdsElements(data: Uint8Array, count: number): boolean {
  return count <= data.length / LENGTH_PREFIX_BYTES && skipBytesElements(data, 0, count) === data.length;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isShape(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= MAX_RANK && value.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
}

function isParameters(value: unknown): value is Record<string, RequestParameter> | null {
  if (value === null) return true;
  return isObject(value) && Object.values(value).every((one) => ['string', 'number', 'boolean'].includes(typeof one));
}
