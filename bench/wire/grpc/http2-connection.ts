/** A client's side of an HTTP/2 connection, as much of it as gRPC needs: windows, settings, frames in and out. Source: RFC 9113. */

import * as h2 from '../../../proto/http2-frames.ts';
import type { LaneSink } from '../../load/lane.ts';
import type { LoadSocket, SocketHandler } from '../../load/socket-loop.ts';
import { type FrameHandler, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { HeaderBlock } from './header-block.ts';
import { HeaderCache } from './header-cache.ts';
import type { Http2Stream, StreamBytes } from './http2-stream.ts';
import { PeerSettings } from './peer-settings.ts';
import { ProtocolFault } from './protocol-fault.ts';
import type { RequestHeaderEncoder, RequestHeaders } from './request-headers.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** What a server may send ahead on a stream: more than any answer but the largest. The client's windows must not be what is measured. */
const STREAM_WINDOW_BYTES = 16 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024;
/** A frame of ours, with its head, whatever more the server takes: as the writer's room. */
const MAX_SENT_FRAME_BYTES = 32 * 1024;

export interface ConnectionListener {
  /** The server's SETTINGS are here: streams may be opened. */
  onReady(): void;
  /** GOAWAY: no new streams. Those that the server will not look at hear `onReset(REFUSED_STREAM)` next. */
  onGoAway(reason: string): void;
  /** Once, unless `close` was called. Streams that were open do not hear of it. */
  onClosed(reason: string): void;
}

export class Http2Connection implements SocketHandler, FrameHandler {
  readonly peer: PeerSettings = new PeerSettings();
  readonly #headers: RequestHeaders;
  readonly #sink: LaneSink;
  readonly #listener: ConnectionListener;
  readonly #reader: FrameReader = new FrameReader(this);
  readonly #block: HeaderBlock = new HeaderBlock();
  readonly #blocks: HeaderCache = new HeaderCache();
  readonly #streams: Map<number, Http2Stream> = new Map();
  /** Streams with bytes that wait for window, in the order in which they began to. */
  readonly #blocked: Http2Stream[] = [];
  #encoder: RequestHeaderEncoder | null = null;
  #socket: LoadSocket | null = null;
  #writer: FrameWriter | null = null;
  #nextId: number;
  #sendWindow = h2.DEFAULT_WINDOW_BYTES;
  #unreturned = 0;
  #isReading = false;
  #isGoing = false;
  #isClosed = false;

  /** `firstStreamId`: odd. */
  constructor(headers: RequestHeaders, sink: LaneSink, listener: ConnectionListener, firstStreamId = 1) {
    this.#headers = headers;
    this.#sink = sink;
    this.#listener = listener;
    this.#nextId = firstStreamId;
  }

  /** Sends what a client begins with; `onReady` follows. */
  start(socket: LoadSocket): void {
    this.#socket = socket;
    const writer = new FrameWriter(socket, this.#sink);
    this.#writer = writer;
    PREFACE.copy(writer.buffer, 0);
    writer.at = PREFACE.length;
    this.#writeSettings(writer, [
      [h2.SETTINGS_HEADER_TABLE_SIZE, 0],
      [h2.SETTINGS_ENABLE_PUSH, 0],
      [h2.SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES],
    ]);
    this.#writeWord(h2.WINDOW_UPDATE, 0, CONNECTION_WINDOW_BYTES - h2.DEFAULT_WINDOW_BYTES);
    writer.flush();
  }

  /** Whether a stream can be opened: the server is there, did not say good-bye, and there are numbers left. */
  get isOpen(): boolean {
    return this.#encoder !== null && !this.#isClosed && !this.#isGoing && this.#nextId <= h2.MAX_STREAM_ID;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Opens a stream: its header block, and nothing more. `timeoutMs`: for grpc-timeout; 0: none. */
  open(stream: Http2Stream, timeoutMs: number): void {
    if (!this.isOpen) throw new Error('a stream was opened on a connection that takes none');
    const writer = this.#writer!;
    writer.reserve(h2.FRAME_HEAD_BYTES + this.#headers.maxBytes);
    stream.id = this.#nextId;
    stream.sendWindow = this.peer.initialWindowBytes;
    stream.unreturned = 0;
    stream.pendingAt = 0;
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    const { buffer, at } = writer;
    const start = at + h2.FRAME_HEAD_BYTES;
    writer.at = this.#encoder!.write(buffer, start, timeoutMs);
    h2.putFrameHead(buffer, at, writer.at - start, h2.HEADERS, h2.END_HEADERS, stream.id);
  }

  /** Sends bytes on an open stream, behind those that it was given before. What the windows do not let out waits. */
  send(stream: Http2Stream, bytes: StreamBytes): void {
    stream.pending.push(bytes);
    if (stream.pending.length === 1 && !this.#writePending(stream)) this.#blocked.push(stream);
  }

  /** Takes bytes back that were to be sent; false: some of them are in frames already. */
  withdraw(stream: Http2Stream, bytes: StreamBytes): boolean {
    const place = stream.pending.indexOf(bytes);
    if (place < 0 || (place === 0 && stream.pendingAt > 0)) return false;
    stream.pending.splice(place, 1);
    if (stream.pending.length === 0) this.#blocked.splice(this.#blocked.indexOf(stream), 1);
    return true;
  }

  /** Sends what was written since, unless answers are being read: then it goes out behind them. */
  flush(): void {
    if (!this.#isReading) this.#writer!.flush();
  }

  /** Forgets a stream whose answer is complete, or that nobody waits for. The server is told (CANCEL) unless both sides have ended it. */
  release(stream: Http2Stream, hasAnswerEnded: boolean): void {
    const { id } = stream;
    if (!this.#streams.delete(id)) return;
    const isSent = stream.pending.length === 0;
    if (!isSent) {
      stream.pending.length = 0;
      this.#blocked.splice(this.#blocked.indexOf(stream), 1);
    }
    stream.id = 0;
    if ((hasAnswerEnded && isSent) || this.#isClosed) return;
    this.#writeWord(h2.RST_STREAM, id, h2.CANCEL);
  }

  /** The listener hears nothing of it. */
  close(): void {
    if (this.#isClosed) return;
    this.#shut();
    this.#socket?.close();
  }

  onBytes(bytes: Buffer, length: number): void {
    if (this.#isClosed) return;
    this.#sink.receivedBytes(length);
    this.#isReading = true;
    try {
      this.#reader.read(bytes, length);
    } catch (error) {
      if (!(error instanceof ProtocolFault)) throw error;
      this.#fail(error.message);
    } finally {
      this.#isReading = false;
    }
    if (!this.#isClosed) this.#writer!.flush();
  }

  onClose(reason: string): void {
    if (this.#isClosed) return;
    this.#shut();
    this.#listener.onClosed(reason);
  }

  onData(streamId: number, bytes: Buffer, from: number, to: number, isEnd: boolean): void {
    const count = to - from;
    this.#unreturned += count;
    if (this.#unreturned >= CONNECTION_WINDOW_BYTES / 2) {
      this.#writeWord(h2.WINDOW_UPDATE, 0, this.#unreturned);
      this.#unreturned = 0;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#checkId(streamId);
      return;
    }
    stream.unreturned += count;
    if (stream.unreturned >= STREAM_WINDOW_BYTES / 2 && !isEnd) {
      this.#writeWord(h2.WINDOW_UPDATE, streamId, stream.unreturned);
      stream.unreturned = 0;
    }
    stream.onData(bytes, from, to, isEnd);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
    this.#block.check(type, streamId);
    switch (type) {
      case h2.HEADERS:
      case h2.CONTINUATION:
        if (this.#block.take(type, flags, streamId, bytes, from, to)) this.#takeBlock(this.#block);
        return;
      case h2.DATA: {
        const end = to - bytes[from]!;
        if (to === from || end <= from) throw new ProtocolFault('a DATA frame with more padding than bytes');
        // Padding counts against the window (RFC 9113, 6.1), like the bytes.
        this.#unreturned += to - from - (end - from - 1);
        this.onData(streamId, bytes, from + 1, end, (flags & h2.END_STREAM) !== 0);
        return;
      }
      case h2.SETTINGS:
        if ((flags & h2.ACK) === 0) this.#readSettings(bytes, from, to);
        return;
      case h2.WINDOW_UPDATE:
        expectBytes(to - from, 4, 'WINDOW_UPDATE');
        this.#widen(streamId, h2.uint32At(bytes, from) & 0x7fff_ffff);
        return;
      case h2.RST_STREAM:
        expectBytes(to - from, 4, 'RST_STREAM');
        this.#reset(streamId, h2.uint32At(bytes, from));
        return;
      case h2.PING:
        expectBytes(to - from, 8, 'PING');
        if ((flags & h2.ACK) === 0) this.#writeFrame(h2.PING, h2.ACK, 0, bytes, from, to);
        return;
      case h2.GOAWAY:
        if (to - from < 8) expectBytes(to - from, 8, 'GOAWAY');
        this.#goAway(h2.uint32At(bytes, from) & 0x7fff_ffff, h2.uint32At(bytes, from + 4), bytes.toString('utf8', from + 8, to));
        return;
      case h2.PUSH_PROMISE:
        throw new ProtocolFault('a PUSH_PROMISE, which the SETTINGS forbid');
      // PRIORITY, and kinds that are not known, mean nothing here.
    }
  }

  #takeBlock({ streamId, flags, bytes, start, end }: HeaderBlock): void {
    const stream = this.#streams.get(streamId);
    // Without a dynamic table a block that nobody waits for need not be decoded.
    if (stream === undefined) this.#checkId(streamId);
    else stream.onHeaders(this.#blocks.decode(bytes, start, end), (flags & h2.END_STREAM) !== 0);
  }

  #readSettings(bytes: Buffer, from: number, to: number): void {
    const { peer } = this;
    const windowBefore = peer.initialWindowBytes;
    const tableBefore = peer.headerTableBytes;
    peer.read(bytes, from, to);
    this.#writeFrame(h2.SETTINGS, h2.ACK, 0, bytes, from, from);
    const wider = peer.initialWindowBytes - windowBefore;
    if (wider !== 0) for (const stream of this.#streams.values()) stream.sendWindow += wider;
    if (this.#encoder === null) {
      this.#encoder = this.#headers.encoder(peer.headerTableBytes);
      this.#listener.onReady();
      return;
    }
    if (peer.headerTableBytes !== tableBefore) this.#encoder.tableChanged();
    if (wider > 0) this.#writeBlocked();
  }

  #widen(streamId: number, count: number): void {
    if (streamId === 0) {
      this.#sendWindow += count;
      if (this.#sendWindow > h2.MAX_WINDOW_BYTES) throw new ProtocolFault('a connection window of more than 2 GiB');
      this.#writeBlocked();
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += count;
    if (stream.sendWindow > h2.MAX_WINDOW_BYTES) throw new ProtocolFault('a stream window of more than 2 GiB');
    if (stream.pending.length > 0 && this.#writePending(stream)) this.#blocked.splice(this.#blocked.indexOf(stream), 1);
  }

  #reset(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#forget(stream);
    stream.onReset(code);
  }

  /** Takes a stream off the lists without a word to the server. */
  #forget(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    if (stream.pending.length > 0) this.#blocked.splice(this.#blocked.indexOf(stream), 1);
    stream.pending.length = 0;
    stream.id = 0;
  }

  #goAway(lastStreamId: number, code: number, text: string): void {
    this.#isGoing = true;
    const why = code === h2.NO_ERROR ? '' : ` (${h2.http2ErrorName(code)}${text === '' ? '' : `: ${text}`})`;
    this.#listener.onGoAway(`the server said good-bye: GOAWAY${why}`);
    // Requests above it were not looked at, and never will be.
    for (const stream of [...this.#streams.values()]) {
      if (this.#isClosed) return;
      if (stream.id <= lastStreamId) continue;
      this.#forget(stream);
      stream.onReset(h2.REFUSED_STREAM);
    }
  }

  #writeBlocked(): void {
    const blocked = this.#blocked;
    for (let i = 0; i < blocked.length && this.#sendWindow > 0; ) {
      if (this.#writePending(blocked[i]!)) blocked.splice(i, 1);
      else i++;
    }
  }

  /** Writes what the windows let out; true: all of it. */
  #writePending(stream: Http2Stream): boolean {
    const { pending } = stream;
    while (pending.length > 0) {
      const bytes = pending[0]!;
      if (!this.#writeData(stream, bytes)) return false;
      pending.shift();
      stream.pendingAt = 0;
      bytes.onSent();
    }
    return true;
  }

  #writeData(stream: Http2Stream, bytes: StreamBytes): boolean {
    const writer = this.#writer!;
    const { length } = bytes;
    while (stream.pendingAt < length) {
      const most = Math.min(this.peer.maxFrameBytes, MAX_SENT_FRAME_BYTES, stream.sendWindow, this.#sendWindow);
      if (most <= 0) return false;
      const from = stream.pendingAt;
      const to = Math.min(length, from + most);
      const flags = to === length && bytes.endsStream ? h2.END_STREAM : 0;
      writer.reserve(h2.FRAME_HEAD_BYTES + to - from);
      h2.putFrameHead(writer.buffer, writer.at, to - from, h2.DATA, flags, stream.id);
      bytes.copyTo(writer.buffer, writer.at + h2.FRAME_HEAD_BYTES, from, to);
      writer.at += h2.FRAME_HEAD_BYTES + to - from;
      stream.pendingAt = to;
      stream.sendWindow -= to - from;
      this.#sendWindow -= to - from;
    }
    return true;
  }

  #writeFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
    const writer = this.#writer!;
    writer.reserve(h2.FRAME_HEAD_BYTES + to - from);
    h2.putFrameHead(writer.buffer, writer.at, to - from, type, flags, streamId);
    bytes.copy(writer.buffer, writer.at + h2.FRAME_HEAD_BYTES, from, to);
    writer.at += h2.FRAME_HEAD_BYTES + to - from;
  }

  /** A frame whose payload is one number: WINDOW_UPDATE, RST_STREAM. */
  #writeWord(type: number, streamId: number, value: number): void {
    const writer = this.#writer!;
    writer.reserve(h2.FRAME_HEAD_BYTES + 4);
    h2.putFrameHead(writer.buffer, writer.at, 4, type, 0, streamId);
    h2.putUint32(writer.buffer, writer.at + h2.FRAME_HEAD_BYTES, value);
    writer.at += h2.FRAME_HEAD_BYTES + 4;
  }

  #writeSettings(writer: FrameWriter, settings: readonly (readonly [number, number])[]): void {
    h2.putFrameHead(writer.buffer, writer.at, settings.length * 6, h2.SETTINGS, 0, 0);
    writer.at += h2.FRAME_HEAD_BYTES;
    for (const [name, value] of settings) {
      writer.buffer.writeUInt16BE(name, writer.at);
      writer.buffer.writeUInt32BE(value, writer.at + 2);
      writer.at += 6;
    }
  }

  /** Streams that are over may still have frames on the way; others cannot. */
  #checkId(streamId: number): void {
    if (streamId === 0 || streamId % 2 === 0 || streamId >= this.#nextId) {
      throw new ProtocolFault(`a frame for stream ${streamId}, which was never opened`);
    }
  }

  #fail(reason: string): void {
    if (this.#isClosed) return;
    this.#shut();
    this.#socket!.close();
    this.#listener.onClosed(reason);
  }

  #shut(): void {
    this.#isClosed = true;
    this.#reader.stop();
    for (const stream of this.#streams.values()) stream.id = 0;
    this.#streams.clear();
    this.#blocked.length = 0;
  }
}

function expectBytes(got: number, expected: number, frame: string): void {
  if (got !== expected) throw new ProtocolFault(`a ${frame} frame of ${got} bytes, where ${expected} are expected`);
}
