/** @hotpath the streams of an HTTP/2 connection: which are open, and what a client may send on each. Source: RFC 9113, sections 5 and 8.1 (measured by grpc-transport.bench.ts) */

import * as h2 from '../../../../proto/http2-frames.ts';
import { AbuseBudget } from './abuse-budget.ts';
import type { BlockHandler } from './block-assembly.ts';
import { ClosedStreams } from './closed-streams.ts';
import type { ConnectionOutput } from './connection-output.ts';
import type { FrameWriter } from './frame-writer.ts';
import { HeaderBlocks } from './header-blocks.ts';
import { Http2Fault } from './http2-fault.ts';
import { Http2Stream, type StreamCarrier } from './http2-stream.ts';
import type { HeaderBounds, RequestHeaders } from './request-headers.ts';
import { type SentListener, StreamSender } from './stream-sender.ts';

/** Of {@link AbuseBudget}: a call over the limit that SETTINGS told. */
const REFUSED_CALL_COST = 20;

export interface Http2Limits extends HeaderBounds {
  /** What a stream may send without being read, bytes. */
  readonly streamWindowBytes: number;
  /** What all streams may have on their way, bytes: HTTP/2's own 65,535, or more. */
  readonly connectionWindowBytes: number;
  readonly maxStreams: number;
}

export interface StreamsListener {
  /** A request begins. */
  onRequest(stream: Http2Stream): void;
  /** The last open stream has closed. */
  onIdle(): void;
}

export class Http2Streams implements StreamCarrier, SentListener, BlockHandler {
  /** The last that the client opened. */
  lastId = 0;
  /** No further ones are taken. */
  isGoing = false;
  readonly sender: StreamSender;
  readonly #limits: Http2Limits;
  readonly #writer: FrameWriter;
  readonly #listener: StreamsListener;
  readonly #blocks: HeaderBlocks;
  readonly #budget = new AbuseBudget();
  readonly #closed = new ClosedStreams();
  readonly #open = new Map<number, Http2Stream>();
  /** Taken from the window of the connection and not given back: half of it at most, so it is never overrun. */
  #unreturnedBytes = 0;
  /** Of the DATA frame at hand; null: its bytes are dropped. */
  #dataStream: Http2Stream | null = null;

  constructor(limits: Http2Limits, output: ConnectionOutput, writer: FrameWriter, listener: StreamsListener) {
    this.#limits = limits;
    this.#writer = writer;
    this.#listener = listener;
    this.sender = new StreamSender(output, this);
    this.#blocks = new HeaderBlocks(limits);
  }

  get size(): number {
    return this.#open.size;
  }

  sendHeaders(stream: Http2Stream, block: Buffer): void {
    if (!stream.isClosed) this.sender.sendHeaders(stream, block);
  }

  sendMessage(stream: Http2Stream, flag: number, bytes: Uint8Array): void {
    if (!stream.isClosed) this.sender.sendMessage(stream, flag, bytes);
  }

  sendEnd(stream: Http2Stream, block: Buffer): void {
    if (!stream.isClosed) this.sender.sendEnd(stream, block);
  }

  sendAnswer(stream: Http2Stream, head: Buffer, flag: number, bytes: Uint8Array, end: Buffer): void {
    if (!stream.isClosed) this.sender.sendAnswer(stream, head, flag, bytes, end);
  }

  reset(stream: Http2Stream, code: number): void {
    if (stream.isClosed) return;
    this.#writer.reset(stream.id, code);
    if (!stream.hasRequestEnded) this.#closed.reset(stream.id);
    this.#close(stream);
  }

  returnWindow(stream: Http2Stream): void {
    // Half a window at a time: what a client waits for comes before it has to wait.
    if (stream.unreturnedBytes < this.#limits.streamWindowBytes / 2 || stream.isClosed || stream.hasRequestEnded) return;
    this.#writer.windowUpdate(stream.id, stream.unreturnedBytes);
    stream.receiveWindow += stream.unreturnedBytes;
    stream.unreturnedBytes = 0;
  }

  onStreamSent(stream: Http2Stream): void {
    stream.isInOrder = true;
    this.#budget.earn();
    // The answer is complete: what the client may still be sending is for nobody (RFC 9113, section 8.1).
    if (!stream.hasRequestEnded) {
      this.#writer.reset(stream.id, h2.NO_ERROR);
      this.#closed.reset(stream.id);
    }
    this.#close(stream);
  }

  onDataFrame(streamId: number, flags: number, length: number): void {
    // Read or not, what a call keeps waits in the call's own window: the others go on.
    this.#unreturnedBytes += length;
    if (this.#unreturnedBytes >= this.#limits.connectionWindowBytes / 2) {
      this.#writer.windowUpdate(0, this.#unreturnedBytes);
      this.#unreturnedBytes = 0;
    }
    if (length === 0 && (flags & h2.END_STREAM) === 0) this.spend(1, 'empty DATA frames');
    const stream = this.#open.get(streamId);
    this.#dataStream = stream ?? null;
    if (stream === undefined) {
      this.#expectOpened(streamId, 'DATA');
      if (!this.#closed.wasReset(streamId)) this.#refuseClosed(streamId);
    } else if (stream.hasRequestEnded) {
      this.#dataStream = null;
      this.#misstep(stream, h2.STREAM_CLOSED);
    } else if (length > stream.receiveWindow) {
      this.#dataStream = null;
      this.#misstep(stream, h2.FLOW_CONTROL_ERROR);
    } else {
      stream.receiveWindow -= length;
      stream.unreturnedBytes += length;
    }
  }

  onDataBytes(bytes: Buffer, from: number, to: number): void {
    const stream = this.#dataStream;
    if (stream === null || stream.isClosed) return;
    if (stream.promisedBytes >= 0) {
      stream.promisedBytes -= to - from;
      if (stream.promisedBytes < 0) {
        this.#misstep(stream, h2.PROTOCOL_ERROR);
        return;
      }
    }
    stream.handler?.onData(bytes, from, to);
  }

  onDataEnd(flags: number): void {
    const stream = this.#dataStream;
    if (stream === null || (flags & h2.END_STREAM) === 0 || stream.isClosed) return;
    this.#endRequest(stream);
  }

  onBlock(streamId: number, flags: number, bytes: Buffer, from: number, to: number): void {
    const isEnd = (flags & h2.END_STREAM) !== 0;
    if (streamId > this.lastId) {
      this.#begin(streamId, this.#blocks.decode(bytes, from, to), isEnd);
      return;
    }
    // Wanted or not, it must be decoded: it may change the table.
    const areTrailers = this.#blocks.checkTrailers(bytes, from, to);
    const stream = this.#open.get(streamId);
    if (stream === undefined) {
      if (this.#closed.wasReset(streamId)) return;
      const isSkipped = this.#closed.wasSkipped(streamId) || streamId % 2 === 0;
      throw new Http2Fault(isSkipped ? h2.PROTOCOL_ERROR : h2.STREAM_CLOSED, `HEADERS for stream ${streamId}, which is closed`);
    }
    if (stream.hasRequestEnded) this.#misstep(stream, h2.STREAM_CLOSED);
    else if (isEnd && areTrailers) this.#endRequest(stream);
    else this.#misstep(stream, h2.PROTOCOL_ERROR);
  }

  /** RST_STREAM. Throws Http2Fault. */
  onReset(streamId: number): void {
    this.#expectOpened(streamId, 'RST_STREAM');
    this.spend(1, 'resets');
    const stream = this.#open.get(streamId);
    if (stream !== undefined) this.#close(stream);
  }

  /** The client's SETTINGS have moved the windows of all streams. Throws Http2Fault. */
  moveWindows(bytes: number): void {
    if (bytes !== 0 && !this.sender.moveWindows(this.#open.values(), bytes)) throw windowTooLarge();
  }

  /** WINDOW_UPDATE. Throws Http2Fault. */
  onWindowUpdate(streamId: number, bytes: number): void {
    if (streamId === 0) {
      if (bytes === 0) throw new Http2Fault(h2.PROTOCOL_ERROR, 'a WINDOW_UPDATE of 0 bytes');
      if (!this.sender.widen(bytes)) throw windowTooLarge();
      return;
    }
    const stream = this.#open.get(streamId);
    if (stream === undefined) this.#expectOpened(streamId, 'WINDOW_UPDATE');
    else if (bytes === 0) this.#misstep(stream, h2.PROTOCOL_ERROR);
    else if (!this.sender.widenStream(stream, bytes)) this.#misstep(stream, h2.FLOW_CONTROL_ERROR);
  }

  /** Takes `count` off what the client may still do amiss. Throws Http2Fault when nothing is left. */
  spend(count: number, what: string): void {
    if (!this.#budget.spend(count)) throw new Http2Fault(h2.ENHANCE_YOUR_CALM, `too many ${what}`);
  }

  /** The connection is over. */
  closeAll(): void {
    for (const stream of this.#open.values()) this.#end(stream);
    this.#open.clear();
  }

  #begin(streamId: number, headers: RequestHeaders, isEnd: boolean): void {
    if (streamId % 2 === 0) throw new Http2Fault(h2.PROTOCOL_ERROR, `a request on stream ${streamId}: a client's numbers are odd`);
    if (streamId > this.lastId + 2) this.#closed.skipped(this.lastId + 1, streamId);
    this.lastId = streamId;
    if (headers.isMalformed) this.#refuse(streamId, h2.PROTOCOL_ERROR, 1);
    else if (headers.isTooLarge) this.#refuse(streamId, h2.ENHANCE_YOUR_CALM, 1);
    else if (this.isGoing) this.#refuse(streamId, h2.REFUSED_STREAM, 1);
    else if (this.#open.size >= this.#limits.maxStreams) this.#refuse(streamId, h2.REFUSED_STREAM, REFUSED_CALL_COST);
    else {
      const stream = new Http2Stream(streamId, headers, isEnd, this.sender.initialWindow, this.#limits.streamWindowBytes, this);
      this.#open.set(streamId, stream);
      this.#listener.onRequest(stream);
      if (!isEnd || stream.isClosed) return;
      if (stream.promisedBytes > 0) this.#misstep(stream, h2.PROTOCOL_ERROR);
      else stream.handler?.onRequestEnd();
    }
  }

  #refuse(streamId: number, code: number, cost: number): void {
    this.#writer.reset(streamId, code);
    this.#closed.reset(streamId);
    this.spend(cost, 'requests that cannot be taken');
  }

  /** Ends a stream for what the client did wrong on it. To be reset by the server's hand is as cheap for a client as by its own (CVE-2025-8671). */
  #misstep(stream: Http2Stream, code: number): void {
    this.reset(stream, code);
    this.spend(1, 'frames that break the rules of their streams');
  }

  #refuseClosed(streamId: number): void {
    this.#refuse(streamId, h2.STREAM_CLOSED, 1);
  }

  #endRequest(stream: Http2Stream): void {
    if (stream.promisedBytes > 0) {
      this.#misstep(stream, h2.PROTOCOL_ERROR);
      return;
    }
    stream.hasRequestEnded = true;
    stream.handler?.onRequestEnd();
  }

  /** Of a stream that is not open: it was. */
  #expectOpened(streamId: number, frame: string): void {
    if (streamId > this.lastId || streamId % 2 === 0) {
      throw new Http2Fault(h2.PROTOCOL_ERROR, `${frame} for stream ${streamId}, which was never opened`);
    }
  }

  #close(stream: Http2Stream): void {
    this.#open.delete(stream.id);
    this.#end(stream);
    if (this.#open.size === 0) this.#listener.onIdle();
  }

  #end(stream: Http2Stream): void {
    stream.isClosed = true;
    this.sender.drop(stream);
    stream.handler?.onClose();
  }
}

function windowTooLarge(): Http2Fault {
  return new Http2Fault(h2.FLOW_CONTROL_ERROR, 'a window of more than 2 GiB');
}
