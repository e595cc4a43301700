/** @hotpath what the calls of both kinds have in common: deadline, cancelling, metadata, status. Shared listeners find the call on the stream (measured by grpc-transport.bench.ts) */

import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { InferenceError } from '../../../proto/inference-error.ts';
import { inflateBody } from '../content-encoding.ts';
import type { RpcCall, RpcCancelListener } from '../rpc-call.ts';
import type { MessagePool } from './message-pool.ts';
import { MessageReader, type MessageSink, requestTooLarge } from './message-reader.ts';
import * as refusals from './rpc-refusals.ts';
import { errorTrailers, OK_TRAILERS } from './status-trailers.ts';

/** Messages up to this go out in one write with their prefix, copied; larger ones are not copied. */
const MAX_COPIED_BYTES = 16 * 1024;
/** A timer holds no more; a later deadline is looked at again then. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const RESPONSE_HEADERS: OutgoingHttpHeaders = Object.freeze({ ':status': 200, 'content-type': 'application/grpc' });
const CODED_RESPONSE_HEADERS: Readonly<Record<'gzip' | 'deflate', OutgoingHttpHeaders>> = Object.freeze({
  gzip: Object.freeze({ ...RESPONSE_HEADERS, 'grpc-encoding': 'gzip' }),
  deflate: Object.freeze({ ...RESPONSE_HEADERS, 'grpc-encoding': 'deflate' }),
});
const WITH_TRAILERS = Object.freeze({ waitForTrailers: true, sendDate: false });
const END_STREAM = Object.freeze({ endStream: true, sendDate: false });

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
  holdAnswer(stream: ServerHttp2Stream, bytes: number): void;
  callClosed(call: GrpcCall): void;
  onError(error: unknown): void;
}

interface CallStream extends ServerHttp2Stream {
  nereidCall: GrpcCall;
}

export abstract class GrpcCall implements RpcCall, MessageSink {
  readonly deadlineMs: number;
  isCancelled = false;
  cancelListener: RpcCancelListener | null = null;
  /** The status is decided: what comes after is dropped. */
  isEnded = false;
  /** For the transport's sweep: `progress` at the last one, and how many found it the same. */
  lastProgress = -1;
  stalledSweeps = 0;
  protected readonly stream: ServerHttp2Stream;
  protected readonly host: GrpcCallHost;
  protected readonly reader: MessageReader;
  /** A message is being decompressed. */
  protected isInflating = false;
  /** The protocol wants no messages now. */
  protected isPaused = false;
  /** The last DATA frame has been read. */
  protected hasRequestEnded = false;
  readonly #headers: IncomingHttpHeaders;
  #timer: NodeJS.Timeout | null = null;
  #reservedBytes = 0;
  #answerBytes = 0;
  #isClosed = false;
  #trailers: OutgoingHttpHeaders = OK_TRAILERS;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, host: GrpcCallHost, timeoutMs: number) {
    this.stream = stream;
    this.host = host;
    this.#headers = headers;
    this.reader = new MessageReader(this, host.maxReceiveBytes);
    this.deadlineMs = performance.now() + timeoutMs;
    if (timeoutMs !== Number.POSITIVE_INFINITY) this.#timer = setTimeout(onDeadline, Math.min(Math.ceil(timeoutMs), MAX_TIMER_MS), this);
  }

  metadata(key: string): string {
    const value = this.#headers[key];
    if (value === undefined) return '';
    return typeof value === 'string' ? value : value.join(', ');
  }

  fail(error: InferenceError): void {
    if (!this.isEnded) this.finish(errorTrailers(error));
  }

  /** Ends the call for a reason of the transport's: whoever works for it hears. */
  protected refuse(error: InferenceError): void {
    if (this.isEnded) return;
    const listener = this.cancelListener;
    this.finish(errorTrailers(error));
    this.#cancel(listener);
  }

  /** The transport closes. */
  stop(): void {
    this.refuse(refusals.shuttingDown());
  }

  /** The transport drains. */
  drainRequested(): void {}

  /** To be called once, when the call's fields are all set: bytes may come from here on. */
  listen(): void {
    const { stream } = this;
    (stream as CallStream).nereidCall = this;
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('close', onClose);
    stream.on('wantTrailers', onWantTrailers);
  }

  /**
   * Grows, or shrinks, as long as the client does its part; -1 when nothing is expected of it.
   */
  progress(): number {
    if (this.isEnded) return this.stream.bufferSize;
    return this.awaitsBytes() ? this.reader.receivedBytes : -1;
  }

  /** The client has not done its part for `stallMs`. */
  cutOff(stallMs: number): void {
    if (this.isEnded) this.stream.close(constants.NGHTTP2_CANCEL);
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
    this.host.holdAnswer(this.stream, bytes);
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

  protected sendHeaders(coding: 'gzip' | 'deflate' | null): void {
    this.stream.respond(coding === null ? RESPONSE_HEADERS : CODED_RESPONSE_HEADERS[coding], WITH_TRAILERS);
  }

  /** Puts a message on its way; `isLast`: nothing follows but the trailers. */
  protected writeMessage(message: Uint8Array, isCompressed: boolean, isLast: boolean): void {
    const { stream } = this;
    const { length } = message;
    const isCopied = length <= MAX_COPIED_BYTES;
    const head = Buffer.allocUnsafe(isCopied ? length + 5 : 5);
    head[0] = isCompressed ? 1 : 0;
    head.writeUInt32BE(length, 1);
    if (isCopied) {
      head.set(message, 5);
      if (isLast) stream.end(head);
      else stream.write(head);
      return;
    }
    stream.cork();
    stream.write(head);
    if (isLast) stream.end(message);
    else {
      stream.write(message);
      stream.uncork();
    }
  }

  /** Decides the status. What was written before still goes out. */
  protected finish(trailers: OutgoingHttpHeaders): void {
    const { stream } = this;
    this.settle();
    this.#trailers = trailers;
    if (stream.destroyed || stream.closed) return;
    if (stream.headersSent) {
      stream.end();
    } else {
      stream.respond({ ...RESPONSE_HEADERS, ...trailers }, END_STREAM);
      this.#refuseRest();
    }
    // What comes from here on is read and dropped, so that the stream can close.
    stream.resume();
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

  receive(chunk: Buffer): void {
    if (this.isEnded) return;
    try {
      this.reader.read(chunk);
      if (this.reader.isHeld && !this.isEnded) this.stream.pause();
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  endRequest(): void {
    this.hasRequestEnded = true;
    this.#requestGoesOn();
  }

  close(): void {
    const listener = this.cancelListener;
    const isCutShort = !this.isEnded;
    this.settle();
    this.releaseReserved();
    this.holdAnswer(-this.#answerBytes);
    this.#isClosed = true;
    this.host.callClosed(this);
    if (isCutShort) this.#cancel(listener);
  }

  sendTrailers(): void {
    if (this.stream.destroyed || this.stream.closed) return;
    this.stream.sendTrailers(this.#trailers);
    // Trailers leave in an immediate; the reset of what the client may still be sending must come after them.
    if (!this.hasRequestEnded) setImmediate(refuseRest, this);
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
    if (!this.hasRequestEnded) this.stream.resume();
    else if (this.reader.isBetweenMessages) this.requestEnded();
    else this.refuse(refusals.truncatedMessage());
  }

  refuseRest(): void {
    this.#refuseRest();
  }

  #refuseRest(): void {
    if (!this.hasRequestEnded && !this.stream.destroyed) this.stream.close(constants.NGHTTP2_NO_ERROR);
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

function refuseRest(call: GrpcCall): void {
  call.refuseRest();
}

function onData(this: ServerHttp2Stream, chunk: Buffer): void {
  (this as CallStream).nereidCall.receive(chunk);
}

function onEnd(this: ServerHttp2Stream): void {
  (this as CallStream).nereidCall.endRequest();
}

function onClose(this: ServerHttp2Stream): void {
  (this as CallStream).nereidCall.close();
}

function onWantTrailers(this: ServerHttp2Stream): void {
  (this as CallStream).nereidCall.sendTrailers();
}
