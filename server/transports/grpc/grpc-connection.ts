/** @hotpath one connection of a gRPC client: its calls, windows, start, silence and age (measured by grpc-transport.bench.ts) */

import type { Socket } from 'node:net';
import { ENHANCE_YOUR_CALM, NO_ERROR } from '../../../proto/http2-frames.ts';
import type { OutputBlocks } from './http2/connection-output.ts';
import { Http2Connection, type Http2Listener } from './http2/http2-connection.ts';
import type { Http2Stream } from './http2/http2-stream.ts';

/**
 * What a client may send without waiting for us to read, bytes. Each call's lets a large tensor through in one go; the connection's, several. HTTP/2's own 64 KiB
 * cost a round trip per 64 KiB (bench/micro/grpc-transport.bench.ts). A paused call holds this much memory at most.
 */
const CALL_WINDOW_BYTES: number = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;
/** What HTTP/2 begins with; less is not worth the round trips. */
const MIN_CONNECTION_WINDOW_BYTES = 65_535;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Connections that were opened together are not asked to go together. */
const AGE_JITTER = 0.1;

/** Entries of one request's metadata; more of them cost more than they can say. */
const MAX_METADATA_ENTRIES = 128;

export interface ConnectionOptions {
  /** A client sends its SETTINGS within this, ms. */
  readonly handshakeTimeoutMs: number;
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly maxConnectionAgeMs: number;
  readonly maxConnectionAgeGraceMs: number;
  readonly maxConcurrentCalls: number;
  readonly maxMetadataBytes: number;
}

/** The transport, as its connections see it. */
export interface GrpcConnectionHost {
  readonly blocks: OutputBlocks;
  /** Streams of all connections together. */
  openStreams: number;
  onRequest(stream: Http2Stream, connection: GrpcConnection): void;
  connectionClosed(connection: GrpcConnection): void;
  onError(error: unknown): void;
}

export class GrpcConnection implements Http2Listener {
  /** Calls, and refused ones whose refusal is not out yet. */
  openStreams = 0;
  isEvicted = false;
  /** Bytes of answers that its client has not taken. */
  answerBytes = 0;
  readonly #http2: Http2Connection;
  readonly #host: GrpcConnectionHost;
  readonly #options: ConnectionOptions;
  #startTimer: NodeJS.Timeout | null;
  #ageTimer: NodeJS.Timeout | null;
  #silenceTimer: NodeJS.Timeout | null = null;
  #pongTimer: NodeJS.Timeout | null = null;
  /** Of the socket, when the silence timer was last looked at. */
  #bytesRead = -1;
  /** Of the socket, when it was last found to have changed, and when that was. */
  #takenBytes = -1;
  #takenAtMs = 0;

  /** `maxWindowBytes`: its share of what all connections may hold unread; a window is no smaller than HTTP/2's own. */
  constructor(socket: Socket, options: ConnectionOptions, host: GrpcConnectionHost, maxWindowBytes: number) {
    this.#host = host;
    this.#options = options;
    const connectionWindowBytes = Math.max(MIN_CONNECTION_WINDOW_BYTES, Math.min(CONNECTION_WINDOW_BYTES, Math.floor(maxWindowBytes)));
    const limits = {
      maxStreams: options.maxConcurrentCalls,
      // Above this the call is reset. Up to it the refusal is a sentence.
      maxHeaderListBytes: 2 * options.maxMetadataBytes,
      maxHeaderFields: MAX_METADATA_ENTRIES,
      streamWindowBytes: CALL_WINDOW_BYTES,
      connectionWindowBytes,
    };
    this.#startTimer = after(options.handshakeTimeoutMs, () => socket.destroy());
    this.#ageTimer = after(options.maxConnectionAgeMs * (1 - AGE_JITTER * Math.random()), () => this.#retireAged());
    this.#http2 = new Http2Connection(socket, limits, host.blocks, this);
    this.#listenForSilence();
  }

  onReady(): void {
    clear(this.#startTimer);
    this.#startTimer = null;
  }

  onRequest(stream: Http2Stream): void {
    this.#host.onRequest(stream, this);
  }

  onPong(): void {
    clear(this.#pongTimer);
    this.#pongTimer = null;
    this.#bytesRead = this.#http2.socket.bytesRead;
  }

  onClosed(): void {
    clear(this.#startTimer);
    clear(this.#ageTimer);
    clear(this.#silenceTimer);
    clear(this.#pongTimer);
    this.#host.connectionClosed(this);
  }

  onFault(error: unknown): void {
    this.#host.onError(error);
  }

  streamOpened(): void {
    this.openStreams += 1;
    this.#host.openStreams += 1;
  }

  streamClosed(): void {
    if (this.isEvicted) return;
    this.openStreams -= 1;
    this.#host.openStreams -= 1;
  }

  /** Since when nothing goes out, as far as has been looked; ms of `performance.now()`. */
  stalledSince(nowMs: number): number {
    const { takenBytes } = this.#http2;
    if (takenBytes !== this.#takenBytes) {
      this.#takenBytes = takenBytes;
      this.#takenAtMs = nowMs;
    }
    return this.#takenAtMs;
  }

  /** Ends it, and counts its streams as closed from now on. */
  evict(): void {
    this.isEvicted = true;
    this.#host.openStreams -= this.openStreams;
    this.#http2.destroy(ENHANCE_YOUR_CALM);
  }

  /** GOAWAY; ends when the last call has. */
  retire(): void {
    this.#http2.retire();
  }

  destroy(): void {
    this.#http2.destroy(NO_ERROR);
  }

  #retireAged(): void {
    this.retire();
    this.#ageTimer = after(this.#options.maxConnectionAgeGraceMs, () => this.destroy());
  }

  #listenForSilence(): void {
    this.#silenceTimer = after(this.#options.keepaliveTimeMs, () => {
      if (this.#http2.isOver) return;
      const { bytesRead } = this.#http2.socket;
      const isSilent = bytesRead === this.#bytesRead;
      this.#bytesRead = bytesRead;
      if (isSilent && this.#pongTimer === null) this.#ping();
      this.#listenForSilence();
    });
  }

  #ping(): void {
    this.#pongTimer = after(this.#options.keepaliveTimeoutMs, () => this.#http2.socket.destroy());
    this.#http2.ping();
  }
}

/** A timer that does not keep the process; null for Infinity and for what no timer can hold (24 days). */
function after(ms: number, act: () => void): NodeJS.Timeout | null {
  return ms > MAX_TIMER_MS ? null : setTimeout(act, ms).unref();
}

function clear(timer: NodeJS.Timeout | null): void {
  if (timer !== null) clearTimeout(timer);
}
