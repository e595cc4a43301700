/** @hotpath a batch as the payload of an `execute` frame, and the answer in the payload of its `result` (measured by instance-channel.bench.ts) */

import { registerUsedOnce } from '../../proto/tensor-memory.ts';
import type { ResponseArea } from './check-response.ts';
import type { ExecutionBatch } from './execution-host.ts';
import { requestBytes, WORD_BYTES } from './execution-record.ts';
import type { ProcessInstanceChannel } from './instance-channel.ts';
import { inputAreaBytes, writeOutputRoom, writeRequest } from './write-request.ts';

export function executePayloadBytes(batch: ExecutionBatch): number {
  return requestBytes(batch.inputs) + inputAreaBytes(batch);
}

/** Inputs are written here, once. */
export function encodeExecute(channel: ProcessInstanceChannel, batch: ExecutionBatch, sequence: number, payloadBytes: number): Buffer {
  const payload = Buffer.allocUnsafeSlow(payloadBytes);
  const words = new Float64Array(payload.buffer, 0, payloadBytes / WORD_BYTES);
  writeRequest(words, payload, 0, requestBytes(batch.inputs), channel.instance, sequence, channel.tensors, batch);
  writeOutputRoom(words, 0, 0, 0, 0, 0);
  return payload;
}

/** Points `area` at a `result` frame's payload, which has a buffer of its own. */
export function placeResult(area: ResponseArea, payload: Buffer): void {
  registerUsedOnce(payload);
  area.words = new Float64Array(payload.buffer, payload.byteOffset, Math.floor(payload.length / WORD_BYTES));
  area.at = 0;
  area.wordCount = area.words.length;
  // A plain array: what a Buffer's `slice` does differs, and every other tensor is one.
  area.bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.length);
  area.start = 0;
  area.end = payload.length;
}
