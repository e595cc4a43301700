/** @hotpath runs a batch that came in a frame and puts its answer into one: the host's end of the socket transport (measured by instance-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import { alignTensor, REQUEST_SEQUENCE, responseBytes, TENSOR_ALIGNMENT, WORD_BYTES } from './execution-record.ts';
import type { InstanceWorker } from './instance-worker.ts';
import { FRAME_HEADER_BYTES, FRAME_KIND, MAX_TENSOR_FRAME_BYTES, writeFrameHeader } from './messages.ts';

/** Outputs up to here are gathered into one write; larger ones are written from where the model left them. */
const SCRATCH_BYTES = 256 * 1024;
/** The record's doubles have to lie on 8-byte boundaries, so the frame starts a little behind its buffer. */
const LEAD_BYTES = 8 - FRAME_HEADER_BYTES;
const padding: Buffer = Buffer.alloc(TENSOR_ALIGNMENT);

export class ResultFrames {
  readonly #worker: InstanceWorker;
  /** Reused: what lies in it is copied into the frame before the next run. */
  readonly #scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

  constructor(worker: InstanceWorker) {
    this.#worker = worker;
  }

  /** Runs the batch in the payload of an `execute` frame. Returns the chunks of its `result` frame, to be written in this order; they are the caller's. */
  execute(payload: Buffer): Uint8Array[] {
    const words = new Float64Array(payload.buffer, payload.byteOffset, Math.floor(payload.length / WORD_BYTES));
    const sequence = words[REQUEST_SEQUENCE]!;
    const error = this.#worker.run(words, 0, payload, this.#scratch, 0, SCRATCH_BYTES);
    const recordBytes = responseBytes(this.#worker.outputMetadata);
    if (error !== null) return this.#encodeError(sequence, recordBytes, error);

    const writer = this.#worker.writer;
    const headBytes = recordBytes + writer.usedBytes;
    let total = headBytes;
    for (let i = 0; i < writer.outputCount; i++) {
      const output = writer.outputAt(i);
      if (output.large === null) {
        output.offset += recordBytes;
      } else {
        output.offset = total;
        total += alignTensor(output.byteLength);
      }
    }
    if (total > MAX_TENSOR_FRAME_BYTES) {
      const limit = `over the limit of ${MAX_TENSOR_FRAME_BYTES} bytes for one batch; use smaller batches`;
      return this.#encodeError(
        sequence,
        recordBytes,
        new InferenceError('RESOURCE_EXHAUSTED', `the outputs have ${total} bytes, ${limit}`),
      );
    }
    const head = this.#frame(headBytes, total);
    this.#worker.writeResponse(recordWords(head, recordBytes), 0, sequence, null);
    head.set(this.#scratch.subarray(0, writer.usedBytes), LEAD_BYTES + FRAME_HEADER_BYTES + recordBytes);
    const chunks: Uint8Array[] = [head.subarray(LEAD_BYTES)];
    for (let i = 0; writer.overflowCount > 0 && i < writer.outputCount; i++) {
      const { large } = writer.outputAt(i);
      if (large === null) continue;
      chunks.push(large);
      const padBytes = alignTensor(large.length) - large.length;
      if (padBytes > 0) chunks.push(padding.subarray(0, padBytes));
    }
    return chunks;
  }

  #encodeError(sequence: number, recordBytes: number, error: InferenceError): Uint8Array[] {
    const frame = this.#frame(recordBytes, recordBytes);
    this.#worker.writeResponse(recordWords(frame, recordBytes), 0, sequence, error);
    return [frame.subarray(LEAD_BYTES)];
  }

  /** Room for the frame's head and `headBytes` of its payload of `payloadBytes`. */
  #frame(headBytes: number, payloadBytes: number): Buffer {
    const frame = Buffer.allocUnsafeSlow(LEAD_BYTES + FRAME_HEADER_BYTES + headBytes);
    writeFrameHeader(frame, LEAD_BYTES, FRAME_KIND.result, payloadBytes);
    return frame;
  }
}

function recordWords(frame: Buffer, recordBytes: number): Float64Array {
  return new Float64Array(frame.buffer, LEAD_BYTES + FRAME_HEADER_BYTES, recordBytes / WORD_BYTES);
}
