import { InferenceError } from '../../../../proto/inference-error.ts';
import type { InferResponse } from '../transport.ts';

/** Who a call tells what its caller does. */
export interface CallOwner {
  /** The caller wants no more of it. */
  abandon(call: WebSocketCall, error: InferenceError | null): void;
  /** One response fewer waits for its reader. */
  onTaken(call: WebSocketCall): void;
}

interface Buffered {
  readonly response: InferResponse;
  readonly bytes: number;
}

interface Reader {
  resolve(response: InferResponse | null): void;
  reject(error: InferenceError): void;
}

/** One request and the responses to it that its caller has not read yet. */
export class WebSocketCall {
  /** No other request of the connection has it. */
  readonly wireId: string;
  /** Of its message. */
  readonly bytes: number;
  readonly isStream: boolean;
  /** Responses that came. */
  responseCount = 0;
  bufferedBytes = 0;
  /** Of its reader; the owner's to say. */
  isSlow = false;
  wasSlow = false;
  readonly #owner: CallOwner;
  readonly #callerId: string;
  /** Makes the message; null once it is sent, or is not going to be: it holds the inputs. */
  #message: (() => string | Uint8Array) | null;
  readonly #signal: AbortSignal | null;
  readonly #buffered: Buffered[] = [];
  readonly #readers: Reader[] = [];
  #error: InferenceError | null = null;
  #isOver = false;

  constructor(
    owner: CallOwner,
    ids: { readonly wire: string; readonly caller: string },
    message: () => string | Uint8Array,
    bytes: number,
    isStream: boolean,
    signal: AbortSignal | null,
  ) {
    this.#owner = owner;
    this.wireId = ids.wire;
    this.#callerId = ids.caller;
    this.#message = message;
    this.bytes = bytes;
    this.isStream = isStream;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort);
  }

  /** Nothing is added any more; what came may still wait to be read. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get bufferedCount(): number {
    return this.#buffered.length;
  }

  /** Once, when it is sent. */
  takeMessage(): string | Uint8Array {
    const message = this.#message!();
    this.#message = null;
    return message;
  }

  /** The next response, or null behind the last one. Rejects with the error that ended the call, behind the responses that came before it. */
  next(): Promise<InferResponse | null> {
    const buffered = this.#buffered.shift();
    if (buffered !== undefined) {
      this.bufferedBytes -= buffered.bytes;
      this.#owner.onTaken(this);
      return Promise.resolve(buffered.response);
    }
    if (this.#isOver) return this.#error === null ? Promise.resolve(null) : Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** `bytes`: of the message that brought it. */
  deliver(response: InferResponse, bytes: number): void {
    const own = this.#callerId === '' ? response : { ...response, id: this.#callerId };
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader.resolve(own);
      return;
    }
    this.#buffered.push({ response: own, bytes });
    this.bufferedBytes += bytes;
  }

  /** No more responses come; `error` is null where that is as it should be. */
  end(error: InferenceError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#message = null;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    for (const reader of this.#readers.splice(0)) {
      if (error === null) reader.resolve(null);
      else reader.reject(error);
    }
  }

  /** What waits is not wanted any more. */
  discard(): void {
    this.#buffered.length = 0;
    this.bufferedBytes = 0;
  }

  readonly #onAbort = (): void => {
    this.discard();
    this.#owner.abandon(this, InferenceError.from(this.#signal?.reason));
  };
}
