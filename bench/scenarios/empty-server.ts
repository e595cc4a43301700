/**
 * The control of the HTTP and WebSocket rows: uWebSockets.js or node:http themselves, with nothing between socket and answer. The first request goes on to a real server, and its answer is the answer to
 * all. `empty-server.js uws|node|websocket PORT UPSTREAM-PORT`
 */

import { createServer } from 'node:http';
import { EmptyWebSocket } from './empty-web-socket.ts';
import { HttpRecorder, type RecordedAnswer } from './http-recorder.ts';

/** The part of uWebSockets.js that is used here. */
interface UwsResponse {
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): void;
  onAborted(handler: () => void): void;
  cork(write: () => void): void;
  writeHeader(name: string, value: string): void;
  end(body: Uint8Array): void;
}
interface UwsRequest {
  getUrl(): string;
  getHeader(name: string): string;
}
interface UwsSocket {
  send(message: Uint8Array, isBinary: boolean): number;
}
interface UwsApp {
  post(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): void;
  ws(pattern: string, behavior: object): void;
  listen(host: string, port: number, listening: (socket: unknown) => void): void;
}

const [stack, port, upstreamPort] = process.argv.slice(2);
const upstream = Number(upstreamPort);

function listening(socket: unknown): void {
  if (!socket) throw new Error(`cannot listen on port ${port}`);
}

async function uwsApp(): Promise<UwsApp> {
  const name = 'uWebSockets.js';
  const module = (await import(name)) as { default: { App(): UwsApp } };
  return module.default.App();
}

/** Every request's body is read to its end, and not looked at once the answer is known. */
async function serveUws(): Promise<void> {
  const recorder = new HttpRecorder(upstream);
  const app = await uwsApp();
  const write = (response: UwsResponse, answer: RecordedAnswer): void =>
    response.cork(() => {
      for (let i = 0; i < answer.headers.length; i += 2) response.writeHeader(answer.headers[i]!, answer.headers[i + 1]!);
      response.end(answer.body);
    });
  app.post('/*', (response, request) => {
    const answer = recorder.answer;
    if (answer !== null) {
      response.onAborted(() => {});
      response.onData((_, isLast) => {
        if (isLast) write(response, answer);
      });
      return;
    }
    const [path, type, headerLength] = [
      request.getUrl(),
      request.getHeader('content-type'),
      request.getHeader('inference-header-content-length'),
    ];
    const chunks: Buffer[] = [];
    let isGone = false;
    response.onAborted(() => {
      isGone = true;
    });
    response.onData((chunk, isLast) => {
      chunks.push(Buffer.from(new Uint8Array(chunk)));
      if (!isLast) return;
      void recorder.ask(path, type, headerLength, Buffer.concat(chunks)).then((first) => {
        if (!isGone) write(response, first);
      });
    });
  });
  app.listen('127.0.0.1', Number(port), listening);
}

function serveNode(): void {
  const recorder = new HttpRecorder(upstream);
  const server = createServer((request, response) => {
    const answer = recorder.answer;
    if (answer !== null) {
      request.resume();
      request.once('end', () => {
        response.writeHead(200, answer.headersWithLength);
        response.end(answer.body);
      });
      return;
    }
    const { 'content-type': type = '', 'inference-header-content-length': headerLength = '' } = request.headers;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      void recorder.ask(request.url!, type, String(headerLength), Buffer.concat(chunks)).then((first) => {
        response.writeHead(200, first.headersWithLength);
        response.end(first.body);
      });
    });
  });
  server.keepAliveTimeout = 75_000;
  server.listen(Number(port), '127.0.0.1');
}

/** Messages go on to the real server until it has answered one. */
async function serveWebSocket(): Promise<void> {
  const empty = await EmptyWebSocket.connect(upstream);
  const app = await uwsApp();
  app.ws('/*', {
    maxPayloadLength: 64 * 2 ** 20,
    maxBackpressure: 0,
    idleTimeout: 960,
    message: (socket: UwsSocket, message: ArrayBuffer, isBinary: boolean) =>
      empty.answer(Buffer.from(message), isBinary, (answer, isBinaryAnswer) => socket.send(answer, isBinaryAnswer)),
  });
  app.listen('127.0.0.1', Number(port), listening);
}

if (stack === 'websocket') await serveWebSocket();
else if (stack === 'node') serveNode();
else await serveUws();
