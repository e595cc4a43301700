/** @hotpath reads the inputs of a request record, in the host (measured by instance-worker.bench.ts) */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { INPUT_BYTES, INPUT_INDEX, INPUT_OFFSET, INPUT_RANK, INPUT_WORDS, REQUEST_INPUT_COUNT, REQUEST_WORDS } from './execution-record.ts';

/** The inputs of the record at word `at`, as views of `bytes`. The gateway wrote it: it is taken at its word. */
export function readInputs(words: Float64Array, at: number, bytes: Uint8Array, metadata: ModelMetadata): Tensor[] {
  const count = words[at + REQUEST_INPUT_COUNT]!;
  const inputs = new Array<Tensor>(count);
  let word = at + REQUEST_WORDS;
  for (let i = 0; i < count; i++) {
    const input = metadata.inputs[words[word + INPUT_INDEX]!]!;
    const offset = words[word + INPUT_OFFSET]!;
    const byteLength = words[word + INPUT_BYTES]!;
    const rank = words[word + INPUT_RANK]!;
    word += INPUT_WORDS;
    const shape = new Array<number>(rank);
    for (let d = 0; d < rank; d++) shape[d] = words[word++]!;
    inputs[i] = { name: input.name, datatype: input.datatype, shape, data: bytes.subarray(offset, offset + byteLength) };
  }
  return inputs;
}
