import { type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders, type SecureClientSessionOptions } from 'node:http2';
import { InferenceError, type StatusCode } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import { grpcStatusText } from '../outcome-of-status.ts';
import { decodeGrpcMessage, statusCodeOf, statusCodeOfHttp } from './grpc-status.ts';
import { frameMessage, PREFIX_BYTES } from './message-prefix.ts';
import { authorityOf, requestMetadata } from './request-metadata.ts';

/** Statistics of a server with thousands of models are a few MB. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** What is known of an answer, beside its bytes; grpc-status and grpc-message come with it or behind it. */
type AnswerHeaders = IncomingHttpHeaders;

/**
 * One unary call over a connection of its own: for control calls, beside the load. `path`: `/inference.GRPCInferenceService/ServerMetadata`; the target's base path is put in
 * front. `message`: the encoded request. Gives the encoded answer. Throws an InferenceError: what the server said with its code, UNAVAILABLE where it cannot be reached,
 * DEADLINE_EXCEEDED after `timeoutMs`, INTERNAL where what answers does not speak gRPC.
 *
 * Source: gRPC over HTTP/2.
 */
export async function callUnary(target: LoadTarget, path: string, message: Uint8Array, timeoutMs: number): Promise<Buffer> {
  const authority = authorityOf(target);
  const headers = { ':method': 'POST', ':path': target.basePath + path, ...requestMetadata(target) };
  const session = connect(`${target.tls === null ? 'http' : 'https'}://${authority}`, tlsOptions(target));
  let timer: NodeJS.Timeout | null = null;
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const late = `${authority} did not answer ${path} within ${timeoutMs} ms`;
      timer = setTimeout(() => reject(new InferenceError('DEADLINE_EXCEEDED', late)), timeoutMs);
      session.on('error', (error) => reject(unreachable(authority, error)));
      session.once('close', () => reject(unreachable(authority, new Error('the connection was closed'))));
      const stream = session.request(headers);
      stream.end(frameMessage(message));
      readAnswer(stream, authority, resolve, reject);
    });
  } finally {
    if (timer !== null) clearTimeout(timer);
    session.destroy();
  }
}

function readAnswer(
  stream: ClientHttp2Stream,
  authority: string,
  resolve: (message: Buffer) => void,
  reject: (error: InferenceError) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let seen: AnswerHeaders = {};
  stream.on('response', (headers) => {
    seen = headers;
  });
  stream.on('trailers', (trailers) => {
    seen = { ...seen, ...trailers };
  });
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= MAX_ANSWER_BYTES) chunks.push(chunk);
    else reject(new InferenceError('RESOURCE_EXHAUSTED', `${authority}: expected an answer of at most ${MAX_ANSWER_BYTES} bytes`));
  });
  stream.once('error', (error) => reject(unreachable(authority, error)));
  stream.once('end', () => {
    const error = failureOf(seen, authority);
    if (error !== null) reject(error);
    else takeMessage(Buffer.concat(chunks), authority, resolve, reject);
  });
}

function takeMessage(body: Buffer, authority: string, resolve: (message: Buffer) => void, reject: (error: InferenceError) => void): void {
  const length = body.length < PREFIX_BYTES ? -1 : body.readUInt32BE(1);
  if (length === body.length - PREFIX_BYTES && body[0] === 0) {
    resolve(body.subarray(PREFIX_BYTES));
    return;
  }
  const what =
    body.length === 0
      ? 'status OK without a message'
      : body[0] === 1
        ? 'a compressed message, which was not asked for'
        : 'no whole message';
  reject(new InferenceError('INTERNAL', `${authority}: expected one message, got ${what}`));
}

/** null: status OK. */
function failureOf(seen: AnswerHeaders, authority: string): InferenceError | null {
  const httpStatus = Number(seen[constants.HTTP2_HEADER_STATUS] ?? 0);
  const status = seen['grpc-status'];
  if (status === undefined) {
    const text = `${authority}: expected a gRPC answer, got HTTP ${httpStatus} (${String(seen['content-type'] ?? 'no content type')}): is this the gRPC port?`;
    return new InferenceError(statusCodeOfHttp(httpStatus), text);
  }
  if (status === '0') return null;
  const text = decodeGrpcMessage(String(seen['grpc-message'] ?? ''));
  return new InferenceError(statusCodeOf(Number(status)), text === '' ? `${authority} answered ${grpcStatusText(Number(status))}` : text);
}

function unreachable(authority: string, error: Error & { code?: string }): InferenceError {
  // What speaks HTTP/1.1 breaks the rules of HTTP/2 with its first byte.
  const isForeign = error.code === 'ERR_HTTP2_ERROR' || error.code === 'ERR_HTTP2_SESSION_ERROR';
  const code: StatusCode = isForeign ? 'INTERNAL' : 'UNAVAILABLE';
  return new InferenceError(
    code,
    `${authority} ${isForeign ? 'does not speak gRPC: is this the gRPC port?' : 'cannot be reached:'} (${error.message})`,
    {
      cause: error,
    },
  );
}

function tlsOptions({ tls }: LoadTarget): SecureClientSessionOptions {
  const settings = { enablePush: false };
  if (tls === null) return { settings };
  return {
    settings,
    rejectUnauthorized: tls.verify,
    ...(tls.ca === '' ? {} : { ca: tls.ca }),
    ...(tls.cert === '' ? {} : { cert: tls.cert, key: tls.key }),
  };
}
