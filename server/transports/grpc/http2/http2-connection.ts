/** @hotpath a server's side of an HTTP/2 connection, as much of it as gRPC needs. Source: RFC 9113 (measured by grpc-transport.bench.ts) */

import type { Socket } from 'node:net';
import { HpackFault } from '../../../../proto/hpack/hpack-fault.ts';
import * as h2 from '../../../../proto/http2-frames.ts';
import { BlockAssembly, checkPriority } from './block-assembly.ts';
import { ConnectionOutput, type OutputBlocks, type OutputListener } from './connection-output.ts';
import { FrameWriter } from './frame-writer.ts';
import { answerHttp1, looksLikeHttp1 } from './http1-answer.ts';
import { Http2Fault } from './http2-fault.ts';
import { type FrameHandler, FrameReader } from './http2-frame-reader.ts';
import type { Http2Stream } from './http2-stream.ts';
import { type Http2Limits, Http2Streams, type StreamsListener } from './http2-streams.ts';
import { type PeerSettings, readSettings } from './peer-settings.ts';

/** Header blocks of less are read to their end even when what they say is too much, so that only the call ends. */
const MIN_BLOCK_BYTES = 64 * 1024;
/** How long a client that did wrong may take to read why, ms. What it sends meanwhile is dropped. */
const LAST_WORD_MS = 1000;

export interface Http2Listener {
  /** The client has sent its SETTINGS. */
  onReady(): void;
  /** A request begins. It is to be given a handler, or an answer, before this returns. */
  onRequest(stream: Http2Stream): void;
  onPong(): void;
  /** Comes once, after all streams are closed. */
  onClosed(): void;
  /** What was thrown where nothing may be. The connection is gone. */
  onFault(error: unknown): void;
}

export class Http2Connection implements OutputListener, FrameHandler, StreamsListener {
  readonly socket: Socket;
  readonly #limits: Http2Limits;
  readonly #listener: Http2Listener;
  readonly #output: ConnectionOutput;
  readonly #writer: FrameWriter;
  readonly #streams: Http2Streams;
  readonly #reader: FrameReader;
  readonly #assembly: BlockAssembly;
  readonly #peer: PeerSettings = {
    initialWindow: h2.DEFAULT_WINDOW_BYTES,
    maxFrameBytes: h2.DEFAULT_FRAME_BYTES,
    headerTableBytes: h2.DEFAULT_TABLE_BYTES,
  };
  #prefaceBytes = 0;
  #hasGreeted = false;
  #isReady = false;
  /** Nothing is read and nothing written any more. */
  #isOver = false;
  #isGone = false;
  #lastWord: NodeJS.Timeout | null = null;

  constructor(socket: Socket, limits: Http2Limits, blocks: OutputBlocks, listener: Http2Listener) {
    this.socket = socket;
    this.#limits = limits;
    this.#listener = listener;
    this.#output = new ConnectionOutput(socket, blocks, this);
    this.#writer = new FrameWriter(this.#output, socket);
    this.#streams = new Http2Streams(limits, this.#output, this.#writer, this);
    this.#reader = new FrameReader(this);
    this.#assembly = new BlockAssembly(this.#streams, Math.max(MIN_BLOCK_BYTES, 2 * limits.maxHeaderListBytes));
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#finish());
    // An error of a socket is the client's or the network's, and its 'close' follows.
    socket.on('error', ignore);
    socket.on('close', () => this.#gone());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Bytes that the operating system has taken. */
  get takenBytes(): number {
    return this.#output.takenBytes;
  }

  /** The client is told to open no more streams; ends when the last one has closed. */
  retire(): void {
    if (this.#isOver || this.#streams.isGoing) return;
    this.#streams.isGoing = true;
    this.#sayGoodBye(h2.NO_ERROR, '');
    this.#endIfIdle();
  }

  /** Cuts off what is open. `code`: the client is told so; NO_ERROR: it was told to go, and what it did not send yet may go elsewhere. */
  destroy(code: number): void {
    if (this.#isOver) {
      this.socket.destroy();
      return;
    }
    if (code !== h2.NO_ERROR || !this.#streams.isGoing) this.#sayGoodBye(code, '');
    this.#output.flush();
    this.#shut();
    this.socket.destroySoon();
    this.#awaitEnd();
  }

  ping(): void {
    if (!this.#isOver && this.#hasGreeted) this.#writer.ping();
  }

  onOutputTaken(): void {
    if (!this.#isOver) this.#streams.sender.writeReady();
  }

  onRequest(stream: Http2Stream): void {
    this.#listener.onRequest(stream);
  }

  onIdle(): void {
    if (this.#streams.isGoing) this.#endIfIdle();
  }

  onDataFrame(streamId: number, flags: number, length: number): void {
    this.#expectFrame(h2.DATA, flags, streamId);
    this.#streams.onDataFrame(streamId, flags, length);
  }

  onDataBytes(bytes: Buffer, from: number, to: number): void {
    this.#streams.onDataBytes(bytes, from, to);
  }

  onDataEnd(flags: number): void {
    this.#streams.onDataEnd(flags);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
    this.#expectFrame(type, flags, streamId);
    switch (type) {
      case h2.HEADERS:
        this.#assembly.headers(streamId, flags, bytes, from, to);
        return;
      case h2.CONTINUATION:
        this.#assembly.continuation(flags, bytes, from, to);
        return;
      case h2.PRIORITY:
        expectBytes(to - from, 5, 'PRIORITY');
        checkPriority(streamId, bytes, from);
        return;
      case h2.RST_STREAM:
        expectBytes(to - from, 4, 'RST_STREAM');
        this.#streams.onReset(streamId);
        return;
      case h2.SETTINGS:
        this.#readSettings(flags, bytes, from, to);
        return;
      case h2.PUSH_PROMISE:
        throw new Http2Fault(h2.PROTOCOL_ERROR, 'a PUSH_PROMISE of a client');
      case h2.PING:
        expectBytes(to - from, 8, 'PING');
        if ((flags & h2.ACK) === 0) this.#writer.pingAck(bytes, from);
        else this.#listener.onPong();
        return;
      case h2.GOAWAY:
        if (to - from < 8) expectBytes(to - from, 8, 'GOAWAY');
        this.#streams.isGoing = true;
        this.#endIfIdle();
        return;
      case h2.WINDOW_UPDATE:
        expectBytes(to - from, 4, 'WINDOW_UPDATE');
        this.#streams.onWindowUpdate(streamId, h2.uint32At(bytes, from) & 0x7fff_ffff);
        return;
      // Other kinds are to be passed over (section 4.1).
    }
  }

  #read(chunk: Buffer): void {
    if (this.#isOver) return;
    try {
      const from = this.#prefaceBytes < h2.PREFACE.length ? this.#readPreface(chunk) : 0;
      if (from >= 0) this.#reader.read(chunk, from);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Gives the offset behind it; -1: it is not HTTP/2 that the client speaks. */
  #readPreface(chunk: Buffer): number {
    let at = 0;
    for (; at < chunk.length && this.#prefaceBytes < h2.PREFACE.length; at++) {
      if (chunk[at] === h2.PREFACE[this.#prefaceBytes]) {
        this.#prefaceBytes += 1;
        continue;
      }
      if (!looksLikeHttp1(chunk)) throw new Http2Fault(h2.PROTOCOL_ERROR, 'the connection does not begin with the preface of HTTP/2');
      this.#shut();
      answerHttp1(this.socket);
      this.#awaitEnd();
      return -1;
    }
    if (this.#prefaceBytes === h2.PREFACE.length) this.#greet();
    return at;
  }

  /** What any frame must be: its place, and a stream's or none. */
  #expectFrame(type: number, flags: number, streamId: number): void {
    if (!this.#isReady && (type !== h2.SETTINGS || (flags & h2.ACK) !== 0)) {
      throw new Http2Fault(h2.PROTOCOL_ERROR, 'the first frame is not SETTINGS');
    }
    if (this.#assembly.streamId === 0 ? type === h2.CONTINUATION : type !== h2.CONTINUATION || streamId !== this.#assembly.streamId) {
      throw new Http2Fault(h2.PROTOCOL_ERROR, 'CONTINUATION frames follow their HEADERS frame, and nothing comes between');
    }
    const isOfConnection = type === h2.SETTINGS || type === h2.PING || type === h2.GOAWAY;
    if (type <= h2.GOAWAY && isOfConnection !== (streamId === 0)) {
      throw new Http2Fault(h2.PROTOCOL_ERROR, `a frame of type ${type} for stream ${streamId}`);
    }
  }

  #readSettings(flags: number, bytes: Buffer, from: number, to: number): void {
    if ((flags & h2.ACK) !== 0) {
      expectBytes(to - from, 0, 'SETTINGS');
      return;
    }
    const peer = this.#peer;
    const { sender } = this.#streams;
    const windowBefore = peer.initialWindow;
    readSettings(bytes, from, to, peer);
    this.#writer.settingsAck();
    sender.maxFrameBytes = peer.maxFrameBytes;
    sender.initialWindow = peer.initialWindow;
    if (peer.headerTableBytes < h2.DEFAULT_TABLE_BYTES) {
      // The frame is answered, and what it says is not to be answered again with the next one.
      peer.headerTableBytes = Number.POSITIVE_INFINITY;
      sender.mustEmptyTable = true;
    }
    this.#streams.moveWindows(peer.initialWindow - windowBefore);
    if (this.#isReady) {
      this.#streams.spend(1, 'changes of SETTINGS');
      return;
    }
    this.#isReady = true;
    this.#listener.onReady();
  }

  #endIfIdle(): void {
    if (this.#streams.size > 0 || this.#isOver) return;
    this.#output.flush();
    this.#shut();
    this.socket.end();
    this.#awaitEnd();
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    const isFault = error instanceof Http2Fault;
    const code = isFault ? error.code : error instanceof HpackFault ? h2.COMPRESSION_ERROR : h2.INTERNAL_ERROR;
    this.#sayGoodBye(code, code === h2.INTERNAL_ERROR ? '' : (error as Error).message);
    this.#shut();
    this.socket.end();
    this.#awaitEnd();
    if (code === h2.INTERNAL_ERROR) this.#listener.onFault(error);
  }

  /** The client is gone: no gRPC client ends its side of a connection and waits for answers. */
  #finish(): void {
    if (!this.#isOver) this.#shut();
  }

  /** To be read by the client, the last bytes must leave before the socket is closed, and what it sent before must be read. */
  #awaitEnd(): void {
    this.#lastWord ??= setTimeout(() => this.socket.destroy(), LAST_WORD_MS).unref();
  }

  #shut(): void {
    this.#isOver = true;
    this.#reader.stop();
    this.#assembly.clear();
    this.#streams.closeAll();
  }

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    if (this.#lastWord !== null) clearTimeout(this.#lastWord);
    if (!this.#isOver) this.#shut();
    this.#listener.onClosed();
  }

  /** The server's half of the preface, which waits for the client's: until then it may be HTTP/1.1 that the client speaks. */
  #greet(): void {
    const { maxStreams, maxHeaderListBytes, streamWindowBytes, connectionWindowBytes } = this.#limits;
    this.#hasGreeted = true;
    this.#writer.settings([
      [h2.SETTINGS_MAX_CONCURRENT_STREAMS, maxStreams],
      [h2.SETTINGS_INITIAL_WINDOW_SIZE, streamWindowBytes],
      [h2.SETTINGS_MAX_HEADER_LIST_SIZE, maxHeaderListBytes],
    ]);
    const more = connectionWindowBytes - h2.DEFAULT_WINDOW_BYTES;
    if (more > 0) this.#writer.windowUpdate(0, more);
  }

  #sayGoodBye(code: number, text: string): void {
    if (this.#hasGreeted) this.#writer.goAway(this.#streams.lastId, code, text);
    this.#output.flush();
  }
}

function expectBytes(got: number, expected: number, frame: string): void {
  if (got !== expected) throw new Http2Fault(h2.FRAME_SIZE_ERROR, `a ${frame} frame of ${got} bytes, where ${expected} are expected`);
}

function ignore(): void {}
