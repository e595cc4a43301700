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
import { CallError } from '../call-error.ts';
import { leftMs } from '../call-scope.ts';
import { decodeV2Response } from '../decode-v2-response.ts';
import { encodeV2Request } from '../encode-v2-request.ts';
import type { GenerateRequest, GenerateResponse } from '../generate.ts';
import { errorFromHttp } from '../http-status.ts';
import { malformedAnswer } from '../infer-result.ts';
import { parseExactJson } from '../parse-exact-json.ts';
import type { CallContext, InferRequest, InferResponse, Transport, TransportOptions } from '../transport.ts';
import { readEvents } from './event-stream.ts';
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

  async generate(request: GenerateRequest, call: CallContext): Promise<GenerateResponse> {
    const answer = await this.#session.request('POST', generatePath(request, 'generate'), call, generateHeaders(call), request.body);
    if (answer.status !== 200) throw errorFromHttp(answer.status, answer.text(), answer.headers.get('retry-after'), 'generate');
    return generated(answer.text());
  }

  async *generateStream(request: GenerateRequest, call: CallContext): AsyncGenerator<GenerateResponse, void, undefined> {
    const path = generatePath(request, 'generate_stream');
    const open = await this.#session.open('POST', path, call, generateHeaders(call), request.body);
    let isWhole = false;
    try {
      const { response } = open;
      if (response.status !== 200) {
        throw errorFromHttp(response.status, await response.text(), response.headers.get('retry-after'), 'generate_stream');
      }
      // Not every browser's stream can be iterated over.
      for await (const event of readEvents(chunksOf(response))) yield generated(event);
      isWhole = true;
    } catch (error) {
      throw open.explain(error);
    } finally {
      if (!isWhole) open.abort();
      open.close();
    }
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

function generatePath({ modelName, modelVersion }: GenerateRequest, method: string): string {
  return `/v2/models/${encodeURIComponent(modelName)}${modelVersion === '' ? '' : `/versions/${encodeURIComponent(modelVersion)}`}/${method}`;
}

function generateHeaders(call: CallContext): Record<string, string> {
  const headers: Record<string, string> = { [CONTENT_TYPE]: JSON_CONTENT_TYPE };
  const timeoutMs = leftMs(call);
  if (timeoutMs > 0) headers[INFERENCE_TIMEOUT_MS] = String(timeoutMs);
  return headers;
}

/** One response; an error that came after others is thrown. */
function generated(text: string): GenerateResponse {
  const json = parseExactJson(text);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformedAnswer('expected an object');
  const response = json as GenerateResponse;
  const { error } = response;
  // A model may have an output of this name, but its response has the model's name too.
  if (typeof error === 'string' && response['model_name'] === undefined) throw new CallError('UNKNOWN', error, { phase: 'answered' });
  return response;
}

async function* chunksOf(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  for (let step = await reader.read(); !step.done; step = await reader.read()) yield step.value;
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
