/** @hotpath what the calls of both kinds have in common: deadline, cancelling, metadata, status (measured by grpc-transport.bench.ts) */

import { CANCEL } from '../../../proto/http2-frames.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { inflateBody } from '../content-encoding.ts';
import type { MessagePool } from '../message-pool.ts';
import type { RpcCall, RpcCancelListener } from '../rpc-call.ts';
import type { GrpcConnection } from './grpc-connection.ts';
import type { Http2Stream, StreamHandler } from './http2/http2-stream.ts';
import { MessageReader, type MessageSink, requestTooLarge } from './message-reader.ts';
import * as refusals from './rpc-refusals.ts';
import { CODED_RESPONSE_HEADS, endBlock, RESPONSE_HEAD } from './status-trailers.ts';

/** A timer holds no more; a later deadline is looked at again then. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The transport, as its calls see it. */
export interface GrpcCallHost {
  readonly pool: MessagePool;
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  readonly compression: 'none' | 'deflate' | 'gzip';
  /** Room for bytes of request messages; false: there is none. */
  reserve(bytes: number): boolean;
  release(bytes: number): void;
  /** Counts bytes of answers that the client has not taken; negative: they are gone. */
  holdAnswer(connection: GrpcConnection, bytes: number): void;
  callClosed(call: GrpcCall): void;
  onError(error: unknown): void;
}

export abstract class GrpcCall implements RpcCall, MessageSink, StreamHandler {
  readonly deadlineMs: number;
  isCancelled = false;
  cancelListener: RpcCancelListener | null = null;
  /** The status is decided: what comes after is dropped. */
  isEnded = false;
  /** For the transport's sweep: `progress` at the last one, and how many found it the same. */
  lastProgress = -1;
  stalledSweeps = 0;
  protected readonly stream: Http2Stream;
  protected readonly host: GrpcCallHost;
  protected readonly reader: MessageReader;
  /** A message is being decompressed. */
  protected isInflating = false;
  /** The protocol wants no messages now. */
  protected isPaused = false;
  /** The last DATA frame has been read. */
  protected hasRequestEnded = false;
  readonly #connection: GrpcConnection;
  #timer: NodeJS.Timeout | null = null;
  #reservedBytes = 0;
  #answerBytes = 0;
  #isClosed = false;

  constructor(stream: Http2Stream, connection: GrpcConnection, host: GrpcCallHost, timeoutMs: number) {
    this.stream = stream;
    this.host = host;
    this.#connection = connection;
    this.reader = new MessageReader(this, host.maxReceiveBytes);
    this.deadlineMs = timeoutMs;
    if (timeoutMs === Number.POSITIVE_INFINITY) return;
    this.deadlineMs = performance.now() + timeoutMs;
    this.#timer = setTimeout(onDeadline, Math.min(Math.ceil(timeoutMs), MAX_TIMER_MS), this);
  }

  metadata(key: string): string {
    return this.stream.headers.get(key);
  }

  fail(error: InferenceError): void {
    if (!this.isEnded) this.finish(error);
  }

  /** Ends the call for a reason of the transport's: whoever works for it hears. */
  protected refuse(error: InferenceError): void {
    if (this.isEnded) return;
    const listener = this.cancelListener;
    this.finish(error);
    this.#cancel(listener);
  }

  /** The transport closes. */
  stop(): void {
    this.refuse(refusals.shuttingDown());
  }

  /** The transport drains. */
  drainRequested(): void {}

  /**
   * Grows, or shrinks, as long as the client does its part; -1 when nothing is expected of it.
   */
  progress(): number {
    if (this.isEnded) return this.stream.pendingBytes;
    return this.awaitsBytes() ? this.reader.receivedBytes : -1;
  }

  /** The client has not done its part for `stallMs`. */
  cutOff(stallMs: number): void {
    if (this.isEnded) this.stream.reset(CANCEL);
    else this.refuse(refusals.requestStalled(stallMs));
  }

  reserve(bytes: number): boolean {
    if (!this.host.reserve(bytes)) {
      this.refuse(refusals.noRoom());
      return false;
    }
    this.#reservedBytes += bytes;
    return true;
  }

  holdAnswer(bytes: number): void {
    if (this.#isClosed || bytes === 0) return;
    this.#answerBytes += bytes;
    this.host.holdAnswer(this.#connection, bytes);
  }

  /** Memory for a message put together from frames. */
  assemble(parts: readonly Buffer[], bytes: number): Buffer {
    return Buffer.concat(parts, bytes);
  }

  reserveInflated(bytes: number): boolean {
    return !this.isEnded && this.reserve(bytes);
  }

  onBadFraming(error: InferenceError): void {
    this.refuse(error);
  }

  onMessage(message: Buffer, isCompressed: boolean): void {
    if (this.isEnded) return;
    if (!isCompressed) this.deliver(message);
    else if (this.requestEncoding() === '') this.refuse(refusals.compressedWithoutEncoding());
    else this.#inflate(message);
  }

  protected abstract deliver(message: Buffer): void;
  /** All of the request has been delivered. */
  protected abstract requestEnded(): void;
  /** Bytes of the request are missing that the client owes now. */
  protected abstract awaitsBytes(): boolean;

  protected releaseReserved(): void {
    this.host.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** What a handler threw. */
  protected handlerFailed(error: unknown): void {
    this.host.onError(error);
    this.refuse(InferenceError.from(error instanceof InferenceError ? new Error(error.message) : error));
  }

  /** 'gzip', 'deflate', or '' for none. */
  protected requestEncoding(): string {
    const encoding = this.metadata('grpc-encoding');
    return encoding === 'identity' ? '' : encoding;
  }

  /** The coding that a compressed response goes out in; null: the client or the server does without. */
  protected responseCoding(): 'gzip' | 'deflate' | null {
    const { compression } = this.host;
    if (compression === 'none') return null;
    for (const accepted of this.metadata('grpc-accept-encoding').split(',', 16)) if (accepted.trim() === compression) return compression;
    return null;
  }

  protected responseHead(coding: 'gzip' | 'deflate' | null): Buffer {
    return coding === null ? RESPONSE_HEAD : CODED_RESPONSE_HEADS[coding];
  }

  /** Decides the status; null: OK. What was sent before still goes out. */
  protected finish(error: InferenceError | null): void {
    const { stream } = this;
    this.settle();
    if (!stream.isClosed) stream.sendEnd(endBlock(error, !stream.hasHeadersSent));
  }

  /** From here on the answer is the stream's business. */
  protected settle(): void {
    this.isEnded = true;
    this.cancelListener = null;
    this.reader.stop();
    this.#clearTimer();
  }

  expire(): void {
    this.#timer = null;
    if (this.isEnded) return;
    const leftMs = this.deadlineMs - performance.now();
    if (leftMs > 1) {
      this.#timer = setTimeout(onDeadline, Math.min(Math.ceil(leftMs), MAX_TIMER_MS), this);
      return;
    }
    this.refuse(refusals.deadlinePassed());
  }

  onData(chunk: Buffer, from: number, to: number): void {
    try {
      // Once the call has ended they are dropped, and the client may go on, so that it comes to read its answer.
      if (!this.isEnded) this.reader.read(chunk, from, to);
      if (!this.reader.isHeld || this.isEnded) this.stream.returnWindow();
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  onRequestEnd(): void {
    this.hasRequestEnded = true;
    this.#requestGoesOn();
  }

  onDrain(): void {}

  onClose(): void {
    const listener = this.cancelListener;
    const isCutShort = !this.isEnded;
    this.settle();
    this.releaseReserved();
    this.holdAnswer(-this.#answerBytes);
    this.#isClosed = true;
    this.#connection.streamClosed();
    this.host.callClosed(this);
    if (isCutShort) this.#cancel(listener);
  }

  /** Nothing is in the way of further messages, or one thing less. */
  protected goOn(): void {
    if (this.isInflating || this.isPaused) return;
    this.reader.release();
    this.#requestGoesOn();
  }

  /** Reads on, or ends. */
  #requestGoesOn(): void {
    if (this.isEnded || this.isInflating || this.isPaused) return;
    if (!this.hasRequestEnded) this.stream.returnWindow();
    else if (this.reader.isBetweenMessages) this.requestEnded();
    else this.refuse(refusals.truncatedMessage());
  }

  #inflate(message: Buffer): void {
    this.isInflating = true;
    this.reader.isHeld = true;
    inflateBody(message, this.host.maxReceiveBytes, this, (result) => {
      this.isInflating = false;
      if (this.isEnded) return;
      try {
        if (result.outcome === 'done') {
          this.deliver(result.body);
          if (this.isEnded) return;
          this.goOn();
        } else if (result.outcome === 'too-large') this.refuse(requestTooLarge(-1, this.host.maxReceiveBytes));
        else this.refuse(refusals.corruptMessage(this.requestEncoding()));
      } catch (error) {
        this.handlerFailed(error);
      }
    });
  }

  #cancel(listener: RpcCancelListener | null): void {
    this.isCancelled = true;
    if (listener === null) return;
    try {
      listener.onRpcCancelled();
    } catch (error) {
      this.host.onError(error);
    }
  }

  #clearTimer(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function onDeadline(call: GrpcCall): void {
  call.expire();
}
