/**
 * The control of the gRPC rows: node:http2 itself, with no more than gRPC's framing between stream and answer. The first call goes on to a real server, and its message is the answer to all, unary calls and
 * messages of streams alike. `empty-http2-grpc-server.js PORT UPSTREAM-PORT`
 */

import { createServer, type ServerHttp2Stream } from 'node:http2';
import { GrpcRecorder } from './grpc-recorder.ts';

/** As large as the windows of the server that is measured, or larger: they must not be what differs. */
const STREAM_WINDOW_BYTES = 8 * 2 ** 20;
const SESSION_WINDOW_BYTES = 32 * 2 ** 20;
const FRAMING_BYTES = 5;
const STREAM_CALL = '/inference.GRPCInferenceService/ModelStreamInfer';

const [port, upstreamPort] = process.argv.slice(2).map(Number);
const recorder = new GrpcRecorder(upstreamPort!);
const head = { ':status': 200, 'content-type': 'application/grpc' };
const trailers = { 'grpc-status': '0' };
const waitForTrailers = { waitForTrailers: true };
const server = createServer({
  settings: { initialWindowSize: STREAM_WINDOW_BYTES, maxConcurrentStreams: 4096, maxFrameSize: 2 ** 20 },
  maxSessionMemory: 1000,
});
server.on('session', (session) => session.setLocalWindowSize(SESSION_WINDOW_BYTES));

/** The whole message is read and, once an answer is known, not looked at. */
function answerUnary(stream: ServerHttp2Stream, path: string): void {
  const answer = recorder.answerTo(path);
  const respond = (framed: Buffer): void => {
    stream.respond(head, waitForTrailers);
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.end(framed);
  };
  if (answer !== null) {
    stream.resume();
    stream.on('end', () => respond(answer));
    return;
  }
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => {
    void recorder.ask(path, Buffer.concat(chunks)).then((first) => {
      if (!stream.destroyed) respond(first);
    });
  });
}

/** One answer for each message. */
function answerStream(stream: ServerHttp2Stream, path: string): void {
  stream.respond(head, waitForTrailers);
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  let rest: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (rest.length - at >= FRAMING_BYTES) {
      const end = at + FRAMING_BYTES + rest.readUInt32BE(at + 1);
      if (end > rest.length) break;
      const answer = recorder.answerTo(path);
      if (answer !== null) stream.write(answer);
      else void recorder.ask(path, Buffer.from(rest.subarray(at, end))).then((first) => stream.write(first));
      at = end;
    }
    rest = rest.subarray(at);
  });
  stream.on('end', () => stream.end());
}

server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const path = headers[':path']!;
  if (path === STREAM_CALL) answerStream(stream, path);
  else answerUnary(stream, path);
});
server.on('sessionError', () => {});
server.listen(port, '127.0.0.1');
