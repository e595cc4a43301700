/** @hotpath the gRPC protocol over HTTP/2: finds each call's method and checks its headers; limits, drain. One object per call */

import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createSecureServer } from 'node:tls';
import type { InferenceError } from '../../../proto/inference-error.ts';
import { checkTlsFiles, listenFailure, tlsFailure } from '../listen-failure.ts';
import { MessagePool } from '../message-pool.ts';
import type { RpcMethod, RpcTransport, RpcTransportOptions, StartRpcTransport } from '../rpc-call.ts';
import type { CallPlan } from './call-plan.ts';
import type { GrpcCall, GrpcCallHost } from './grpc-call.ts';
import { GrpcConnection, type GrpcConnectionHost } from './grpc-connection.ts';
import { GrpcStreamCall } from './grpc-stream-call.ts';
import { parseGrpcTimeout } from './grpc-timeout.ts';
import { DEFAULT_LIMITS, type GrpcTransportLimits } from './grpc-transport-limits.ts';
import { GrpcUnaryCall } from './grpc-unary-call.ts';
import { OutputBlocks } from './http2/connection-output.ts';
import { encodeHeaderBlock } from './http2/header-block.ts';
import type { Http2Stream, StreamHandler } from './http2/http2-stream.ts';
import type { RequestHeaders } from './http2/request-headers.ts';
import * as refusals from './rpc-refusals.ts';
import { refusalBlock } from './status-trailers.ts';

/** For the status of what is cut off to leave, ms. */
const LAST_WORD_MS = 100;
/** For what no gRPC client sends. */
const METHOD_NOT_ALLOWED: Buffer = encodeHeaderBlock({ ':status': '405', allow: 'POST' });
const UNSUPPORTED_MEDIA_TYPE: Buffer = encodeHeaderBlock({ ':status': '415' });

const MIN_BUFFERED_BYTES = 256 * 1024 * 1024;
const MIN_ANSWER_BYTES = 512 * 1024 * 1024;
/** A stall is seen at the first of these that comes a quarter of `stallMs` after another, four times over. */
const SWEEPS_PER_STALL = 4;

class GrpcTransport implements RpcTransport, GrpcCallHost, GrpcConnectionHost {
  readonly blocks: OutputBlocks = new OutputBlocks();
  openStreams = 0;
  readonly pool: MessagePool = new MessagePool();
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  readonly compression: 'none' | 'deflate' | 'gzip';
  readonly #options: RpcTransportOptions;
  readonly #limits: GrpcTransportLimits;
  readonly #maxBufferedBytes: number;
  readonly #methods: ReadonlyMap<string, RpcMethod>;
  readonly #server: Server;
  readonly #connections = new Set<GrpcConnection>();
  /** Sockets whose TLS handshake is not over, by the client's address. */
  readonly #handshaking = new Map<string, Socket>();
  readonly #calls = new Set<GrpcCall>();
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
    server.on(options.tls === null ? 'connection' : 'secureConnection', (socket: Socket) => this.#onConnection(socket));
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

  holdAnswer(connection: GrpcConnection, bytes: number): void {
    if (connection.isEvicted) return;
    connection.answerBytes += bytes;
    this.#answerBytes += bytes;
    if (bytes > 0 && this.#answerBytes > this.#maxAnswerBytes) this.#evictStalled();
  }

  callClosed(call: GrpcCall): void {
    this.#calls.delete(call);
  }

  connectionClosed(connection: GrpcConnection): void {
    this.#connections.delete(connection);
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
      for (const connection of this.#connections) connection.retire();
      for (const call of this.#calls) call.drainRequested();
    }
    return this.#closed;
  }

  #destroyAll(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #trackHandshakes(server: Server): void {
    server.on('connection', (socket: Socket) => {
      const address = addressOf(socket);
      this.#handshaking.set(address, socket);
      socket.once('close', () => this.#handshaking.delete(address));
    });
    server.on('secureConnection', (socket: Socket) => this.#handshaking.delete(addressOf(socket)));
  }

  #onConnection(socket: Socket): void {
    // Bytes of a paused call wait in its window, which no count sees: each further connection gets a smaller one.
    const window = this.#maxBufferedBytes / (this.#connections.size + 1);
    const options = { ...this.#options, handshakeTimeoutMs: this.#limits.handshakeTimeoutMs };
    const connection = new GrpcConnection(socket, options, this, window);
    this.#connections.add(connection);
    if (this.#closed !== null) connection.retire();
  }

  onRequest(stream: Http2Stream, connection: GrpcConnection): void {
    if (this.openStreams >= this.#limits.maxCalls && this.#evictLargest() === connection) return;
    connection.streamOpened();
    const { headers } = stream;
    headers.plan ??= this.#plan(headers);
    const { plan } = headers;
    if (plan.method === null) {
      stream.handler = new RefusedCall(connection);
      stream.sendEnd(plan.refusal);
    } else if (plan.method.kind === 'unary') {
      const call = new GrpcUnaryCall(plan.method, stream, connection, this, plan.timeoutMs);
      stream.handler = call;
      this.#calls.add(call);
    } else {
      const call = new GrpcStreamCall(plan.method, stream, connection, this, plan.timeoutMs);
      stream.handler = call;
      this.#calls.add(call);
      call.open();
    }
  }

  /** The one with the most open streams makes room for all others. */
  #evictLargest(): GrpcConnection | null {
    let largest: GrpcConnection | null = null;
    for (const connection of this.#connections) {
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
    const holders = [...this.#connections].filter(
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

  #plan(headers: RequestHeaders): CallPlan {
    if (headers.method !== 'POST') return { method: null, refusal: METHOD_NOT_ALLOWED };
    if (!isGrpcContentType(headers.get('content-type'))) return { method: null, refusal: UNSUPPORTED_MEDIA_TYPE };
    const method = this.#methods.get(headers.path);
    const timeout = headers.has('grpc-timeout') ? headers.get('grpc-timeout') : null;
    const timeoutMs = timeout === null ? Number.POSITIVE_INFINITY : parseGrpcTimeout(timeout);
    const encoding = headers.get('grpc-encoding');
    const { maxMetadataBytes } = this.#options;
    if (method === undefined) return refused(refusals.unknownMethod(headers.path, this.#methods.keys()));
    if (headers.listBytes > maxMetadataBytes) return refused(refusals.metadataTooLarge(headers.listBytes, maxMetadataBytes));
    if (encoding !== '' && encoding !== 'identity' && encoding !== 'gzip' && encoding !== 'deflate') {
      return refused(refusals.unsupportedEncoding(encoding));
    }
    if (timeoutMs < 0) return refused(refusals.malformedTimeout(timeout ?? ''));
    return timeoutMs === 0 ? refused(refusals.deadlinePassed()) : { method, timeoutMs };
  }

  #sweep(): void {
    for (const call of this.#calls) {
      const progress = call.progress();
      if (progress < 0 || progress !== call.lastProgress) {
        call.lastProgress = progress;
        call.stalledSweeps = 0;
      } else if (++call.stalledSweeps >= SWEEPS_PER_STALL) call.cutOff(this.#limits.stallMs);
    }
  }
}

function makeServer(options: RpcTransportOptions, limits: GrpcTransportLimits): Server {
  const { tls } = options;
  if (tls === null) return createServer({ noDelay: true });
  return createSecureServer({
    noDelay: true,
    ALPNProtocols: ['h2'],
    cert: readFileSync(tls.certFile),
    key: readFileSync(tls.keyFile),
    ...(tls.requireClientCertificate && tls.caFile !== null
      ? { ca: readFileSync(tls.caFile), requestCert: true, rejectUnauthorized: true }
      : {}),
    handshakeTimeout: limits.handshakeTimeoutMs,
    minVersion: 'TLSv1.2',
  });
}

/** `application/grpc`, alone or as `+proto`, parameters allowed: messages are protobuf. */
function isGrpcContentType(contentType: string): boolean {
  if (!contentType.startsWith('application/grpc')) return false;
  const rest = contentType.slice('application/grpc'.length);
  return rest === '' || rest === '+proto' || rest.startsWith(';') || rest.startsWith('+proto;');
}

function refused(error: InferenceError): CallPlan {
  return { method: null, refusal: refusalBlock(error) };
}

/** What a client sends with a call that was refused is dropped. */
class RefusedCall implements StreamHandler {
  readonly #connection: GrpcConnection;

  constructor(connection: GrpcConnection) {
    this.#connection = connection;
  }

  onData(): void {}
  onRequestEnd(): void {}
  onDrain(): void {}

  onClose(): void {
    this.#connection.streamClosed();
  }
}

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
