/** @hotpath the generate extension over REST: one call object per request, one write per response */

import { INFERENCE_TIMEOUT_MS, JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { HttpAbortListener, HttpDrainListener, HttpExchange, HttpRoute, HttpStream } from '../../transports/http-exchange.ts';
import { OneResponse, type OneResponseRefusal } from '../one-response.ts';
import type { ProtocolContext } from '../protocol.ts';
import { readTimeoutHeader } from '../request-timeout.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { decodeGenerateRequest } from './generate-request.ts';
import { GenerateEncoder, releaseGenerateEncoder } from './generate-response.ts';
import { encodeErrorBody, respondError } from './status.ts';

const JSON_HEADERS: readonly string[] = ['content-type', JSON_CONTENT_TYPE];
/** Proxies such as nginx would keep events back. */
const EVENT_HEADERS: readonly string[] = [
  'content-type',
  'text/event-stream; charset=utf-8',
  'cache-control',
  'no-cache',
  'x-accel-buffering',
  'no',
];

const ONE_RESPONSE: OneResponseRefusal = {
  code: 'INVALID_ARGUMENT',
  message: (modelName, got) =>
    `generate expects model to produce exactly 1 response, use generate stream for model that generates various number of responses: model '${modelName}' gave ${got}`,
};

/** For decoupled models and for all others. Bodies and answers are never compressed. */
export function generateRoutes(context: ProtocolContext): HttpRoute[] {
  const routes: HttpRoute[] = [];
  for (const name of ['generate', 'generate_stream'] as const) {
    const isStream = name === 'generate_stream';
    const handle = (exchange: HttpExchange): void => handleGenerate(exchange, context, isStream);
    for (const version of ['', '/versions/{version}']) {
      const pattern = `/v2/models/{model}${version}/${name}`;
      routes.push({ method: 'POST', pattern, requestHeaders: [INFERENCE_TIMEOUT_MS], allowContentCoding: false, handle });
    }
  }
  return routes;
}

function handleGenerate(exchange: HttpExchange, context: ProtocolContext, isStream: boolean): void {
  try {
    const deadlineNs = context.door.deadlineAfter(readTimeoutHeader(exchange.header(INFERENCE_TIMEOUT_MS)));
    const routed = context.door.route(exchange.params[0]!, exchange.params[1] ?? '');
    if (routed instanceof Promise) new WaitingGenerateCall(exchange, context, deadlineNs, isStream).wait(routed);
    else generate(exchange, routed, context, deadlineNs, isStream);
  } catch (error) {
    refuse(exchange, context, error);
  }
}

function generate(exchange: HttpExchange, model: Model, context: ProtocolContext, deadlineNs: number, isStream: boolean): void {
  const call = isStream ? new GenerateStreamCall(exchange, context) : new GenerateCall(exchange, context);
  const caller = model.isDecoupled && !isStream ? new OneResponse(call, ONE_RESPONSE) : call;
  const request = decodeGenerateRequest(exchange.body, model.signature, caller);
  request.deadlineNs = deadlineNs;
  call.start(request, model);
}

function refuse(exchange: HttpExchange, context: ProtocolContext, error: unknown): void {
  context.reportFault(error);
  const refusal = InferenceError.from(error);
  context.door.refused(exchange.params[0]!, refusal);
  respondError(exchange, refusal);
}

/** A call whose model is being loaded. */
class WaitingGenerateCall implements RoutedCall, HttpAbortListener {
  readonly #exchange: HttpExchange;
  readonly #context: ProtocolContext;
  readonly #deadlineNs: number;
  readonly #isStream: boolean;
  #wait: RouteWait | null = null;

  constructor(exchange: HttpExchange, context: ProtocolContext, deadlineNs: number, isStream: boolean) {
    this.#exchange = exchange;
    this.#context = context;
    this.#deadlineNs = deadlineNs;
    this.#isStream = isStream;
  }

  wait(routed: Waiting<Model>): void {
    this.#wait = RouteWait.start(this.#context, routed, this.#exchange.body.length, this, this.#deadlineNs);
    this.#exchange.abortListener = this;
  }

  onRouted(model: Model): void {
    this.#exchange.abortListener = null;
    if (!this.#exchange.isAborted) generate(this.#exchange, model, this.#context, this.#deadlineNs, this.#isStream);
  }

  onRouteFailed(error: unknown): void {
    refuse(this.#exchange, this.#context, error);
  }

  onExchangeAborted(): void {
    this.#wait?.cancel();
  }
}

abstract class AnyGenerateCall implements InferenceCaller, HttpAbortListener {
  protected readonly exchange: HttpExchange;
  protected readonly context: ProtocolContext;
  protected encoder!: GenerateEncoder;
  protected request: InferenceRequest | null = null;

  constructor(exchange: HttpExchange, context: ProtocolContext) {
    this.exchange = exchange;
    this.context = context;
  }

  start(request: InferenceRequest, model: Model): void {
    this.request = request;
    this.encoder = new GenerateEncoder(model.signature, request.id);
    this.exchange.abortListener = this;
    this.context.door.infer(request, model);
  }

  abstract onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void;
  abstract onComplete(): void;
  abstract onError(request: InferenceRequest, error: InferenceError): void;

  onExchangeAborted(): void {
    this.request?.cancel();
  }
}

/** `generate`: one response, one JSON object. */
class GenerateCall extends AnyGenerateCall {
  onResponse(_request: InferenceRequest, response: InferenceResponse): void {
    try {
      this.exchange.respond(200, JSON_HEADERS, this.encoder.json(response));
    } catch (error) {
      // An output that JSON cannot carry is this caller's answer and nobody else's.
      this.context.reportFault(error);
      respondError(this.exchange, InferenceError.from(error));
    } finally {
      releaseGenerateEncoder();
    }
  }

  onComplete(): void {
    throw new Error('a generate call was given the end of a decoupled model');
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.context.reportFault(error);
    respondError(this.exchange, error);
  }
}

/** `generate_stream`: each response an event. What fails before the first of them is answered as any other call. */
class GenerateStreamCall extends AnyGenerateCall implements HttpDrainListener {
  #stream: HttpStream | null = null;
  #isOver = false;

  onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    if (this.#isOver) return;
    let event: Uint8Array;
    try {
      event = this.encoder.event(response);
    } catch (error) {
      releaseGenerateEncoder();
      // First the reason: the cancel ends the request before it returns.
      this.onError(request, InferenceError.from(error));
      request.cancel();
      return;
    }
    const stream = this.#open();
    if (!stream.write(event)) request.pauseResponses();
    releaseGenerateEncoder();
    if (isFinal) this.onComplete();
  }

  onComplete(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#open().end();
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.context.reportFault(error);
    if (this.#stream === null) {
      respondError(this.exchange, error);
      return;
    }
    this.#stream.write(`data: ${encodeErrorBody(error.message)}\n\n`);
    this.#stream.end();
  }

  onStreamDrained(): void {
    this.request?.resumeResponses();
  }

  #open(): HttpStream {
    if (this.#stream !== null) return this.#stream;
    const stream = this.exchange.startStream(200, EVENT_HEADERS);
    stream.drainListener = this;
    this.#stream = stream;
    return stream;
  }
}
