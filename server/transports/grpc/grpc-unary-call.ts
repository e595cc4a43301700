/** @hotpath a unary call, from its one message to its one answer (measured by grpc-transport.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import { compressBody } from '../content-encoding.ts';
import { MIN_POOLED_BYTES } from '../message-pool.ts';
import type { UnaryCall, UnaryMethod } from '../rpc-call.ts';
import { GrpcCall, type GrpcCallHost } from './grpc-call.ts';
import type { GrpcConnection } from './grpc-connection.ts';
import type { Http2Stream } from './http2/http2-stream.ts';
import * as refusals from './rpc-refusals.ts';
import { OK_TRAILERS } from './status-trailers.ts';

const NO_MESSAGE: Uint8Array = new Uint8Array(0);

export class GrpcUnaryCall extends GrpcCall implements UnaryCall {
  message: Uint8Array = NO_MESSAGE;
  readonly #method: UnaryMethod;
  /** A message was handed to the stream. */
  isAnswered = false;
  #hasMessage = false;
  #isAnswering = false;
  /** Of the pool: the request's memory, and the answer's. */
  #requestMemory: Buffer | null = null;
  #answerMemory: Buffer | null = null;

  constructor(method: UnaryMethod, stream: Http2Stream, connection: GrpcConnection, host: GrpcCallHost, timeoutMs: number) {
    super(stream, connection, host, timeoutMs);
    this.#method = method;
  }

  allocate(bytes: number): Buffer {
    if (bytes < MIN_POOLED_BYTES) return Buffer.allocUnsafe(bytes);
    this.#answerMemory = this.host.pool.take(bytes);
    return this.#answerMemory;
  }

  override assemble(parts: readonly Buffer[], bytes: number): Buffer {
    if (bytes < MIN_POOLED_BYTES || this.#requestMemory !== null) return super.assemble(parts, bytes);
    const memory = this.host.pool.take(bytes);
    this.#requestMemory = memory;
    let at = 0;
    for (const part of parts) at += part.copy(memory, at);
    return memory.subarray(0, bytes);
  }

  override onClose(): void {
    // Only here is it sure that nobody looks at them any more: the request was answered, the answer has left.
    const isInOrder = this.isAnswered && this.stream.isInOrder;
    const { pool } = this.host;
    if (isInOrder && this.#requestMemory !== null) pool.give(this.#requestMemory);
    if (isInOrder && this.#answerMemory !== null) pool.give(this.#answerMemory);
    this.#requestMemory = null;
    this.#answerMemory = null;
    super.onClose();
  }

  respond(message: Uint8Array, compress?: boolean): void {
    if (this.isEnded || this.#isAnswering) return;
    if (message.length > this.host.maxSendBytes) {
      this.refuse(refusals.responseTooLarge(message.length, this.host.maxSendBytes));
      return;
    }
    this.holdAnswer(message.length);
    const coding = compress === true ? this.responseCoding() : null;
    if (coding === null) this.#answer(message, null);
    else this.#answerCompressed(message, coding);
  }

  protected override deliver(message: Buffer): void {
    if (this.#hasMessage) {
      this.refuse(refusals.secondMessage());
      return;
    }
    this.#hasMessage = true;
    this.message = message;
  }

  protected override requestEnded(): void {
    if (!this.#hasMessage) {
      this.refuse(refusals.noMessage());
      return;
    }
    try {
      this.#method.handle(this);
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  protected override awaitsBytes(): boolean {
    return !this.hasRequestEnded && !this.isInflating;
  }

  #answer(message: Uint8Array, coding: 'gzip' | 'deflate' | null): void {
    this.settle();
    this.isAnswered = true;
    this.stream.sendAnswer(this.responseHead(coding), coding === null ? 0 : 1, message, OK_TRAILERS);
  }

  #answerCompressed(message: Uint8Array, coding: 'gzip' | 'deflate'): void {
    this.#isAnswering = true;
    compressBody(Buffer.from(message.buffer, message.byteOffset, message.byteLength), coding, (error, compressed) => {
      if (this.isEnded) return;
      if (error !== null) {
        this.host.onError(error);
        this.refuse(InferenceError.from(error));
      } else this.#answer(compressed, coding);
    });
  }
}
