/** @hotpath gives a running model the memory for its outputs and holds them against what the model says of itself (measured by instance-worker.bench.ts) */

import type { ModelMetadata, OutputSink } from '../../backends/api/backend.ts';
import type { Datatype } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { modelFault, outputFault } from './check-outputs.ts';
import { alignTensor, BY_FRAME, TENSOR_ALIGNMENT } from './execution-record.ts';
import { MAX_TENSOR_FRAME_BYTES } from './messages.ts';

/** What one frame can carry beside a prefix. */
const MAX_LARGE_OUTPUT_BYTES: number = MAX_TENSOR_FRAME_BYTES - TENSOR_ALIGNMENT;

/** Where one output of the running execution lies. */
export interface WrittenOutput {
  shape: readonly number[];
  byteLength: number;
  /** From the start of the area's memory; BY_FRAME: in `large`. */
  offset: number;
  /** Memory of its own, where the output area had no room; null otherwise. */
  large: Uint8Array | null;
  isWritten: boolean;
}

/**
 * The sink of one execution after another; it is reused, so what it holds is valid until the next `begin`. An output that doesn't fit the area gets
 * memory of its own: nothing a model computes is refused for its size here.
 */
export class OutputWriter implements OutputSink {
  readonly #outputs: WrittenOutput[] = [];
  #metadata: ModelMetadata = { inputs: [], outputs: [] };
  #modelName = '';
  #area: Uint8Array = new Uint8Array(0);
  #start = 0;
  #next = 0;
  #end = 0;
  #cursor = 0;
  #writtenCount = 0;
  #inferStartedMs = 0;
  #inferEndedMs = 0;
  #overflowCount = 0;

  /** `area[start, start + capacity)` takes the outputs; `start` lies on a tensor boundary. */
  begin(metadata: ModelMetadata, modelName: string, area: Uint8Array, start: number, capacity: number): void {
    this.#metadata = metadata;
    this.#modelName = modelName;
    this.#area = area;
    this.#start = start;
    this.#next = start;
    this.#end = start + capacity;
    this.#cursor = 0;
    this.#writtenCount = 0;
    this.#overflowCount = 0;
    while (this.#outputs.length < metadata.outputs.length) {
      this.#outputs.push({ shape: [], byteLength: 0, offset: 0, large: null, isWritten: false });
    }
    for (let i = 0; i < metadata.outputs.length; i++) {
      this.#outputs[i]!.isWritten = false;
      this.#outputs[i]!.large = null;
    }
    const now = performance.now();
    this.#inferStartedMs = now;
    this.#inferEndedMs = now;
  }

  /** Outputs that the model has. */
  get outputCount(): number {
    return this.#metadata.outputs.length;
  }

  /** Output `index` of the metadata. */
  outputAt(index: number): WrittenOutput {
    return this.#outputs[index]!;
  }

  /** Bytes of the area in use, from its start. */
  get usedBytes(): number {
    return this.#next - this.#start;
  }

  /** Outputs that got memory of their own. */
  get overflowCount(): number {
    return this.#overflowCount;
  }

  get inferNs(): number {
    return Math.max(0, Math.round((this.#inferEndedMs - this.#inferStartedMs) * 1e6));
  }

  /** From the end of the model's run to now. */
  outputNs(): number {
    return Math.max(0, Math.round((performance.now() - this.#inferEndedMs) * 1e6));
  }

  inferStarted(): void {
    this.#inferStartedMs = performance.now();
    this.#inferEndedMs = this.#inferStartedMs;
  }

  inferEnded(): void {
    this.#inferEndedMs = performance.now();
  }

  allocate(name: string, datatype: Datatype, shape: readonly number[], byteLength: number): Uint8Array {
    const index = this.#indexOf(name);
    const expected = this.#metadata.outputs[index]!;
    const output = this.#outputs[index]!;
    if (output.isWritten) throw this.#fault(`wrote output '${name}' twice`);
    const fault = outputFault(expected, datatype, shape, byteLength);
    if (fault !== null) throw this.#fault(fault);
    output.isWritten = true;
    output.shape = shape;
    output.byteLength = byteLength;
    this.#writtenCount++;
    const offset = this.#next;
    if (offset + byteLength <= this.#end) {
      this.#next = Math.min(offset + alignTensor(byteLength), this.#end);
      output.offset = offset;
      return this.#area.subarray(offset, offset + byteLength);
    }
    if (byteLength > MAX_LARGE_OUTPUT_BYTES) {
      const limit = `over the limit of ${MAX_LARGE_OUTPUT_BYTES} bytes for one output of a batch; use smaller batches`;
      throw new InferenceError('RESOURCE_EXHAUSTED', `model '${this.#modelName}' gave output '${name}' ${byteLength} bytes, ${limit}`);
    }
    this.#overflowCount++;
    output.offset = BY_FRAME;
    output.large = Buffer.allocUnsafeSlow(byteLength);
    return output.large;
  }

  /** To be called after the model ran: throws INTERNAL when an output is missing. */
  assertComplete(): void {
    if (this.#writtenCount === this.#metadata.outputs.length) return;
    const missing = this.#metadata.outputs.filter((_, index) => !this.#outputs[index]!.isWritten).map((output) => `'${output.name}'`);
    throw this.#fault(`ended without its output ${missing.join(', ')}`);
  }

  #indexOf(name: string): number {
    const outputs = this.#metadata.outputs;
    const cursor = this.#cursor;
    if (cursor < outputs.length && outputs[cursor]!.name === name) {
      this.#cursor = cursor + 1;
      return cursor;
    }
    for (let i = 0; i < outputs.length; i++) {
      if (outputs[i]!.name === name) return i;
    }
    throw this.#fault(`wrote output '${name}', which it doesn't have`);
  }

  #fault(what: string): InferenceError {
    return modelFault(this.#modelName, what);
  }
}
