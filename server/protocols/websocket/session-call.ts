/** @hotpath one object per inference request over WebSocket (measured by web-socket-session.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { RouteWait } from '../route-wait.ts';

/** What a call tells its session. None of these comes after the call has ended. */
export interface CallSession {
  onCallResponse(call: SessionCall, request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void;
  onCallComplete(call: SessionCall, request: InferenceRequest): void;
  onCallError(call: SessionCall, error: InferenceError): void;
}

export class SessionCall implements InferenceCaller {
  readonly id: string;
  /** Null while it is being loaded. */
  model: Model | null;
  /** May be answered any number of times, and takes as long as it likes. */
  isStream: boolean;
  /** For its model to be loaded. */
  wait: RouteWait | null = null;
  /** Of its message, which its inputs are views of. */
  readonly bytes: number;
  readonly deadlineNs: number;
  request: InferenceRequest | null = null;
  /** The peer has its last answer, or is gone: what the model still has to say is dropped. */
  isEnded = false;
  readonly #session: CallSession;

  constructor(session: CallSession, id: string, model: Model | null, bytes: number, deadlineNs: number) {
    this.#session = session;
    this.id = id;
    this.model = model;
    this.isStream = model?.isDecoupled ?? false;
    this.bytes = bytes;
    this.deadlineNs = deadlineNs;
  }

  /** Nobody wants its answer any more. */
  cancel(): void {
    this.wait?.cancel();
    this.request?.cancel();
  }

  onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    if (!this.isEnded) this.#session.onCallResponse(this, request, response, isFinal);
  }

  onComplete(request: InferenceRequest): void {
    if (!this.isEnded) this.#session.onCallComplete(this, request);
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    if (!this.isEnded) this.#session.onCallError(this, error);
  }
}
