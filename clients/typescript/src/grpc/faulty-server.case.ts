/** An HTTP/2 server that answers gRPC calls as a test tells it, right or wrong. */

import { readFileSync } from 'node:fs';
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const fixture = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../../../../server/transports/fixtures/${name}`, import.meta.url)));
export const CERTIFICATE: Buffer = fixture('localhost.cert.pem');
export const KEY: Buffer = fixture('localhost.key.pem');

export class ReceivedCall {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  /** The request's frame, without its head of 5 bytes. */
  readonly message: Buffer;
  readonly isCompressed: boolean;
  readonly stream: ServerHttp2Stream;
  /** Resolves with the HTTP/2 error code, 0 for a call that ended as it should. */
  readonly closed: Promise<number>;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, body: Buffer) {
    this.stream = stream;
    this.headers = headers;
    this.method = String(headers[':path']).split('/').at(-1)!;
    this.message = body.subarray(5);
    this.isCompressed = body[0] === 1;
    this.closed = new Promise((resolve) => stream.once('close', () => resolve(stream.rstCode)));
  }

  /** Headers, if they are not sent, and messages. */
  send(...messages: readonly Uint8Array[]): this {
    if (!this.stream.headersSent) {
      this.stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
    }
    for (const message of messages) this.stream.write(frame(message));
    return this;
  }

  /** The status, behind messages or alone. */
  end(status: number, message = '', extra: Readonly<Record<string, string>> = {}): void {
    const trailers = { 'grpc-status': String(status), 'grpc-message': encodeURI(message), ...extra };
    if (!this.stream.headersSent) {
      this.stream.respond({ 'content-type': 'application/grpc', ...trailers }, { endStream: true });
      return;
    }
    this.stream.once('wantTrailers', () => this.stream.sendTrailers(trailers));
    this.stream.end();
  }

  reset(code: number): void {
    this.stream.close(code);
  }

  /** The connection, at once. */
  cut(): void {
    this.stream.session!.destroy();
  }
}

export function frame(message: Uint8Array, isCompressed = false): Buffer {
  const head = Buffer.alloc(5);
  head[0] = isCompressed ? 1 : 0;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

export class FaultyServer {
  readonly port: number;
  readonly calls: ReceivedCall[] = [];
  readonly #server: Http2Server;
  readonly #sessions: Set<ServerHttp2Session> = new Set();
  #onSessionEnd: (() => void) | null = null;

  private constructor(server: Http2Server, answer: (call: ReceivedCall) => void) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('error', () => {});
      session.once('close', () => {
        this.#sessions.delete(session);
        this.#onSessionEnd?.();
      });
    });
    server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('error', () => {});
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.once('end', () => {
        const call = new ReceivedCall(stream, headers, Buffer.concat(chunks));
        this.calls.push(call);
        answer(call);
      });
    });
  }

  static async start(
    answer: (call: ReceivedCall) => void,
    options: { port?: number; tls?: 'server' | 'mutual' } = {},
  ): Promise<FaultyServer> {
    const tls = { cert: CERTIFICATE, key: KEY, ca: CERTIFICATE, requestCert: options.tls === 'mutual', rejectUnauthorized: true };
    const server = options.tls === undefined ? createServer() : createSecureServer(tls);
    await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
    return new FaultyServer(server, answer);
  }

  /** Resolves when no connection is open. */
  async idle(): Promise<void> {
    while (this.#sessions.size > 0) await new Promise<void>((resolve) => (this.#onSessionEnd = resolve));
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const session of this.#sessions) session.destroy();
    await closed;
  }
}

export const REFUSED_STREAM: number = constants.NGHTTP2_REFUSED_STREAM;
export const CANCEL: number = constants.NGHTTP2_CANCEL;
