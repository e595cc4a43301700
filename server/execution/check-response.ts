/** @hotpath holds every response of a host against the model and the memory that was given for it */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import { countBytesElements } from '../../proto/bytes.ts';
import { byteSizeOf, elementCount } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { registerUsedOnce } from '../../proto/tensor-memory.ts';
import {
  ABSENT,
  BY_FRAME,
  MAX_ERROR_BYTES,
  OUTPUT_BYTES,
  OUTPUT_OFFSET,
  OUTPUT_RANK,
  OUTPUT_WORDS,
  RESPONSE_COUNT,
  RESPONSE_SEQUENCE,
  RESPONSE_STATUS,
  RESPONSE_TEXT,
  RESPONSE_TEXT_BYTES,
  RESPONSE_WORDS,
  STATUS_FAILED,
  STATUS_OK,
  STATUS_SKIPPED,
  WORD_BYTES,
} from './execution-record.ts';
import { STATUS_CODES } from './messages.ts';

/** A host said what cannot be: it is to be ended, and the batch with it. */
export class HostFault extends Error {
  override readonly name = 'HostFault';
}

/** A response record and the memory that it may speak of. Links reuse one. */
export interface ResponseArea {
  words: Float64Array;
  /** First word of the record. */
  at: number;
  /** Words that the record may have. */
  wordCount: number;
  bytes: Uint8Array;
  /** Outputs lie in `bytes[start, end)`. */
  start: number;
  end: number;
}

/** Whether the record says that the execution was not run. Only for one that was abandoned; for any other it is a status that there is not. */
export function wasSkipped(area: ResponseArea, sequence: number): boolean {
  const { words, at } = area;
  return area.wordCount >= RESPONSE_WORDS && words[at + RESPONSE_SEQUENCE] === sequence && words[at + RESPONSE_STATUS] === STATUS_SKIPPED;
}

/** The error that the record carries, or null when it carries outputs. Throws HostFault. */
export function readResponseError(area: ResponseArea, sequence: number): InferenceError | null {
  const { words, at } = area;
  if (area.wordCount < RESPONSE_WORDS) throw new HostFault('sent a response without its first words');
  if (words[at + RESPONSE_SEQUENCE] !== sequence)
    throw new HostFault(`answered execution ${words[at + RESPONSE_SEQUENCE]} instead of ${sequence}`);
  const status = words[at + RESPONSE_STATUS];
  if (status === STATUS_OK) return null;
  if (status !== STATUS_FAILED) throw new HostFault(`sent the unknown status ${status}`);
  const code = STATUS_CODES[words[at + RESPONSE_COUNT]!];
  if (code === undefined) throw new HostFault(`sent the unknown error code ${words[at + RESPONSE_COUNT]}`);
  const textBytes = area.wordCount > RESPONSE_TEXT_BYTES ? words[at + RESPONSE_TEXT_BYTES]! : -1;
  const textStart = (at + RESPONSE_TEXT) * WORD_BYTES;
  if (!isCount(textBytes) || textBytes > MAX_ERROR_BYTES || textStart + textBytes > (at + area.wordCount) * WORD_BYTES) {
    throw new HostFault(`sent an error text of ${textBytes} bytes`);
  }
  const text = Buffer.from(words.buffer as ArrayBuffer, words.byteOffset + textStart, textBytes).toString('utf8');
  return new InferenceError(code, text, { failureReason: 'BACKEND' });
}

/**
 * The outputs, as views of the area, without the optional ones that are not there; `large` holds those that came by frame. Null while one of them hasn't come yet. Throws HostFault when anything is not as
 * the metadata and the area have it. Each word is read once: the host may still write.
 */
export function readOutputs(
  area: ResponseArea,
  metadata: ModelMetadata,
  large: readonly (Uint8Array | undefined)[] | null,
): Tensor[] | null {
  const { words, bytes } = area;
  const expectedOutputs = metadata.outputs;
  if (words[area.at + RESPONSE_COUNT] !== expectedOutputs.length) {
    throw new HostFault(`sent ${words[area.at + RESPONSE_COUNT]} outputs, the model has ${expectedOutputs.length}`);
  }
  let word = area.at + RESPONSE_WORDS;
  const endWord = area.at + area.wordCount;
  const outputs = new Array<Tensor>(expectedOutputs.length);
  let given = 0;
  for (let i = 0; i < expectedOutputs.length; i++) {
    const expected = expectedOutputs[i]!;
    const rank = expected.shape.length;
    if (word + OUTPUT_WORDS + rank > endWord) throw new HostFault(`sent a response that ends before output '${expected.name}'`);
    const byteLength = words[word + OUTPUT_BYTES]!;
    const offset = words[word + OUTPUT_OFFSET]!;
    if (words[word + OUTPUT_RANK] !== rank)
      throw new HostFault(`gave output '${expected.name}' ${words[word + OUTPUT_RANK]} dimensions instead of ${rank}`);
    word += OUTPUT_WORDS;
    if (offset === ABSENT && expected.optional) {
      word += rank;
      continue;
    }
    const shape = new Array<number>(rank);
    for (let d = 0; d < rank; d++) {
      const dim = words[word++]!;
      const known = expected.shape[d]!;
      if (known >= 0 && known !== dim)
        throw new HostFault(`gave dimension ${d} of output '${expected.name}' as ${dim} instead of ${known}`);
      shape[d] = dim;
    }
    const count = elementCount(shape);
    if (count < 0) throw new HostFault(`gave output '${expected.name}' the shape [${shape.join(',')}]`);
    const elementBytes = byteSizeOf(expected.datatype);
    if (!isCount(byteLength) || (elementBytes > 0 && byteLength !== count * elementBytes)) {
      throw new HostFault(`gave output '${expected.name}' ${byteLength} bytes for ${count} elements of ${expected.datatype}`);
    }
    let data: Uint8Array;
    if (offset === BY_FRAME) {
      const received = large?.[i];
      if (received === undefined) return null;
      if (received.length !== byteLength)
        throw new HostFault(`sent ${received.length} bytes of output '${expected.name}' and said ${byteLength}`);
      data = received;
    } else {
      if (!isCount(offset) || offset < area.start || offset + byteLength > area.end) {
        throw new HostFault(`placed output '${expected.name}' at ${offset}, outside the room given for it`);
      }
      data = bytes.subarray(offset, offset + byteLength);
    }
    if (elementBytes === 0) data = checkedStrings(data, count, expected.name, offset !== BY_FRAME);
    outputs[given++] = { name: expected.name, datatype: expected.datatype, shape, data };
  }
  outputs.length = given;
  return outputs;
}

/** Lengths inside the bytes steer whoever reads them later, so they are checked on a copy that the host cannot reach. */
function checkedStrings(data: Uint8Array, count: number, name: string, isShared: boolean): Uint8Array {
  const own = isShared ? data.slice() : data;
  registerUsedOnce(own);
  let found: number;
  try {
    found = countBytesElements(own, name);
  } catch (error) {
    throw new HostFault(`sent broken BYTES: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (found !== count) throw new HostFault(`sent ${found} elements of output '${name}', its shape has ${count}`);
  return own;
}

function isCount(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER && value === Math.floor(value);
}
