/** @hotpath lays a batch out in memory that its host can read: the request record, then each input's bytes */

import type { ExecutionBatch } from './execution-host.ts';
import {
  alignTensor,
  INPUT_BYTES,
  INPUT_INDEX,
  INPUT_OFFSET,
  INPUT_RANK,
  INPUT_WORDS,
  REQUEST_ABANDONED,
  REQUEST_INPUT_COUNT,
  REQUEST_INSTANCE,
  REQUEST_OUTPUT_BYTES,
  REQUEST_OUTPUT_OFFSET,
  REQUEST_RESPONSE_BYTES,
  REQUEST_RESPONSE_OFFSET,
  REQUEST_SEQUENCE,
  REQUEST_WORDS,
  WORD_BYTES,
} from './execution-record.ts';
import type { ModelTensors } from './model-tensors.ts';

/** Bytes that the inputs take, each on a tensor boundary. */
export function inputAreaBytes(batch: ExecutionBatch): number {
  const inputs = batch.inputs;
  let bytes = 0;
  for (let i = 0; i < inputs.length; i++) bytes += alignTensor(inputs[i]!.byteLength);
  return bytes;
}

/**
 * Writes the record at byte `region` and the inputs from byte `inputOffset` on; where the host finds room for its answer is written by
 * {@link writeOutputRoom}.
 */
export function writeRequest(
  words: Float64Array,
  bytes: Uint8Array,
  region: number,
  inputOffset: number,
  instance: number,
  sequence: number,
  tensors: ModelTensors,
  batch: ExecutionBatch,
): void {
  const at = region / WORD_BYTES;
  const inputs = batch.inputs;
  words[at + REQUEST_INSTANCE] = instance;
  words[at + REQUEST_SEQUENCE] = sequence;
  words[at + REQUEST_INPUT_COUNT] = inputs.length;
  words[at + REQUEST_ABANDONED] = 0;
  let word = at + REQUEST_WORDS;
  let offset = inputOffset;
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!;
    const shape = input.shape;
    words[word + INPUT_INDEX] = tensors.inputIndex(input.name, i);
    words[word + INPUT_BYTES] = input.byteLength;
    words[word + INPUT_OFFSET] = offset;
    words[word + INPUT_RANK] = shape.length;
    word += INPUT_WORDS;
    for (let d = 0; d < shape.length; d++) words[word++] = shape[d]!;
    batch.writeInput(i, bytes.subarray(offset, offset + input.byteLength));
    offset += alignTensor(input.byteLength);
  }
}

/** Zeros where the answer comes in a frame. */
export function writeOutputRoom(
  words: Float64Array,
  region: number,
  responseOffset: number,
  responseBytes: number,
  outputOffset: number,
  outputBytes: number,
): void {
  const at = region / WORD_BYTES;
  words[at + REQUEST_RESPONSE_OFFSET] = responseOffset;
  words[at + REQUEST_RESPONSE_BYTES] = responseBytes;
  words[at + REQUEST_OUTPUT_OFFSET] = outputOffset;
  words[at + REQUEST_OUTPUT_BYTES] = outputBytes;
}
