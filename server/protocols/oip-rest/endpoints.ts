/** @hotpath the REST form of the Open Inference Protocol: one RestInferCall per inference request */

import { ACCEPT_ENCODING, CONTENT_ENCODING, INFERENCE_HEADER_CONTENT_LENGTH, INFERENCE_TIMEOUT_MS } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceDoor } from '../../data-plane/infer.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { HttpAbortListener, HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import { decodeInferRequest } from '../oip-json/decode-request.ts';
import { OneResponse, UNARY_REFUSAL } from '../one-response.ts';
import type { ProtocolContext } from '../protocol.ts';
import { readTimeoutHeader } from '../request-timeout.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { controlRoutes } from './control.ts';
import { generateRoutes } from './generate.ts';
import { respondInference } from './respond-inference.ts';
import { respondError } from './status.ts';

const INFER_HEADERS: readonly string[] = [INFERENCE_HEADER_CONTENT_LENGTH, INFERENCE_TIMEOUT_MS, CONTENT_ENCODING, ACCEPT_ENCODING];

export function oipRestRoutes(context: ProtocolContext): HttpRoute[] {
  const handle = (exchange: HttpExchange): void => handleInfer(exchange, context);
  return [
    ...['/v2/models/{model}/infer', '/v2/models/{model}/versions/{version}/infer'].map(
      (pattern): HttpRoute => ({ method: 'POST', pattern, requestHeaders: INFER_HEADERS, allowContentCoding: true, handle }),
    ),
    ...generateRoutes(context),
    ...controlRoutes(context),
  ];
}

function handleInfer(exchange: HttpExchange, context: ProtocolContext): void {
  try {
    const deadlineNs = context.door.deadlineAfter(readTimeoutHeader(exchange.header(INFERENCE_TIMEOUT_MS)));
    const routed = context.door.routeUnary(exchange.params[0]!, exchange.params[1] ?? '');
    if (routed instanceof Promise) new WaitingRestCall(exchange, context, deadlineNs).wait(routed);
    else infer(exchange, routed, context, deadlineNs);
  } catch (error) {
    refuse(exchange, context, error);
  }
}

function infer(exchange: HttpExchange, model: Model, context: ProtocolContext, deadlineNs: number): void {
  const call = new RestInferCall(exchange, model, context);
  const caller = model.isDecoupled ? new OneResponse(call, UNARY_REFUSAL) : call;
  const request = decodeInferRequest(exchange.body, exchange.header(INFERENCE_HEADER_CONTENT_LENGTH), model.signature, caller);
  request.deadlineNs = deadlineNs;
  call.start(request, context.door);
}

function refuse(exchange: HttpExchange, context: ProtocolContext, error: unknown): void {
  context.reportFault(error);
  const refusal = InferenceError.from(error);
  context.door.refused(exchange.params[0]!, refusal);
  respondError(exchange, refusal);
}

/** An infer call whose model is being loaded. */
class WaitingRestCall implements RoutedCall, HttpAbortListener {
  readonly #exchange: HttpExchange;
  readonly #context: ProtocolContext;
  readonly #deadlineNs: number;
  #wait: RouteWait | null = null;

  constructor(exchange: HttpExchange, context: ProtocolContext, deadlineNs: number) {
    this.#exchange = exchange;
    this.#context = context;
    this.#deadlineNs = deadlineNs;
  }

  wait(routed: Waiting<Model>): void {
    this.#wait = RouteWait.start(this.#context, routed, this.#exchange.body.length, this, this.#deadlineNs);
    this.#exchange.abortListener = this;
  }

  onRouted(model: Model): void {
    this.#exchange.abortListener = null;
    if (!this.#exchange.isAborted) infer(this.#exchange, model, this.#context, this.#deadlineNs);
  }

  onRouteFailed(error: unknown): void {
    refuse(this.#exchange, this.#context, error);
  }

  onExchangeAborted(): void {
    this.#wait?.cancel();
  }
}

/** One infer call over REST, from its decoded request to its answer. */
class RestInferCall implements InferenceCaller, HttpAbortListener {
  readonly #exchange: HttpExchange;
  readonly #model: Model;
  readonly #context: ProtocolContext;
  #request: InferenceRequest | null = null;

  constructor(exchange: HttpExchange, model: Model, context: ProtocolContext) {
    this.#exchange = exchange;
    this.#model = model;
    this.#context = context;
  }

  start(request: InferenceRequest, door: InferenceDoor): void {
    this.#request = request;
    this.#exchange.abortListener = this;
    door.infer(request, this.#model);
  }

  onResponse(request: InferenceRequest, response: InferenceResponse): void {
    if (this.#exchange.isAborted) return;
    try {
      respondInference(this.#exchange, request, response, this.#model.signature);
    } catch (error) {
      // An output that this encoding cannot carry (BYTES that are no text, in JSON) is this caller's answer and nobody else's.
      this.#context.reportFault(error);
      respondError(this.#exchange, InferenceError.from(error));
    }
  }

  onComplete(): void {
    throw new Error('a unary call was given the end of a decoupled model');
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.#context.reportFault(error);
    respondError(this.#exchange, error);
  }

  onExchangeAborted(): void {
    this.#request?.cancel();
  }
}
