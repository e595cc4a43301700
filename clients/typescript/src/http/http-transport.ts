import {
  ACCEPT_ENCODING,
  BINARY_CONTENT_TYPE,
  CONTENT_ENCODING,
  CONTENT_TYPE,
  INFERENCE_HEADER_CONTENT_LENGTH,
  INFERENCE_TIMEOUT_MS,
  JSON_CONTENT_TYPE,
} from '../../../../proto/headers.ts';
import { InferenceError } from '../../../../proto/inference-error.ts';
import { leftMs } from '../call-scope.ts';
import { decodeV2Response } from '../decode-v2-response.ts';
import { encodeV2Request } from '../encode-v2-request.ts';
import { errorFromHttp } from '../http-status.ts';
import { malformedAnswer } from '../infer-result.ts';
import type { CallContext, InferRequest, InferResponse, Transport, TransportOptions } from '../transport.ts';
import { HttpControl } from './http-control.ts';
import { HttpSession } from './http-session.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The REST form of the Open Inference Protocol, over `fetch`: Node and browsers. */
export class HttpTransport extends HttpControl implements Transport {
  readonly name = 'HTTP';
  readonly #session: HttpSession;
  readonly #gzip: boolean;

  constructor(session: HttpSession, gzip: boolean) {
    super(session);
    this.#session = session;
    this.#gzip = gzip;
  }

  async infer(request: InferRequest, call: CallContext): Promise<InferResponse> {
    const { header, tail } = encodeV2Request(request);
    const version = request.modelVersion === '' ? '' : `/versions/${encodeURIComponent(request.modelVersion)}`;
    const headers: Record<string, string> = { [CONTENT_TYPE]: tail.length > 0 ? BINARY_CONTENT_TYPE : JSON_CONTENT_TYPE };
    if (tail.length > 0) headers[INFERENCE_HEADER_CONTENT_LENGTH] = String(header.length);
    let body = tail.length > 0 ? join([header, ...tail]) : header;
    if (this.#gzip) {
      headers[CONTENT_ENCODING] = 'gzip';
      body = await gzip(body);
    }
    const timeoutMs = leftMs(call);
    if (timeoutMs > 0) headers[INFERENCE_TIMEOUT_MS] = String(timeoutMs);
    // Without this word Node's fetch asks for compression, which costs both sides more than it saves on tensors. Browsers have their own.
    headers[ACCEPT_ENCODING] = this.#gzip ? 'gzip' : 'identity';
    const answer = await this.#session.request(
      'POST',
      `/v2/models/${encodeURIComponent(request.modelName)}${version}/infer`,
      call,
      headers,
      body,
    );
    if (answer.status !== 200) throw errorFromHttp(answer.status, answer.text(), answer.headers.get('retry-after'), 'infer');
    return decodeInferAnswer(answer.body, answer.headers.get(INFERENCE_HEADER_CONTENT_LENGTH));
  }

  stream(): AsyncIterableIterator<InferResponse> {
    throw new InferenceError(
      'UNIMPLEMENTED',
      'a model that streams its responses is served over gRPC and WebSocket: connect to grpc://, grpcs://, ws:// or wss:// in place of http://',
    );
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

function decodeInferAnswer(body: Uint8Array, headerLength: string | null): InferResponse {
  let jsonBytes = body.length;
  if (headerLength !== null) {
    jsonBytes = Number(headerLength);
    if (!Number.isSafeInteger(jsonBytes) || jsonBytes < 0 || jsonBytes > body.length) {
      throw malformedAnswer(`${INFERENCE_HEADER_CONTENT_LENGTH} is ${headerLength}, and the body has ${body.length} bytes`);
    }
  }
  let text: string;
  try {
    text = utf8.decode(body.subarray(0, jsonBytes));
  } catch (error) {
    throw malformedAnswer('its JSON is not UTF-8: BYTES that are no text come whole without { json: true }', error);
  }
  return decodeV2Response(text, body.subarray(jsonBytes));
}

function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

async function gzip(body: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** See CreateTransport. */
export function createTransport(url: URL, options: TransportOptions): HttpTransport {
  if (options.tls !== null) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      'tls: fetch takes no certificates: set NODE_EXTRA_CA_CERTS, or give `fetch`, one that has them; or connect to grpcs://',
    );
  }
  if (options.compression === 'gzip' && typeof CompressionStream === 'undefined') {
    throw new InferenceError('UNIMPLEMENTED', "compression: 'gzip' needs CompressionStream, which this runtime does not have");
  }
  return new HttpTransport(new HttpSession(url, options.fetch ?? globalThis.fetch), options.compression === 'gzip');
}
