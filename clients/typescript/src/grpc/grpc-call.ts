import { type ChannelInterface, type InterceptingListener, type Metadata, status as Status, type StatusObject } from '@grpc/grpc-js';
import { InferenceError } from '../../../../proto/inference-error.ts';
import type { CallContext } from '../transport.ts';
import { callFailure } from './call-failure.ts';

type ChannelCall = ReturnType<ChannelInterface['createCall']>;

export interface AnswerListener {
  /** One for each `read`. The bytes are the listener's. */
  onMessage(message: Buffer): void;
  /** Once, after the last message; null: status OK. Not after `cancel`. */
  onEnd(error: InferenceError | null): void;
}

/**
 * One call with one request message and any number of answers, each of which is asked for: a reader that does not ask leaves them to flow control. Built on grpc-js's channel
 * rather than its Client, whose streams read 16 messages ahead, of any size.
 */
export class GrpcCall implements InterceptingListener {
  readonly #call: ChannelCall;
  readonly #target: string;
  readonly #listener: AnswerListener;
  readonly #signal: AbortSignal | null;
  readonly #open: Set<GrpcCall>;
  #isOver = false;
  #hasHeaders = false;
  #hasMessage = false;

  /** Sends the request. `open`: where the call is listed until it ends. */
  constructor(
    channel: ChannelInterface,
    path: string,
    metadata: Metadata,
    message: Buffer,
    context: CallContext,
    open: Set<GrpcCall>,
    listener: AnswerListener,
  ) {
    this.#listener = listener;
    this.#signal = context.signal;
    this.#open = open;
    this.#target = channel.getTarget();
    this.#call = channel.createCall(path, context.deadlineMs, null, null, null);
    open.add(this);
    this.#signal?.addEventListener('abort', this.#onAbort);
    this.#call.start(metadata, this);
    this.#call.sendMessageWithContext({}, message);
    this.#call.halfClose();
  }

  /** Asks for the next message, or for the end. */
  read(): void {
    if (!this.#isOver) this.#call.startRead();
  }

  /** Nobody waits any more: the server is told, the listener is not. */
  cancel(): void {
    if (this.#finish()) this.#call.cancelWithStatus(Status.CANCELLED, 'cancelled by the caller');
  }

  /** Cancels with an error for the listener. */
  fail(error: InferenceError): void {
    if (!this.#finish()) return;
    this.#call.cancelWithStatus(Status.CANCELLED, error.message);
    this.#listener.onEnd(error);
  }

  onReceiveMetadata(): void {
    this.#hasHeaders = true;
  }

  onReceiveMessage(message: Buffer): void {
    this.#hasMessage = true;
    if (!this.#isOver) this.#listener.onMessage(message);
  }

  onReceiveStatus(status: StatusObject): void {
    if (!this.#finish()) return;
    if (status.code === Status.OK) {
      this.#listener.onEnd(null);
      return;
    }
    // Of a call that never came to a connection, the peer is the channel's target.
    const isSent = this.#call.getPeer() !== this.#target;
    this.#listener.onEnd(callFailure(status, { isSent, hasHeaders: this.#hasHeaders, hasMessage: this.#hasMessage }));
  }

  /** False: it was over already. */
  #finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#open.delete(this);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    return true;
  }

  readonly #onAbort = (): void => {
    this.fail(InferenceError.from(this.#signal!.reason));
  };
}
