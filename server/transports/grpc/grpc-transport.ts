/** @hotpath the gRPC protocol over node:http2: finds each call's method and checks its headers; limits, drain. One object per call */

import { readFileSync } from 'node:fs';
import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { InferenceError } from '../../../proto/inference-error.ts';
import { checkTlsFiles, listenFailure, tlsFailure } from '../listen-failure.ts';
import type { RpcMethod, RpcTransport, RpcTransportOptions, StartRpcTransport } from '../rpc-call.ts';
import type { GrpcCall, GrpcCallHost } from './grpc-call.ts';
import { CALL_WINDOW_BYTES, GrpcConnection, type OpenStreams } from './grpc-connection.ts';
import { GrpcStreamCall } from './grpc-stream-call.ts';
import { parseGrpcTimeout } from './grpc-timeout.ts';
import { DEFAULT_LIMITS, type GrpcTransportLimits } from './grpc-transport-limits.ts';
import { GrpcUnaryCall } from './grpc-unary-call.ts';
import { MessagePool } from './message-pool.ts';
import * as refusals from './rpc-refusals.ts';
import { errorTrailers } from './status-trailers.ts';

/** Entries of one request's metadata; more of them cost more than they can say. */
const MAX_METADATA_ENTRIES = 128;
/** HTTP/2 counts this much per entry on top of name and value, bytes. */
const METADATA_ENTRY_BYTES = 32;
/**
 * MB, the most there can be: node:http2 (20.20) miscounts a session's memory when large uploads are reset, and would turn its later calls away. What a client can make
 * a session need is bounded by the limits here.
 */
const MAX_SESSION_MEMORY = 2 ** 32 - 1;
/** Calls over the limit, or refused by that miscount, after which the connection is ended: its client opens another. */
const MAX_REJECTED_CALLS = 10;
/** For the status of what is cut off to leave, ms. */
const LAST_WORD_MS = 100;
const STREAM_IS_OVER = Object.freeze({ endStream: true, sendDate: false });

const MIN_BUFFERED_BYTES = 256 * 1024 * 1024;
const MIN_ANSWER_BYTES = 512 * 1024 * 1024;
/** A stall is seen at the first of these that comes a quarter of `stallMs` after another, four times over. */
const SWEEPS_PER_STALL = 4;

interface ConnectedStream extends ServerHttp2Stream {
  nereidConnection: GrpcConnection;
}

class GrpcTransport implements RpcTransport, GrpcCallHost {
  readonly pool: MessagePool = new MessagePool();
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  readonly compression: 'none' | 'deflate' | 'gzip';
  readonly #options: RpcTransportOptions;
  readonly #limits: GrpcTransportLimits;
  readonly #maxBufferedBytes: number;
  readonly #methods: ReadonlyMap<string, RpcMethod>;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #connections = new Map<ServerHttp2Session, GrpcConnection>();
  /** Sockets whose TLS handshake is not over, by the client's address. */
  readonly #handshaking = new Map<string, Socket>();
  readonly #calls = new Set<GrpcCall>();
  readonly #open: OpenStreams = { count: 0 };
  readonly #sweepTimer: NodeJS.Timeout;
  #bufferedBytes = 0;
  readonly #maxAnswerBytes: number;
  #answerBytes = 0;
  /** When the connections may be looked at again for one that takes nothing. */
  #nextLookMs = 0;
  #port = 0;
  #closed: Promise<void> | null = null;

  constructor(options: RpcTransportOptions, limits: GrpcTransportLimits) {
    this.maxReceiveBytes = options.maxReceiveBytes;
    this.maxSendBytes = options.maxSendBytes;
    this.compression = options.compression;
    this.#options = options;
    this.#limits = limits;
    this.#maxBufferedBytes = limits.maxBufferedBytes ?? Math.max(MIN_BUFFERED_BYTES, 2 * options.maxReceiveBytes);
    this.#maxAnswerBytes = limits.maxAnswerBytes ?? Math.max(MIN_ANSWER_BYTES, options.maxReceiveBytes);
    this.#methods = new Map(options.methods.map((method) => [method.path, method]));
    const server = makeServer(options, limits);
    this.#server = server;
    server.maxConnections = options.maxConnections;
    server.on('session', (session: ServerHttp2Session) => this.#onSession(session));
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, rawHeaders: string[]) =>
      this.#onStream(stream, headers, rawHeaders),
    );
    if (options.tls !== null) this.#trackHandshakes(server);
    this.#sweepTimer = setInterval(() => this.#sweep(), limits.stallMs / SWEEPS_PER_STALL).unref();
  }

  get port(): number {
    return this.#port;
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => {
        clearInterval(this.#sweepTimer);
        reject(listenFailure(host, port, error));
      };
      this.#server.once('error', onError);
      this.#server.listen({ host, port, exclusive: true, backlog: 1024 }, () => {
        this.#server.off('error', onError);
        this.#server.on('error', (error) => this.onError(error));
        this.#port = (this.#server.address() as AddressInfo).port;
        resolve();
      });
    });
  }

  drain(): Promise<void> {
    return this.#stop();
  }

  close(): Promise<void> {
    const closed = this.#stop();
    if (this.#calls.size === 0) this.#destroyAll();
    else {
      for (const call of this.#calls) call.stop();
      setTimeout(() => this.#destroyAll(), LAST_WORD_MS);
    }
    return closed;
  }

  reserve(bytes: number): boolean {
    if (this.#bufferedBytes + bytes > this.#maxBufferedBytes) return false;
    this.#bufferedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#bufferedBytes -= bytes;
  }

  holdAnswer(stream: ServerHttp2Stream, bytes: number): void {
    const { nereidConnection } = stream as ConnectedStream;
    if (nereidConnection.isEvicted) return;
    nereidConnection.answerBytes += bytes;
    this.#answerBytes += bytes;
    if (bytes > 0 && this.#answerBytes > this.#maxAnswerBytes) this.#evictStalled();
  }

  callClosed(call: GrpcCall): void {
    this.#calls.delete(call);
  }

  onError(error: unknown): void {
    this.#options.onError(error);
  }

  #stop(): Promise<void> {
    if (this.#closed === null) {
      this.#closed = new Promise((resolve) =>
        this.#server.close(() => {
          clearInterval(this.#sweepTimer);
          resolve();
        }),
      );
      for (const socket of this.#handshaking.values()) socket.destroy();
      for (const connection of this.#connections.values()) connection.retire();
      for (const call of this.#calls) call.drainRequested();
    }
    return this.#closed;
  }

  #destroyAll(): void {
    for (const connection of this.#connections.values()) connection.destroy();
  }

  #trackHandshakes(server: Http2Server | Http2SecureServer): void {
    server.on('connection', (socket: Socket) => {
      const address = addressOf(socket);
      this.#handshaking.set(address, socket);
      socket.once('close', () => this.#handshaking.delete(address));
    });
    server.on('secureConnection', (socket: Socket) => this.#handshaking.delete(addressOf(socket)));
  }

  #onSession(session: ServerHttp2Session): void {
    const { keepaliveTimeMs, keepaliveTimeoutMs, maxConnectionAgeMs, maxConnectionAgeGraceMs } = this.#options;
    const { handshakeTimeoutMs } = this.#limits;
    // Bytes of a paused call wait in its window, which no count sees: each further connection gets a smaller one.
    const window = this.#maxBufferedBytes / (this.#connections.size + 1);
    const times = { handshakeTimeoutMs, keepaliveTimeMs, keepaliveTimeoutMs, maxConnectionAgeMs, maxConnectionAgeGraceMs };
    const connection = new GrpcConnection(session, times, this.#open, window);
    this.#connections.set(session, connection);
    session.once('close', () => this.#connections.delete(session));
    if (this.#closed !== null) connection.retire();
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    const connection = this.#connections.get(stream.session as ServerHttp2Session);
    // An error of a stream is the client's or the connection's, and its 'close' follows.
    stream.on('error', ignore);
    if (stream.destroyed || stream.closed) return;
    if (connection === undefined || connection.isEvicted) return;
    if (this.#open.count >= this.#limits.maxCalls && this.#evictLargest() === connection) return;
    connection.streamOpened();
    (stream as ConnectedStream).nereidConnection = connection;
    stream.on('close', onStreamClose);
    const status = httpRefusal(headers);
    if (status !== 0) {
      refuseHttp(stream, status);
      return;
    }
    const path = headers[':path'] ?? '';
    const method = this.#methods.get(path);
    if (method === undefined) {
      refuse(stream, refusals.unknownMethod(path, this.#methods.keys()));
      return;
    }
    const timeout = headers['grpc-timeout'];
    const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : parseGrpcTimeout(String(timeout));
    const refusal = this.#refusal(headers, rawHeaders, timeoutMs);
    if (refusal !== null) {
      refuse(stream, refusal);
      return;
    }
    if (method.kind === 'unary') {
      const call = new GrpcUnaryCall(method, stream, headers, this, timeoutMs);
      this.#calls.add(call);
      call.listen();
    } else {
      const call = new GrpcStreamCall(method, stream, headers, this, timeoutMs);
      this.#calls.add(call);
      call.listen();
      call.open();
    }
  }

  /** The one with the most open streams makes room for all others. */
  #evictLargest(): GrpcConnection | null {
    let largest: GrpcConnection | null = null;
    for (const connection of this.#connections.values()) {
      if (!connection.isEvicted && (largest === null || connection.openStreams > largest.openStreams)) largest = connection;
    }
    if (largest !== null) this.#evict(largest);
    return largest;
  }

  /** Ends connections whose clients take nothing, those that hold the most first, until the rest is within the bound; far over it, those whose clients do take something too. */
  #evictStalled(): void {
    const nowMs = performance.now();
    const isFarOver = this.#answerBytes > 2 * this.#maxAnswerBytes + this.maxSendBytes;
    if (nowMs < this.#nextLookMs && !isFarOver) return;
    const { answerStallMs } = this.#limits;
    this.#nextLookMs = nowMs + answerStallMs / 10;
    const holders = [...this.#connections.values()].filter(
      (connection) =>
        !connection.isEvicted && connection.answerBytes > 0 && (nowMs - connection.stalledSince(nowMs) >= answerStallMs || isFarOver),
    );
    holders.sort((one, other) => other.answerBytes - one.answerBytes);
    for (const connection of holders) {
      if (this.#answerBytes <= this.#maxAnswerBytes) break;
      this.#evict(connection);
    }
  }

  /** What it holds is on its way out, and counts no more. */
  #evict(connection: GrpcConnection): void {
    this.#answerBytes -= connection.answerBytes;
    connection.evict();
  }

  #refusal(headers: IncomingHttpHeaders, rawHeaders: readonly string[], timeoutMs: number): InferenceError | null {
    const metadataBytes = countMetadataBytes(rawHeaders);
    if (metadataBytes > this.#options.maxMetadataBytes) return refusals.metadataTooLarge(metadataBytes, this.#options.maxMetadataBytes);
    const encoding = headers['grpc-encoding'];
    if (encoding !== undefined && encoding !== 'identity' && encoding !== 'gzip' && encoding !== 'deflate') {
      return refusals.unsupportedEncoding(String(encoding));
    }
    if (timeoutMs < 0) return refusals.malformedTimeout(String(headers['grpc-timeout']));
    return timeoutMs === 0 ? refusals.deadlinePassed() : null;
  }

  #sweep(): void {
    for (const connection of this.#connections.values()) connection.probe();
    for (const call of this.#calls) {
      const progress = call.progress();
      if (progress < 0 || progress !== call.lastProgress) {
        call.lastProgress = progress;
        call.stalledSweeps = 0;
      } else if (++call.stalledSweeps >= SWEEPS_PER_STALL) call.cutOff(this.#limits.stallMs);
    }
  }
}

function makeServer(options: RpcTransportOptions, limits: GrpcTransportLimits): Http2Server | Http2SecureServer {
  const common = {
    settings: {
      initialWindowSize: CALL_WINDOW_BYTES,
      maxConcurrentStreams: options.maxConcurrentCalls,
      // Above this node:http2 resets the call. Up to it the refusal is a sentence.
      maxHeaderListSize: 2 * options.maxMetadataBytes,
    },
    maxHeaderListPairs: MAX_METADATA_ENTRIES,
    maxSessionMemory: MAX_SESSION_MEMORY,
    maxSessionRejectedStreams: MAX_REJECTED_CALLS,
  };
  const { tls } = options;
  if (tls === null) return createServer(common);
  return createSecureServer({
    ...common,
    cert: readFileSync(tls.certFile),
    key: readFileSync(tls.keyFile),
    ...(tls.requireClientCertificate && tls.caFile !== null
      ? { ca: readFileSync(tls.caFile), requestCert: true, rejectUnauthorized: true }
      : {}),
    handshakeTimeout: limits.handshakeTimeoutMs,
    minVersion: 'TLSv1.2',
  });
}

/** The HTTP status for what no gRPC client sends; 0: it is a call. */
function httpRefusal(headers: IncomingHttpHeaders): 0 | 405 | 415 {
  if (headers[':method'] !== 'POST') return 405;
  return isGrpcContentType(headers['content-type']) ? 0 : 415;
}

/** `application/grpc`, alone or as `+proto`, parameters allowed: messages are protobuf. */
function isGrpcContentType(contentType: string | undefined): boolean {
  if (contentType === undefined || !contentType.startsWith('application/grpc')) return false;
  const rest = contentType.slice('application/grpc'.length);
  return rest === '' || rest === '+proto' || rest.startsWith(';') || rest.startsWith('+proto;');
}

function countMetadataBytes(rawHeaders: readonly string[]): number {
  let bytes = (rawHeaders.length >> 1) * METADATA_ENTRY_BYTES;
  for (let i = 0; i < rawHeaders.length; i++) bytes += rawHeaders[i]!.length;
  return bytes;
}

/** Before a call exists. */
function refuse(stream: ServerHttp2Stream, error: InferenceError): void {
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', 'grpc-accept-encoding': refusals.ACCEPTED_ENCODINGS, ...errorTrailers(error) },
    STREAM_IS_OVER,
  );
  dropRest(stream);
}

function refuseHttp(stream: ServerHttp2Stream, status: 405 | 415): void {
  stream.respond(status === 405 ? { ':status': status, allow: 'POST' } : { ':status': status }, STREAM_IS_OVER);
  dropRest(stream);
}

function dropRest(stream: ServerHttp2Stream): void {
  stream.resume();
  if (!stream.endAfterHeaders) stream.close(constants.NGHTTP2_NO_ERROR);
}

function onStreamClose(this: ServerHttp2Stream): void {
  (this as ConnectedStream).nereidConnection.streamClosed();
}

function ignore(): void {}

function addressOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

export const startGrpcTransport: StartRpcTransport = (options) => startGrpcTransportWithin(options, DEFAULT_LIMITS);

/** With limits of one's own, for tests. */
export async function startGrpcTransportWithin(options: RpcTransportOptions, limits: GrpcTransportLimits): Promise<RpcTransport> {
  const { tls } = options;
  if (tls !== null) {
    if (tls.requireClientCertificate && tls.caFile === null) {
      throw tlsFailure(tls, 'client certificates are required, so a file with the authorities that sign them is needed');
    }
    checkTlsFiles(tls);
  }
  const transport = new GrpcTransport(options, limits);
  await transport.listen(options.host, options.port);
  return transport;
}
