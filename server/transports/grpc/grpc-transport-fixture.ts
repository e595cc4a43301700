/** A gRPC transport under test with methods that show what reached them, and clients of two kinds: grpc-js, and raw HTTP/2. */

import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants, type OutgoingHttpHeaders } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { Client, type ClientOptions, credentials, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { InferenceError, type StatusCode } from '../../../proto/inference-error.ts';
import type { RpcMethod, RpcTransport, RpcTransportOptions, StreamCall, UnaryCall } from '../rpc-call.ts';
import { startGrpcTransportWithin } from './grpc-transport.ts';
import type { GrpcTransportLimits } from './grpc-transport-limits.ts';
import { LOCAL_OPTIONS } from './local-options.case.ts';

export function fixtureFile(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

/** What a raw call came to. */
export interface RawAnswer {
  readonly headers: OutgoingHttpHeaders;
  readonly trailers: OutgoingHttpHeaders;
  readonly body: Buffer;
  readonly resetCode: number;
}

/** A message with its prefix; `length`: what the prefix claims. */
export function frame(message: Uint8Array | string, flag = 0, length?: number): Buffer {
  const bytes = Buffer.from(message);
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length ?? bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

export class GrpcTransportFixture {
  readonly errors: unknown[] = [];
  readonly held: UnaryCall[] = [];
  readonly streams: StreamCall[] = [];
  /** What happened to the held calls and streams, in order. */
  readonly events: string[] = [];
  readonly #transports: RpcTransport[] = [];
  readonly #clients: Client[] = [];
  readonly #sessions: ClientHttp2Session[] = [];
  #onEvent: (() => void)[] = [];

  async serve(changes: Partial<RpcTransportOptions> = {}, limits: Partial<GrpcTransportLimits> = {}): Promise<RpcTransport> {
    const transport = await startGrpcTransportWithin(
      {
        ...LOCAL_OPTIONS,
        methods: this.#methods(),
        maxReceiveBytes: 4 * 1024 * 1024,
        maxSendBytes: 4 * 1024 * 1024,
        maxConcurrentCalls: 1000,
        onError: (error) => this.errors.push(error),
        ...changes,
      },
      {
        handshakeTimeoutMs: 10_000,
        stallMs: 30_000,
        maxBufferedBytes: null,
        maxAnswerBytes: null,
        answerStallMs: 1_000,
        maxCalls: 10_000,
        ...limits,
      },
    );
    this.#transports.push(transport);
    return transport;
  }

  client(
    transport: RpcTransport,
    options: ClientOptions = {},
    channel: ReturnType<typeof credentials.createSsl> = credentials.createInsecure(),
  ): Client {
    const client = new Client(`localhost:${transport.port}`, channel, {
      'grpc.max_receive_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** A raw HTTP/2 connection. */
  connect(transport: RpcTransport): ClientHttp2Session {
    const session = connect(`http://127.0.0.1:${transport.port}`);
    session.on('error', () => {});
    this.#sessions.push(session);
    return session;
  }

  /** Resolves when the condition holds; looked at after each event. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#onEvent.push(resolve));
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const session of this.#sessions) session.destroy();
    for (const transport of this.#transports) await transport.close();
  }

  event(what: string): void {
    this.events.push(what);
    const waiting = this.#onEvent;
    this.#onEvent = [];
    for (const resolve of waiting) resolve();
  }

  #methods(): RpcMethod[] {
    const unary = (name: string, handle: (call: UnaryCall) => void): RpcMethod => ({ kind: 'unary', path: `/test.Test/${name}`, handle });
    const stream = (name: string, open: (call: StreamCall) => void): RpcMethod => ({ kind: 'stream', path: `/test.Test/${name}`, open });
    const echo = (compress: boolean) => (call: StreamCall) => {
      call.listener = {
        onMessage: (message) => {
          if (!call.send(message, compress)) call.pause();
        },
        onHalfClose: () => call.end(),
        onDrain: () => call.resume(),
      };
    };
    return [
      unary('Echo', (call) => call.respond(call.message)),
      unary('CopyLater', (call) => {
        const { message } = call;
        setImmediate(() => {
          const answer = call.allocate(message.length);
          answer.set(message);
          call.respond(answer.subarray(0, message.length));
        });
      }),
      unary('EchoCompressed', (call) => call.respond(call.message, true)),
      unary('Twice', (call) => {
        call.respond(Buffer.from('first'));
        call.respond(Buffer.from('second'));
        call.fail(new InferenceError('INTERNAL', 'third'));
      }),
      unary('Throws', () => {
        throw new Error('secret detail');
      }),
      unary('Fail', (call) => {
        const { code, message, retryAfterSeconds } = JSON.parse(Buffer.from(call.message).toString()) as {
          code: StatusCode;
          message: string;
          retryAfterSeconds?: number;
        };
        call.fail(new InferenceError(code, message, retryAfterSeconds === undefined ? {} : { retryAfterSeconds }));
      }),
      unary('Metadata', (call) => {
        const left = call.deadlineMs - performance.now();
        call.respond(Buffer.from(JSON.stringify([call.metadata('x-test'), call.metadata('x-none'), Math.ceil(left / 1000)])));
      }),
      unary('Big', (call) => call.respond(Buffer.alloc(Number(Buffer.from(call.message).toString()), 'x'))),
      unary('Hold', (call) => {
        this.held.push(call);
        call.cancelListener = { onRpcCancelled: () => this.event(`cancelled ${call.isCancelled}`) };
        this.event('held');
      }),
      stream('StreamEcho', echo(false)),
      stream('StreamEchoCompressed', echo(true)),
      stream('StreamThrows', () => {
        throw new Error('secret detail');
      }),
      stream('StreamHold', (call) => {
        this.streams.push(call);
        call.listener = {
          onMessage: (message) => {
            if (Buffer.from(message).toString() === 'throw') throw new Error('secret detail');
            this.event(`message ${message.length > 32 ? message.length : Buffer.from(message).toString()}`);
          },
          onHalfClose: () => this.event('half-close'),
          onDrain: () => this.event('drain'),
        };
        call.cancelListener = { onRpcCancelled: () => this.event(`cancelled ${call.isCancelled}`) };
        this.event('open');
      }),
    ];
  }
}

/** One unary call of a grpc-js client; rejects with its ServiceError. */
export function callUnary(
  client: Client,
  name: string,
  message: Uint8Array | string,
  metadata?: Metadata,
  options: { deadline?: number } = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, answer?: Buffer): void => (error === null ? resolve(answer!) : reject(error));
    const same = (bytes: Buffer): Buffer => bytes;
    if (metadata === undefined) client.makeUnaryRequest(`/test.Test/${name}`, same, same, Buffer.from(message), options, done);
    else client.makeUnaryRequest(`/test.Test/${name}`, same, same, Buffer.from(message), metadata, options, done);
  });
}

export function openRaw(session: ClientHttp2Session, path: string, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  return session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers });
}

/** Resolves when the stream is closed, however. */
export function rawAnswer(stream: ClientHttp2Stream): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let headers: OutgoingHttpHeaders = {};
    let trailers: OutgoingHttpHeaders = {};
    const pieces: Buffer[] = [];
    stream.on('response', (received) => (headers = received));
    stream.on('trailers', (received) => (trailers = received));
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('error', () => {});
    stream.on('close', () =>
      resolve({
        headers,
        trailers: headers['grpc-status'] === undefined ? trailers : headers,
        body: Buffer.concat(pieces),
        resetCode: stream.rstCode ?? constants.NGHTTP2_NO_ERROR,
      }),
    );
  });
}

/** One raw call with this body. */
export function callRaw(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array,
  headers: OutgoingHttpHeaders = {},
): Promise<RawAnswer> {
  const stream = openRaw(session, path, headers);
  const answer = rawAnswer(stream);
  stream.end(body);
  return answer;
}
