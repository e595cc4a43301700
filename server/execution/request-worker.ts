/** @hotpath the host's end of batches for a model that is code: a frame into requests, their results into a frame (measured by request-channel.bench.ts) */

import type { ModelMetadata, RequestModelInstance } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { checkOutputs, modelFault } from './check-outputs.ts';
import { MAX_ERROR_BYTES } from './execution-record.ts';
import { CANCEL_BYTES, FRAME_HEADER_BYTES, FRAME_KIND, writeFrameHeader } from './messages.ts';
import { HostedRequest, type RequestRow } from './request-row.ts';
import { TensorFrameReader, tensorFrame, tensorRow } from './tensor-frame.ts';
import { thrownText } from './thrown-text.ts';

export interface HostedRequestInstance {
  readonly instance: RequestModelInstance;
  readonly metadata: ModelMetadata;
  readonly modelName: string;
}

type Result = readonly Tensor[] | InferenceError;

/** Works on any number of batches at once; the gateway bounds them. */
export class RequestWorker {
  readonly instances: Map<number, HostedRequestInstance> = new Map();
  readonly #send: (frame: Uint8Array) => void;
  readonly #running: Map<number, readonly HostedRequest[]> = new Map();

  /** `send` takes a frame over. */
  constructor(send: (frame: Uint8Array) => void) {
    this.#send = send;
  }

  /** An `executeRequests` or `abandon` frame. */
  onFrame(kind: number, payload: Buffer): void {
    if (kind === FRAME_KIND.executeRequests) void this.#execute(payload);
    // Its answer may be on the way to the gateway.
    else this.#running.get(payload.readDoubleLE(0))?.[payload.readDoubleLE(8)]?.abort();
  }

  /** The gateway has gone. */
  cancelAll(): void {
    for (const requests of this.#running.values()) for (const request of requests) request.abort();
  }

  async #execute(payload: Buffer): Promise<void> {
    const reader = new TensorFrameReader(payload);
    const { sequence, instance, requests: rows } = reader.header as { sequence: number; instance: number; requests: RequestRow[] };
    const hosted = this.instances.get(instance);
    const requests = rows.map((row, index) => new HostedRequest(row, { execution: sequence, index }, reader, null));
    this.#running.set(sequence, requests);
    const startedMs = performance.now();
    let isSettled = false;
    let results: readonly Result[];
    try {
      if (hosted === undefined) throw new InferenceError('INTERNAL', 'the execution host has no such model instance');
      const running = hosted.instance.execute(requests);
      // A turn of the loop later it is still under way: whatever it waits for, others can run meanwhile.
      setImmediate(() => {
        if (!isSettled) this.#send(waitingFrame(sequence));
      });
      results = await running;
    } catch (error) {
      const failure = error instanceof InferenceError ? error : modelFault(hosted!.modelName, `failed: ${thrownText(error)}`);
      results = requests.map(() => failure);
    }
    isSettled = true;
    const endedMs = performance.now();
    this.#running.delete(sequence);
    this.#send(resultsFrame(sequence, hosted, results, (endedMs - startedMs) * 1e6, endedMs));
  }
}

function resultsFrame(
  sequence: number,
  hosted: HostedRequestInstance | undefined,
  results: readonly Result[],
  inferNs: number,
  endedMs: number,
): Buffer {
  const tensors: Tensor[] = [];
  const rows: unknown[] = [];
  for (const result of results) rows.push(resultRow(hosted, result, tensors));
  const outputNs = (performance.now() - endedMs) * 1e6;
  try {
    return tensorFrame(FRAME_KIND.results, { sequence, inferNs, outputNs, results: rows }, tensors);
  } catch (error) {
    const text = `model '${hosted?.modelName}' gave ${thrownText(error)}; send smaller requests, or smaller batches`;
    const failure = errorRow(new InferenceError('RESOURCE_EXHAUSTED', text));
    return tensorFrame(FRAME_KIND.results, { sequence, inferNs, outputNs, results: results.map(() => failure) }, []);
  }
}

function resultRow(hosted: HostedRequestInstance | undefined, result: Result, tensors: Tensor[]): unknown {
  if (result instanceof InferenceError) return errorRow(result);
  try {
    checkOutputs(hosted!.modelName, hosted!.metadata, result);
  } catch (error) {
    return errorRow(InferenceError.from(error));
  }
  for (let i = 0; i < result.length; i++) tensors.push(result[i]!);
  return result.map(tensorRow);
}

export function errorRow(error: InferenceError): { readonly code: string; readonly message: string } {
  return { code: error.code, message: String(error.message).slice(0, MAX_ERROR_BYTES / 2) };
}

function waitingFrame(sequence: number): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + CANCEL_BYTES);
  writeFrameHeader(frame, 0, FRAME_KIND.waiting, CANCEL_BYTES);
  frame.writeDoubleLE(sequence, FRAME_HEADER_BYTES);
  return frame;
}
