/** @hotpath reads an execution's record, runs its instance and writes the response record: the host's end of every batch */

import type { ModelInstance, ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import {
  INPUT_BYTES,
  INPUT_INDEX,
  INPUT_OFFSET,
  INPUT_RANK,
  INPUT_WORDS,
  MAX_ERROR_BYTES,
  OUTPUT_BYTES,
  OUTPUT_OFFSET,
  OUTPUT_RANK,
  OUTPUT_WORDS,
  REQUEST_INPUT_COUNT,
  REQUEST_INSTANCE,
  REQUEST_WORDS,
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
  WORD_BYTES,
} from './execution-record.ts';
import { STATUS_CODES } from './messages.ts';
import { OutputWriter } from './output-writer.ts';

export interface HostedInstance {
  readonly instance: ModelInstance;
  readonly metadata: ModelMetadata;
  readonly modelName: string;
}

/** Runs instances one at a time, on whichever memory the transport brings. */
export class InstanceWorker {
  readonly instances: Map<number, HostedInstance> = new Map();
  readonly writer: OutputWriter = new OutputWriter();
  readonly #noMetadata: ModelMetadata = { inputs: [], outputs: [] };
  #metadata: ModelMetadata = this.#noMetadata;

  /**
   * Runs the execution whose request record starts at word `at`; the outputs go to `area` as {@link OutputWriter.begin} has it. Returns what went wrong,
   * or null.
   */
  run(words: Float64Array, at: number, bytes: Uint8Array, area: Uint8Array, areaStart: number, areaBytes: number): InferenceError | null {
    const hosted = this.instances.get(words[at + REQUEST_INSTANCE]!);
    this.#metadata = this.#noMetadata;
    if (hosted === undefined) return new InferenceError('INTERNAL', 'the execution host has no such model instance');
    this.#metadata = hosted.metadata;
    const writer = this.writer;
    try {
      writer.begin(hosted.metadata, hosted.modelName, area, areaStart, areaBytes);
      hosted.instance.execute(readInputs(words, at, bytes, hosted.metadata), writer);
      writer.assertComplete();
      return null;
    } catch (error) {
      if (error instanceof InferenceError) return error;
      return new InferenceError(
        'INTERNAL',
        `model '${hosted.modelName}' failed: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  /** Outputs of the model that ran last; none when there was no such instance. */
  get outputMetadata(): readonly TensorMetadata[] {
    return this.#metadata.outputs;
  }

  /** The response record of the run before, at word `at`, for the transport to send. Returns its length in bytes. */
  writeResponse(words: Float64Array, at: number, sequence: number, error: InferenceError | null): number {
    const writer = this.writer;
    words[at + RESPONSE_SEQUENCE] = sequence;
    if (error !== null) return writeError(words, at, error);
    const outputCount = this.#metadata.outputs.length;
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
}

function readInputs(words: Float64Array, at: number, bytes: Uint8Array, metadata: ModelMetadata): Tensor[] {
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

function writeError(words: Float64Array, at: number, error: InferenceError): number {
  const text = Buffer.from(error.message, 'utf8').subarray(0, MAX_ERROR_BYTES);
  words[at + RESPONSE_STATUS] = STATUS_FAILED;
  words[at + RESPONSE_INFER_NS] = 0;
  words[at + RESPONSE_OUTPUT_NS] = 0;
  words[at + RESPONSE_COUNT] = Math.max(0, STATUS_CODES.indexOf(error.code));
  words[at + RESPONSE_TEXT_BYTES] = text.length;
  new Uint8Array(words.buffer, words.byteOffset + (at + RESPONSE_TEXT) * WORD_BYTES, text.length).set(text);
  return RESPONSE_TEXT * WORD_BYTES + text.length;
}
