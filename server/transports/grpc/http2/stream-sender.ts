/** @hotpath answers on their way into a connection's output, as its windows let them (RFC 9113, section 5.2) (measured by grpc-transport.bench.ts) */

import {
  DATA,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  END_HEADERS,
  END_STREAM,
  FRAME_HEAD_BYTES,
  HEADERS,
  MAX_WINDOW_BYTES,
  putFrameHead,
  putUint32,
} from '../../../../proto/http2-frames.ts';
import { BLOCK_BYTES, type ConnectionOutput } from './connection-output.ts';
import type { Http2Stream } from './http2-stream.ts';

const PREFIX_BYTES = 5;
/** Of a block, the rest is not worth a frame of its own. */
const MIN_ROOM_BYTES = 1024;
/** Whoever was told to hold back is asked for more from here on. */
const FEW_PENDING_BYTES = 64 * 1024;
/** HPACK: from here on the table has no room. Said once to a client that wants a smaller one than there is by default (RFC 7541, section 4.2); this side uses none. */
const NO_TABLE = 0x20;

export interface SentListener {
  /** The last of a stream's frames is out. */
  onStreamSent(stream: Http2Stream): void;
}

export class StreamSender {
  /** The client's. */
  initialWindow: number = DEFAULT_WINDOW_BYTES;
  maxFrameBytes: number = DEFAULT_FRAME_BYTES;
  /** The next header block says so. */
  mustEmptyTable = false;
  readonly #output: ConnectionOutput;
  readonly #listener: SentListener;
  #window: number = DEFAULT_WINDOW_BYTES;
  /** Those that have something to send and a window for it, in the order of their turns. */
  readonly #ready = new Set<Http2Stream>();

  constructor(output: ConnectionOutput, listener: SentListener) {
    this.#output = output;
    this.#listener = listener;
  }

  sendHeaders(stream: Http2Stream, block: Buffer): void {
    stream.hasHeadersSent = true;
    this.#writeBlock(stream, block, END_HEADERS);
  }

  sendMessage(stream: Http2Stream, flag: number, bytes: Uint8Array): void {
    stream.pendingBytes += PREFIX_BYTES + bytes.length;
    if (stream.message === null) {
      stream.message = bytes;
      stream.messageFlag = flag;
    } else {
      stream.queue ??= [];
      stream.queue.push({ flag, bytes });
    }
    this.#writeAll(stream);
    stream.wantsDrain = stream.pendingBytes > 0;
  }

  sendEnd(stream: Http2Stream, block: Buffer): void {
    stream.end = block;
    this.#writeAll(stream);
  }

  /** As a rule all of it leaves at once: three frames, written in one go. */
  sendAnswer(stream: Http2Stream, head: Buffer, flag: number, bytes: Uint8Array, end: Buffer): void {
    const output = this.#output;
    const length = PREFIX_BYTES + bytes.length;
    const total = 3 * FRAME_HEAD_BYTES + head.length + length + end.length;
    if (
      length > stream.sendWindow ||
      length > this.#window ||
      length > this.maxFrameBytes ||
      total > BLOCK_BYTES ||
      this.mustEmptyTable ||
      output.isFull
    ) {
      this.sendHeaders(stream, head);
      stream.end = end;
      this.sendMessage(stream, flag, bytes);
      return;
    }
    output.reserve(total);
    const { buffer } = output;
    const { id } = stream;
    let at = output.at;
    putFrameHead(buffer, at, head.length, HEADERS, END_HEADERS, id);
    at += FRAME_HEAD_BYTES;
    buffer.set(head, at);
    at += head.length;
    putFrameHead(buffer, at, length, DATA, 0, id);
    at += FRAME_HEAD_BYTES;
    buffer[at] = flag;
    putUint32(buffer, at + 1, bytes.length);
    buffer.set(bytes, at + PREFIX_BYTES);
    at += length;
    putFrameHead(buffer, at, end.length, HEADERS, END_HEADERS | END_STREAM, id);
    at += FRAME_HEAD_BYTES;
    buffer.set(end, at);
    output.at = at + end.length;
    this.#window -= length;
    stream.hasHeadersSent = true;
    this.#listener.onStreamSent(stream);
  }

  /** False: more than a window can be. */
  widen(bytes: number): boolean {
    this.#window += bytes;
    if (this.#window > MAX_WINDOW_BYTES) return false;
    this.writeReady();
    return true;
  }

  /** False: more than a window can be. */
  widenStream(stream: Http2Stream, bytes: number): boolean {
    if (stream.sendWindow + bytes > MAX_WINDOW_BYTES) return false;
    stream.sendWindow += bytes;
    if (stream.message !== null && stream.sendWindow > 0) {
      this.#ready.add(stream);
      if (this.#window > 0) this.writeReady();
    }
    return true;
  }

  /** The client's SETTINGS moved the windows of all streams. False: one is more than a window can be. */
  moveWindows(streams: Iterable<Http2Stream>, bytes: number): boolean {
    for (const stream of streams) {
      if (stream.sendWindow + bytes > MAX_WINDOW_BYTES) return false;
      stream.sendWindow += bytes;
      if (stream.message !== null && stream.sendWindow > 0) this.#ready.add(stream);
    }
    this.writeReady();
    return true;
  }

  /** A frame of each stream in turn, until nothing is left or nothing more goes. */
  writeReady(): void {
    for (const stream of this.#ready) {
      if (this.#output.isFull) return;
      if (this.#window <= 0 && stream.message !== null) continue;
      this.#ready.delete(stream);
      // SETTINGS may have taken its window back.
      if (!this.#hasMore(stream)) continue;
      this.#writeFrame(stream);
      if (this.#hasMore(stream)) this.#ready.add(stream);
      if (stream.wantsDrain && stream.pendingBytes <= FEW_PENDING_BYTES) {
        stream.wantsDrain = false;
        stream.handler?.onDrain();
      }
    }
  }

  /** What waits is not to be sent any more. */
  drop(stream: Http2Stream): void {
    this.#ready.delete(stream);
    stream.message = null;
    stream.queue = null;
    stream.end = null;
    stream.pendingBytes = 0;
    stream.wantsDrain = false;
  }

  #writeAll(stream: Http2Stream): void {
    if (this.#ready.has(stream)) return;
    while (this.#hasMore(stream)) {
      if (this.#output.isFull || (this.#window <= 0 && stream.message !== null)) {
        this.#ready.add(stream);
        return;
      }
      this.#writeFrame(stream);
    }
  }

  /** There is something that its own window lets out. */
  #hasMore(stream: Http2Stream): boolean {
    if (stream.isClosed) return false;
    return stream.message === null ? stream.end !== null : stream.sendWindow > 0;
  }

  #writeFrame(stream: Http2Stream): void {
    const { message, end } = stream;
    if (message !== null) {
      this.#writeData(stream, message);
    } else if (end !== null) {
      this.#writeBlock(stream, end, END_HEADERS | END_STREAM);
      this.#listener.onStreamSent(stream);
    }
  }

  /** As much of a message as windows, frame and block have room for. */
  #writeData(stream: Http2Stream, message: Uint8Array): void {
    const output = this.#output;
    const from = stream.messageAt;
    const total = PREFIX_BYTES + message.length;
    const most = Math.min(total - from, stream.sendWindow, this.#window, this.maxFrameBytes, BLOCK_BYTES - FRAME_HEAD_BYTES);
    output.reserve(Math.min(most + FRAME_HEAD_BYTES, MIN_ROOM_BYTES));
    const { buffer, at } = output;
    const count = Math.min(most, output.room - FRAME_HEAD_BYTES);
    putFrameHead(buffer, at, count, DATA, 0, stream.id);
    const start = at + FRAME_HEAD_BYTES;
    const to = from + count;
    for (let i = from; i < PREFIX_BYTES && i < to; i++) {
      buffer[start + i - from] = i === 0 ? stream.messageFlag : message.length >>> (8 * (PREFIX_BYTES - 1 - i));
    }
    if (to > PREFIX_BYTES) {
      const skipped = Math.max(from, PREFIX_BYTES);
      buffer.set(message.subarray(skipped - PREFIX_BYTES, to - PREFIX_BYTES), start + skipped - from);
    }
    output.at = start + count;
    stream.sendWindow -= count;
    this.#window -= count;
    stream.pendingBytes -= count;
    stream.messageAt = to;
    if (to === total) nextMessage(stream);
  }

  #writeBlock(stream: Http2Stream, block: Buffer, flags: number): void {
    const output = this.#output;
    const update = this.mustEmptyTable ? 1 : 0;
    this.mustEmptyTable = false;
    output.reserve(FRAME_HEAD_BYTES + update + block.length);
    const { buffer, at } = output;
    putFrameHead(buffer, at, update + block.length, HEADERS, flags, stream.id);
    if (update > 0) buffer[at + FRAME_HEAD_BYTES] = NO_TABLE;
    buffer.set(block, at + FRAME_HEAD_BYTES + update);
    output.at = at + FRAME_HEAD_BYTES + update + block.length;
  }
}

function nextMessage(stream: Http2Stream): void {
  const next = stream.queue?.shift();
  stream.message = next === undefined ? null : next.bytes;
  stream.messageFlag = next === undefined ? 0 : next.flag;
  stream.messageAt = 0;
}
