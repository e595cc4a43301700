/** @hotpath writes the response record of every execution, in the host (measured by instance-worker.bench.ts) */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import {
  ABSENT,
  alignTensor,
  ENDED_INPUT_TOKENS,
  ENDED_OUTPUT_TOKENS,
  MAX_ERROR_BYTES,
  OUTPUT_BYTES,
  OUTPUT_OFFSET,
  OUTPUT_RANK,
  OUTPUT_WORDS,
  RESPONSE_COUNT,
  RESPONSE_INFER_NS,
  RESPONSE_OUTPUT_NS,
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
import type { OutputWriter } from './output-writer.ts';

/** The record of the `outputCount` outputs that `writer` has, at word `at`. Returns its length in bytes. */
export function writeOutputRecord(words: Float64Array, at: number, sequence: number, writer: OutputWriter, outputCount: number): number {
  words[at + RESPONSE_SEQUENCE] = sequence;
  words[at + RESPONSE_STATUS] = STATUS_OK;
  words[at + RESPONSE_INFER_NS] = writer.inferNs;
  words[at + RESPONSE_OUTPUT_NS] = writer.outputNs();
  words[at + RESPONSE_COUNT] = outputCount;
  let word = at + RESPONSE_WORDS;
  for (let i = 0; i < outputCount; i++) {
    const output = writer.outputAt(i);
    words[word + OUTPUT_BYTES] = output.byteLength;
    words[word + OUTPUT_OFFSET] = output.offset;
    words[word + OUTPUT_RANK] = output.shape.length;
    word += OUTPUT_WORDS;
    for (let d = 0; d < output.shape.length; d++) words[word++] = output.shape[d]!;
  }
  return (word - at) * WORD_BYTES;
}

/**
 * The record of one response of a decoupled model, `outputs` as `checkOutputs` has passed them; they lie from byte `offset` on, in order.
 */
export function writeTensorsRecord(
  words: Float64Array,
  sequence: number,
  metadata: ModelMetadata,
  outputs: readonly Tensor[],
  offset: number,
): void {
  const expected = metadata.outputs;
  writeEmptyRecord(words, sequence);
  words[RESPONSE_COUNT] = expected.length;
  let word = RESPONSE_WORDS;
  let next = offset;
  let given = 0;
  for (let i = 0; i < expected.length; i++) {
    const output = outputs[given];
    const isGiven = output !== undefined && output.name === expected[i]!.name;
    const { shape } = isGiven ? output : expected[i]!;
    words[word + OUTPUT_BYTES] = isGiven ? output.data.length : 0;
    words[word + OUTPUT_OFFSET] = isGiven ? next : ABSENT;
    words[word + OUTPUT_RANK] = shape.length;
    word += OUTPUT_WORDS;
    for (let d = 0; d < shape.length; d++) words[word++] = shape[d]!;
    if (!isGiven) continue;
    next += alignTensor(output.data.length);
    given++;
  }
}

/** The record of a request's end. */
export function writeEmptyRecord(words: Float64Array, sequence: number): void {
  words[RESPONSE_SEQUENCE] = sequence;
  words[RESPONSE_STATUS] = STATUS_OK;
  words[RESPONSE_INFER_NS] = 0;
  words[RESPONSE_OUTPUT_NS] = 0;
  words[RESPONSE_COUNT] = 0;
}

/** The record of a decoupled request's end, with the tokens of its texts. */
export function writeEndRecord(words: Float64Array, sequence: number, inputTokens: number, outputTokens: number): void {
  writeEmptyRecord(words, sequence);
  words[ENDED_INPUT_TOKENS] = inputTokens;
  words[ENDED_OUTPUT_TOKENS] = outputTokens;
}

/** The record of a batch that nobody waits for any more. */
export function writeSkippedRecord(words: Float64Array, at: number, sequence: number): void {
  words[at + RESPONSE_SEQUENCE] = sequence;
  words[at + RESPONSE_STATUS] = STATUS_SKIPPED;
}

/** The record of a failure. Returns its length in bytes. */
export function writeErrorRecord(words: Float64Array, at: number, sequence: number, error: InferenceError): number {
  const text = Buffer.from(error.message, 'utf8').subarray(0, MAX_ERROR_BYTES);
  words[at + RESPONSE_SEQUENCE] = sequence;
  words[at + RESPONSE_STATUS] = STATUS_FAILED;
  words[at + RESPONSE_INFER_NS] = 0;
  words[at + RESPONSE_OUTPUT_NS] = 0;
  words[at + RESPONSE_COUNT] = Math.max(0, STATUS_CODES.indexOf(error.code));
  words[at + RESPONSE_TEXT_BYTES] = text.length;
  new Uint8Array(words.buffer, words.byteOffset + (at + RESPONSE_TEXT) * WORD_BYTES, text.length).set(text);
  return RESPONSE_TEXT * WORD_BYTES + text.length;
}
