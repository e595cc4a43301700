/** @hotpath one object per inference request over WebSocket (measured by web-socket-session.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';

/** What a call tells its session. None of these comes after the call has ended. */
export interface CallSession {
  onCallResponse(call: SessionCall, request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void;
  onCallComplete(call: SessionCall, request: InferenceRequest): void;
  onCallError(call: SessionCall, error: InferenceError): void;
}

export class SessionCall implements InferenceCaller {
  readonly id: string;
  readonly model: Model;
  /** May be answered any number of times, and takes as long as it likes. */
  readonly isStream: boolean;
  /** Of its message, which its inputs are views of. */
  readonly bytes: number;
  request: InferenceRequest | null = null;
  /** The peer has its last answer, or is gone: what the model still has to say is dropped. */
  isEnded = false;
  readonly #session: CallSession;

  constructor(session: CallSession, id: string, model: Model, bytes: number) {
    this.#session = session;
    this.id = id;
    this.model = model;
    this.isStream = model.isDecoupled;
    this.bytes = bytes;
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
