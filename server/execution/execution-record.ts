/** @hotpath writes and reads the record of every execution, on both sides of the host boundary (measured by write-request.bench.ts) */

/**
 * The form in which one execution crosses the boundary, the same in shared memory and in a frame: doubles, so that one view reads sizes, offsets and
 * small numbers alike. Offsets count bytes from the start of the memory, or of the frame's payload.
 *
 * Request, at the start of the execution's region:
 *   instance, sequence, response offset, response bytes, output offset, output bytes, input count, abandoned (1: nobody waits any more; written at any time),
 *   then for each input: index in the model's metadata, byte length, offset, rank, dimensions
 * Response, at the response offset (in a frame: at 0):
 *   sequence, status, infer ns, output ns,
 *   status 0: output count, then for each output, in the metadata's order: byte length, offset (-1: it went by a frame of its own; -2: there is none), rank, dimensions
 *   status 1: index in STATUS_CODES, bytes of the message, the message in UTF-8
 *   status 2: it was abandoned before it began, and has not been run
 *
 * A request of a decoupled model has the same form; where a batch has the output's offset and bytes, it has those of its parameters: JSON in UTF-8.
 * Each of its responses is a response record with the outputs behind it; its end is one without outputs.
 */
export const WORD_BYTES = 8;

export const REQUEST_INSTANCE = 0;
export const REQUEST_SEQUENCE = 1;
export const REQUEST_RESPONSE_OFFSET = 2;
export const REQUEST_RESPONSE_BYTES = 3;
export const REQUEST_OUTPUT_OFFSET = 4;
export const REQUEST_OUTPUT_BYTES = 5;
/** Of a decoupled model's request. */
export const REQUEST_PARAMETERS_OFFSET = 4;
export const REQUEST_PARAMETERS_BYTES = 5;
export const REQUEST_INPUT_COUNT = 6;
/** Of a batch. */
export const REQUEST_ABANDONED = 7;
export const REQUEST_WORDS = 8;

export const INPUT_INDEX = 0;
export const INPUT_BYTES = 1;
export const INPUT_OFFSET = 2;
export const INPUT_RANK = 3;
export const INPUT_WORDS = 4;

export const RESPONSE_SEQUENCE = 0;
export const RESPONSE_STATUS = 1;
export const RESPONSE_INFER_NS = 2;
export const RESPONSE_OUTPUT_NS = 3;
/** Output count, or the error's index in STATUS_CODES. */
export const RESPONSE_COUNT = 4;
export const RESPONSE_WORDS = 5;
/** Of the end of a decoupled request, where nothing is timed: tokens that a model of texts counted, 0 for any other. */
export const ENDED_INPUT_TOKENS = 2;
export const ENDED_OUTPUT_TOKENS = 3;
export const RESPONSE_TEXT_BYTES = 5;
export const RESPONSE_TEXT = 6;

export const OUTPUT_BYTES = 0;
export const OUTPUT_OFFSET = 1;
export const OUTPUT_RANK = 2;
export const OUTPUT_WORDS = 3;

export const STATUS_OK = 0;
export const STATUS_FAILED = 1;
export const STATUS_SKIPPED = 2;

/** Longest error text that a host sends, bytes of UTF-8. */
export const MAX_ERROR_BYTES = 2048;

/** What tensors are aligned to, for the widest vector loads. */
export const TENSOR_ALIGNMENT = 64;

/** Offset of a large output, and of every output while it isn't placed. */
export const BY_FRAME = -1;

/** Offset of an optional output that a response of a decoupled model does not have. */
export const ABSENT = -2;

export function alignTensor(bytes: number): number {
  // Not `& ~63`: sizes may pass 32 bits.
  return Math.ceil(bytes / TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT;
}

/** Room for any response of a model, an error's text included. */
export function responseBytes(outputs: readonly { readonly shape: readonly number[] }[]): number {
  let words = RESPONSE_WORDS;
  for (const output of outputs) words += OUTPUT_WORDS + output.shape.length;
  return alignTensor(Math.max(words * WORD_BYTES, RESPONSE_TEXT * WORD_BYTES + MAX_ERROR_BYTES));
}

/** Bytes of the response record of these outputs alone. */
export function outputRecordBytes(outputs: readonly { readonly shape: readonly number[] }[]): number {
  let words = RESPONSE_WORDS;
  for (let i = 0; i < outputs.length; i++) words += OUTPUT_WORDS + outputs[i]!.shape.length;
  return alignTensor(words * WORD_BYTES);
}

/** Bytes of the request record of these inputs. */
export function requestBytes(inputs: readonly { readonly shape: readonly number[] }[]): number {
  let words = REQUEST_WORDS;
  for (let i = 0; i < inputs.length; i++) words += INPUT_WORDS + inputs[i]!.shape.length;
  return alignTensor(words * WORD_BYTES);
}
