import type { InferenceError } from '../../../../proto/inference-error.ts';
import type { CallContext, InferRequest, InferResponse } from '../transport.ts';
import { decodeStreamResponse } from './decode-infer-response.ts';
import { encodeInferRequest } from './encode-infer-request.ts';
import type { AnswerListener, GrpcCall } from './grpc-call.ts';
import type { GrpcSession } from './grpc-session.ts';

/** A failure of the model then is a gRPC status; without it, a text in a message of a stream that goes on. */
const METADATA: Readonly<Record<string, string>> = { triton_grpc_error: 'true' };

interface Waiting {
  resolve(result: IteratorResult<InferResponse>): void;
  reject(error: unknown): void;
}

/**
 * The responses of one request over a ModelStreamInfer call of its own. The protocol lets requests share a call, told apart by their ids; then no request could be cancelled,
 * have a deadline or be held back alone, and one failure would end them all. A call is two frames on a connection that is there, and any number run side by side on it.
 *
 * The call begins with the first `next` and is half-closed at once, so a server that never says which response is the last one ends the iteration by its status. One
 * response is asked for at a time: a slow reader holds the server back through flow control, whose window (open-channel.ts) and one message are all that waits here.
 */
export class InferStream implements AsyncIterableIterator<InferResponse>, AnswerListener {
  readonly #session: GrpcSession;
  readonly #request: InferRequest;
  readonly #context: CallContext;
  /** Calls of `next` without an answer, oldest first. */
  readonly #waiting: Waiting[] = [];
  #call: GrpcCall | null = null;
  #isOver = false;
  /** Came while nobody waited: the next `next` gets it. */
  #failure: unknown = null;

  constructor(session: GrpcSession, request: InferRequest, context: CallContext) {
    this.#session = session;
    this.#request = request;
    this.#context = context;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<InferResponse>> {
    if (this.#isOver) {
      const failure = this.#failure;
      this.#failure = null;
      return failure === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(failure);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#waiting.length > 1) return;
      try {
        this.#call ??= this.#session.start('ModelStreamInfer', encodeInferRequest(this.#request, true), this.#context, METADATA, this);
        this.#call.read();
      } catch (error) {
        this.#finish(error);
      }
    });
  }

  return(): Promise<IteratorResult<InferResponse>> {
    this.#call?.cancel();
    this.#failure = null;
    this.#finish(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  onMessage(message: Buffer): void {
    // Behind the last response nothing has a place.
    if (this.#isOver) {
      this.#call?.cancel();
      return;
    }
    try {
      const { response, isFinal } = decodeStreamResponse(message, this.#request);
      const isEmpty = isFinal === true && response.outputs.length === 0;
      if (!isEmpty) this.#waiting.shift()?.resolve({ done: false, value: response });
      if (isFinal === true) this.#finish(null);
      // Also once it is over: what is left is the status, and a call that nobody reads never ends.
      if (isFinal === true || this.#waiting.length > 0) this.#call?.read();
    } catch (error) {
      this.#call?.cancel();
      this.#finish(error);
    }
  }

  onEnd(error: InferenceError | null): void {
    this.#finish(error);
  }

  /** The oldest `next` gets the error, those behind it, and all to come, the end. */
  #finish(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (error !== null && this.#waiting.length === 0) this.#failure = error;
    if (error !== null) this.#waiting.shift()?.reject(error);
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }
}
