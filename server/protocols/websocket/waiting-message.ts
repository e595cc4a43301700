import type { Model } from '../../repository/model.ts';
import type { RequestJsonParser } from '../oip-json/request-json.ts';
import type { RoutedCall } from '../route-wait.ts';
import type { SessionCall } from './session-call.ts';

/** What a waiting message tells its session. */
export interface WaitingSession {
  onMessageRouted(call: SessionCall, parser: RequestJsonParser, model: Model): void;
  onMessageNotRouted(call: SessionCall, modelName: string, error: unknown): void;
}

/** A parsed message whose model is being loaded. */
export class WaitingMessage implements RoutedCall {
  readonly #session: WaitingSession;
  readonly #call: SessionCall;
  readonly #parser: RequestJsonParser;
  readonly #modelName: string;

  constructor(session: WaitingSession, call: SessionCall, parser: RequestJsonParser, modelName: string) {
    this.#session = session;
    this.#call = call;
    this.#parser = parser;
    this.#modelName = modelName;
  }

  onRouted(model: Model): void {
    this.#session.onMessageRouted(this.#call, this.#parser, model);
  }

  onRouteFailed(error: unknown): void {
    this.#session.onMessageNotRouted(this.#call, this.#modelName, error);
  }
}
