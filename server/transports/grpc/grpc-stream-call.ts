/** @hotpath a call with messages both ways; a send is a write, an object only while a message is being compressed (measured by grpc-transport.bench.ts) */

import { compressBody } from '../content-encoding.ts';
import type { StreamCall, StreamListener, StreamMethod } from '../rpc-call.ts';
import { GrpcCall, type GrpcCallHost } from './grpc-call.ts';
import type { GrpcConnection } from './grpc-connection.ts';
import type { Http2Stream } from './http2/http2-stream.ts';
import * as refusals from './rpc-refusals.ts';

/** Bytes on their way to a client from which on its sender is told to hold back. */
const MAX_UNSENT_BYTES = 256 * 1024;

/** A message behind one that is being compressed, or that one itself. */
interface WaitingMessage {
  bytes: Uint8Array;
  isReady: boolean;
  isCompressed: boolean;
}

export class GrpcStreamCall extends GrpcCall implements StreamCall {
  listener: StreamListener | null = null;
  readonly #method: StreamMethod;
  #isHeldBack = false;
  #coding: 'gzip' | 'deflate' | null = null;
  /** Ended by its own side while messages wait to be compressed: the status follows them. */
  #isEnding = false;
  readonly #waiting: WaitingMessage[] = [];
  #waitingBytes = 0;
  /** Of what is on its way, those that count among the answers that clients do not take. */
  #countedBytes = 0;

  constructor(method: StreamMethod, stream: Http2Stream, connection: GrpcConnection, host: GrpcCallHost, timeoutMs: number) {
    super(stream, connection, host, timeoutMs);
    this.#method = method;
  }

  open(): void {
    try {
      this.#method.open(this);
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  send(message: Uint8Array, compress?: boolean): boolean {
    if (this.isEnded || this.#isEnding || this.stream.isClosed) return false;
    const { length } = message;
    if (length > this.host.maxSendBytes) {
      this.refuse(refusals.responseTooLarge(length, this.host.maxSendBytes));
      return false;
    }
    if (!this.stream.hasHeadersSent) {
      this.#coding = this.responseCoding();
      this.stream.sendHeaders(this.responseHead(this.#coding));
    }
    if (compress === true && this.#coding !== null) this.#sendCompressed(message, this.#coding);
    else if (this.#waiting.length > 0) this.#wait({ bytes: message, isReady: true, isCompressed: false });
    else this.stream.sendMessage(0, message);
    const unsentBytes = this.stream.pendingBytes + this.#waitingBytes;
    this.#isHeldBack = unsentBytes >= MAX_UNSENT_BYTES;
    if (!this.#isHeldBack) return true;
    this.#count(unsentBytes);
    return false;
  }

  pause(): void {
    this.isPaused = true;
    this.reader.isHeld = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (!this.isEnded) this.goOn();
  }

  end(): void {
    if (this.isEnded || this.#isEnding) return;
    if (this.#waiting.length > 0) this.#isEnding = true;
    else this.finish(null);
  }

  override onDrain(): void {
    if (!this.#isHeldBack || this.isEnded || this.stream.pendingBytes + this.#waitingBytes >= MAX_UNSENT_BYTES) return;
    this.#isHeldBack = false;
    this.#count(0);
    try {
      this.listener?.onDrain();
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  override drainRequested(): void {
    try {
      this.listener?.onDrainRequested?.();
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  protected override deliver(message: Buffer): void {
    this.releaseReserved();
    try {
      this.listener?.onMessage(message);
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  protected override requestEnded(): void {
    try {
      this.listener?.onHalfClose();
    } catch (error) {
      this.handlerFailed(error);
    }
  }

  protected override awaitsBytes(): boolean {
    return !this.hasRequestEnded && !this.isInflating && !this.isPaused && !this.reader.isBetweenMessages;
  }

  #sendCompressed(message: Uint8Array, coding: 'gzip' | 'deflate'): void {
    const entry: WaitingMessage = { bytes: message, isReady: false, isCompressed: true };
    this.#wait(entry);
    compressBody(Buffer.from(message.buffer, message.byteOffset, message.byteLength), coding, (error, compressed) => {
      if (this.isEnded) return;
      if (error !== null) {
        this.handlerFailed(error);
        return;
      }
      this.#waitingBytes += compressed.length - entry.bytes.length;
      entry.bytes = compressed;
      entry.isReady = true;
      this.#sendWaiting();
    });
  }

  #count(unsentBytes: number): void {
    const before = this.#countedBytes;
    this.#countedBytes = unsentBytes;
    this.holdAnswer(unsentBytes - before);
  }

  #wait(entry: WaitingMessage): void {
    this.#waiting.push(entry);
    this.#waitingBytes += entry.bytes.length;
  }

  #sendWaiting(): void {
    if (this.stream.isClosed) return;
    let sent = 0;
    for (const { bytes, isReady, isCompressed } of this.#waiting) {
      if (!isReady) break;
      sent += 1;
      this.#waitingBytes -= bytes.length;
      this.stream.sendMessage(isCompressed ? 1 : 0, bytes);
    }
    this.#waiting.splice(0, sent);
    if (this.#waiting.length > 0) return;
    if (this.#isEnding) this.finish(null);
    // Where nothing waits in the stream, no 'drain' will come.
    else if (!this.stream.wantsDrain) this.onDrain();
  }
}
