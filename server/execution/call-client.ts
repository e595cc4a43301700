/** @hotpath the host's end of calls to other models (measured by request-channel.bench.ts) */

import type { ModelCall } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { ACKNOWLEDGED_TOGETHER } from './decoupled-execution.ts';
import { CANCEL_BYTES, CREDIT_BYTES, FRAME_HEADER_BYTES, FRAME_KIND, type FrameKind, writeFrameHeader } from './messages.ts';
import { encodeSequence, encodeValues, TensorFrameReader, tensorFrame, tensorRow } from './tensor-frame.ts';
import { thrownText } from './thrown-text.ts';

interface OpenCall {
  /** Responses that nobody has taken yet; the gateway bounds them. */
  readonly responses: (readonly Tensor[])[];
  isEnded: boolean;
  error: InferenceError | null;
  wake: (() => void) | null;
}

export class CallClient {
  readonly #send: (frame: Uint8Array) => void;
  readonly #open: Map<number, OpenCall> = new Map();
  #lastId = 0;

  /** `send` takes a frame over. */
  constructor(send: (frame: Uint8Array) => void) {
    this.#send = send;
  }

  /** See `HostServices.call`. */
  async *call(call: ModelCall): AsyncGenerator<readonly Tensor[]> {
    const { signal } = call;
    if (signal?.aborted === true) throw cancelled(call);
    const id = ++this.#lastId;
    const open: OpenCall = { responses: [], isEnded: false, error: null, wake: null };
    this.#sendCall(id, call);
    this.#open.set(id, open);
    const onAbort = (): void => {
      open.isEnded = true;
      open.error ??= cancelled(call);
      open.responses.length = 0;
      wake(open);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    let unacknowledged = 0;
    try {
      for (;;) {
        const response = open.responses.shift();
        if (response !== undefined) {
          yield response;
          if (++unacknowledged >= ACKNOWLEDGED_TOGETHER) {
            this.#sendWords(FRAME_KIND.callCredit, id, unacknowledged);
            unacknowledged = 0;
          }
        } else if (open.isEnded) {
          if (open.error !== null) throw open.error;
          return;
        } else {
          await new Promise<void>((resolve) => {
            open.wake = resolve;
          });
        }
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      // Still open where the gateway has not ended it.
      if (this.#open.delete(id)) this.#sendWords(FRAME_KIND.cancelCall, id, 0);
    }
  }

  /** A `callResponse` or `callEnded` frame. */
  onFrame(kind: number, payload: Buffer): void {
    const reader = new TensorFrameReader(payload);
    const id = reader.header['call'] as number;
    const open = this.#open.get(id);
    // Cancelled meanwhile.
    if (open === undefined) return;
    if (kind === FRAME_KIND.callResponse) {
      if (!open.isEnded) open.responses.push(reader.tensors(reader.header['outputs']));
    } else {
      this.#open.delete(id);
      const error = reader.header['error'] as { code: InferenceError['code']; message: string } | undefined;
      if (error !== undefined) open.error ??= new InferenceError(error.code, error.message);
      open.isEnded = true;
    }
    wake(open);
  }

  #sendCall(id: number, call: ModelCall): void {
    const { caller } = call;
    const header = {
      call: id,
      execution: caller?.execution ?? 0,
      index: caller?.index ?? -1,
      model: call.modelName,
      version: call.modelVersion,
      id: call.id,
      inputs: call.inputs.map(tensorRow),
      outputs: call.outputs,
      parameters: encodeValues(call.parameters),
      priority: call.priority,
      sequence: encodeSequence(call.sequence),
    };
    try {
      this.#send(tensorFrame(FRAME_KIND.call, header, call.inputs));
    } catch (error) {
      throw new InferenceError('RESOURCE_EXHAUSTED', `the call of model '${call.modelName}' has ${thrownText(error)}`);
    }
  }

  #sendWords(kind: FrameKind, id: number, count: number): void {
    const bytes = kind === FRAME_KIND.callCredit ? CREDIT_BYTES : CANCEL_BYTES;
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + bytes);
    writeFrameHeader(frame, 0, kind, bytes);
    frame.writeDoubleLE(id, FRAME_HEADER_BYTES);
    if (bytes > CANCEL_BYTES) frame.writeDoubleLE(count, FRAME_HEADER_BYTES + CANCEL_BYTES);
    this.#send(frame);
  }
}

function wake(open: OpenCall): void {
  const { wake: resolve } = open;
  open.wake = null;
  resolve?.();
}

function cancelled(call: ModelCall): InferenceError {
  const { reason } = call.signal!;
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new InferenceError('DEADLINE_EXCEEDED', `the call of model '${call.modelName}' did not end within the time it was given`);
  }
  return new InferenceError('CANCELLED', `the call of model '${call.modelName}' was cancelled`, { failureReason: 'CANCELED' });
}
