/** One HTTP/2 connection of a gRPC client: windows, start, silence and age. */

import { constants, type ServerHttp2Session } from 'node:http2';

/**
 * What a client may send without waiting for us to read, bytes. Each call's lets a large tensor through in one go; the connection's, several. HTTP/2's own 64 KiB
 * cost a round trip per 64 KiB (bench/micro/grpc-transport.bench.ts). A paused call holds this much memory at most.
 */
export const CALL_WINDOW_BYTES: number = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;
/** What HTTP/2 begins with; less is not worth the round trips. */
const MIN_CONNECTION_WINDOW_BYTES = 65_535;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Connections that were opened together are not asked to go together. */
const AGE_JITTER = 0.1;

export interface ConnectionTimes {
  /** A client sends its SETTINGS within this, ms. */
  readonly handshakeTimeoutMs: number;
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly maxConnectionAgeMs: number;
  readonly maxConnectionAgeGraceMs: number;
}

/** Of all connections together. */
export interface OpenStreams {
  count: number;
}

export class GrpcConnection {
  readonly session: ServerHttp2Session;
  /** Calls, and refused ones whose refusal is not out yet. */
  openStreams = 0;
  isEvicted = false;
  /** Bytes of answers that its client has not taken. */
  answerBytes = 0;
  /** Opened in its life. */
  calls = 0;
  readonly #times: ConnectionTimes;
  readonly #open: OpenStreams;
  #startTimer: NodeJS.Timeout | null;
  #ageTimer: NodeJS.Timeout | null;
  #silenceTimer: NodeJS.Timeout | null = null;
  #pongTimer: NodeJS.Timeout | null = null;
  /** Of the socket, when the silence timer was last looked at. */
  #bytesRead = -1;
  /** The same, and the calls, when `probe` last looked. */
  #probedBytes = 0;
  #probedCalls = 0;
  #isPinging = false;
  /** Of the socket, when it was last found to have changed, and when that was. */
  #bytesWritten = -1;
  #writtenAtMs = 0;

  /** `maxWindowBytes`: its share of what all connections may hold unread; a window is no smaller than HTTP/2's own. */
  constructor(session: ServerHttp2Session, times: ConnectionTimes, open: OpenStreams, maxWindowBytes: number) {
    this.session = session;
    this.#times = times;
    this.#open = open;
    this.#startTimer = after(times.handshakeTimeoutMs, () => session.destroy());
    this.#ageTimer = after(times.maxConnectionAgeMs * (1 - AGE_JITTER * Math.random()), () => this.#retire());
    session.setLocalWindowSize(Math.max(MIN_CONNECTION_WINDOW_BYTES, Math.min(CONNECTION_WINDOW_BYTES, Math.floor(maxWindowBytes))));
    session.once('remoteSettings', () => {
      clear(this.#startTimer);
      this.#startTimer = null;
    });
    session.once('close', () => {
      clear(this.#startTimer);
      clear(this.#ageTimer);
      clear(this.#silenceTimer);
      clear(this.#pongTimer);
    });
    this.#listenForSilence();
  }

  streamOpened(): void {
    this.calls += 1;
    this.openStreams += 1;
    this.#open.count += 1;
  }

  streamClosed(): void {
    if (this.isEvicted) return;
    this.openStreams -= 1;
    this.#open.count -= 1;
  }

  /** Since when nothing goes out, as far as has been looked; ms of `performance.now()`. */
  stalledSince(nowMs: number): number {
    const bytesWritten = this.session.socket?.bytesWritten ?? 0;
    if (bytesWritten !== this.#bytesWritten) {
      this.#bytesWritten = bytesWritten;
      this.#writtenAtMs = nowMs;
    }
    return this.#writtenAtMs;
  }

  /** Ends it, and counts its streams as closed from now on. */
  evict(): void {
    this.isEvicted = true;
    this.#open.count -= this.openStreams;
    this.session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** GOAWAY; ends when the last call has. */
  retire(): void {
    if (!this.session.destroyed) this.session.close();
  }

  /**
   * To be called now and then. After an HTTP/2 error nghttp2 sends GOAWAY and ignores what comes, but node:http2 keeps the socket; so a connection on which bytes came and
   * no calls is asked whether it still speaks.
   */
  probe(): void {
    if (this.#isPinging || this.session.destroyed || this.#startTimer !== null) return;
    if (this.calls !== this.#probedCalls) this.#probedCalls = this.calls;
    else if (this.session.socket.bytesRead !== this.#probedBytes) this.#ping();
  }

  destroy(): void {
    this.session.destroy(undefined, constants.NGHTTP2_CANCEL);
  }

  #retire(): void {
    this.retire();
    this.#ageTimer = after(this.#times.maxConnectionAgeGraceMs, () => this.destroy());
  }

  #listenForSilence(): void {
    this.#silenceTimer = after(this.#times.keepaliveTimeMs, () => {
      const { session } = this;
      if (session.destroyed) return;
      const { bytesRead } = session.socket;
      const isSilent = bytesRead === this.#bytesRead;
      this.#bytesRead = bytesRead;
      if (isSilent && !this.#isPinging) this.#ping();
      this.#listenForSilence();
    });
  }

  #ping(): void {
    const { session } = this;
    this.#isPinging = true;
    this.#pongTimer = after(this.#times.keepaliveTimeoutMs, () => session.destroy());
    session.ping((error) => {
      clear(this.#pongTimer);
      this.#isPinging = false;
      if (error !== null || session.destroyed) return;
      this.#probedBytes = session.socket.bytesRead;
      this.#bytesRead = this.#probedBytes;
    });
  }
}

/** A timer that does not keep the process; null for Infinity and for what no timer can hold (24 days). */
function after(ms: number, act: () => void): NodeJS.Timeout | null {
  return ms > MAX_TIMER_MS ? null : setTimeout(act, ms).unref();
}

function clear(timer: NodeJS.Timeout | null): void {
  if (timer !== null) clearTimeout(timer);
}
