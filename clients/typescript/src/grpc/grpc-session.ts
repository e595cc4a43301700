import type { Channel } from '@grpc/grpc-js';
import { InferenceError } from '../../../../proto/inference-error.ts';
import { malformedAnswer } from '../infer-result.ts';
import type { CallContext } from '../transport.ts';
import { callMetadata } from './call-metadata.ts';
import { type AnswerListener, GrpcCall } from './grpc-call.ts';

const SERVICE = '/inference.GRPCInferenceService/';
const NO_METADATA: Readonly<Record<string, string>> = Object.freeze({});

/** The calls of one client, over one channel. */
export class GrpcSession {
  readonly #channel: Channel;
  readonly #open: Set<GrpcCall> = new Set();
  #isClosed = false;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** A call with one request message and one answer. */
  unary(method: string, message: Buffer, context: CallContext): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const answer = new UnaryAnswer(resolve, reject);
      answer.call = this.start(method, message, context, NO_METADATA, answer);
      answer.call.read();
    });
  }

  /** A call whose answers the listener reads. `own`: metadata that the caller's headers may overrule. Throws what ends the call before it begins. */
  start(method: string, message: Buffer, context: CallContext, own: Readonly<Record<string, string>>, listener: AnswerListener): GrpcCall {
    if (this.#isClosed) throw closed();
    if (context.signal?.aborted) throw InferenceError.from(context.signal.reason);
    const metadata = callMetadata(own === NO_METADATA ? context.headers : { ...own, ...context.headers });
    return new GrpcCall(this.#channel, SERVICE + method, metadata, message, context, this.#open, listener);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const call of [...this.#open]) call.fail(closed());
    this.#channel.close();
  }
}

class UnaryAnswer implements AnswerListener {
  call: GrpcCall | null = null;
  #message: Buffer | null = null;
  readonly #resolve: (message: Buffer) => void;
  readonly #reject: (error: InferenceError) => void;

  constructor(resolve: (message: Buffer) => void, reject: (error: InferenceError) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onMessage(message: Buffer): void {
    if (this.#message !== null) {
      this.call?.fail(malformedAnswer('two messages came for a call that has one'));
      return;
    }
    this.#message = message;
    // The message is an answer only with status OK, which comes behind it.
    this.call?.read();
  }

  onEnd(error: InferenceError | null): void {
    if (error !== null) this.#reject(error);
    else if (this.#message === null) this.#reject(malformedAnswer('status OK without a message'));
    else this.#resolve(this.#message);
  }
}

function closed(): InferenceError {
  return new InferenceError('CANCELLED', 'the client was closed');
}
