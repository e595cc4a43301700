import type { Model } from '../../repository/model.ts';
import type { ReadRequest } from '../oip-json/request-json.ts';
import type { RoutedCall } from '../route-wait.ts';
import type { SessionCall } from './session-call.ts';

/** What a waiting message tells its session. */
export interface WaitingSession {
  onMessageRouted(call: SessionCall, read: ReadRequest, model: Model): void;
  onMessageNotRouted(call: SessionCall, modelName: string, error: unknown): void;
}

/** A parsed message whose model is being loaded. */
export class WaitingMessage implements RoutedCall {
  readonly #session: WaitingSession;
  readonly #call: SessionCall;
  readonly #read: ReadRequest;
  readonly #modelName: string;

  constructor(session: WaitingSession, call: SessionCall, read: ReadRequest, modelName: string) {
    this.#session = session;
    this.#call = call;
    this.#read = read;
    this.#modelName = modelName;
  }

  onRouted(model: Model): void {
    this.#session.onMessageRouted(this.#call, this.#read, model);
  }

  onRouteFailed(error: unknown): void {
    this.#session.onMessageNotRouted(this.#call, this.#modelName, error);
  }
}
