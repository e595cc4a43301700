import type { InferResponse } from '../transport.ts';
import type { CallOwner, WebSocketCall } from './websocket-call.ts';

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export interface StartedCall {
  readonly owner: CallOwner;
  readonly call: WebSocketCall;
}

/** The responses of one request, which the first `next` sends. Not a generator: `return` cancels at once, also while a `next` waits. */
export class ResponseIterator implements AsyncIterableIterator<InferResponse> {
  readonly #start: () => StartedCall;
  #started: StartedCall | null = null;
  #isDone = false;

  constructor(start: () => StartedCall) {
    this.#start = start;
  }

  async next(): Promise<IteratorResult<InferResponse, undefined>> {
    if (this.#isDone) return DONE;
    try {
      this.#started ??= this.#start();
      const value = await this.#started.call.next();
      if (value !== null) return { done: false, value };
    } catch (error) {
      this.#isDone = true;
      throw error;
    }
    this.#isDone = true;
    return DONE;
  }

  return(): Promise<IteratorResult<InferResponse, undefined>> {
    this.#isDone = true;
    if (this.#started !== null) {
      const { owner, call } = this.#started;
      owner.abandon(call, null);
      call.discard();
    }
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
