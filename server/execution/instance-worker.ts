/** @hotpath reads an execution's record, runs its instance and writes the response record: the host's end of every batch */

import type { ModelInstance, ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { REQUEST_INSTANCE } from './execution-record.ts';
import { OutputWriter } from './output-writer.ts';
import { readInputs } from './read-inputs.ts';
import { thrownText } from './thrown-text.ts';
import { writeErrorRecord, writeOutputRecord } from './write-response.ts';

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
      return new InferenceError('INTERNAL', `model '${hosted.modelName}' failed: ${thrownText(error)}`);
    }
  }

  /** Outputs of the model that ran last; none when there was no such instance. */
  get outputMetadata(): readonly TensorMetadata[] {
    return this.#metadata.outputs;
  }

  /** The response record of the run before, at word `at`, for the transport to send. Returns its length in bytes. */
  writeResponse(words: Float64Array, at: number, sequence: number, error: InferenceError | null): number {
    if (error !== null) return writeErrorRecord(words, at, sequence, error);
    const { writer } = this;
    return writeOutputRecord(words, at, sequence, writer, this.#metadata.outputs.length);
  }
}
