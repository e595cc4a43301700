import { INFERENCE_TIMEOUT_MS } from '../../../proto/headers.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Model } from '../../repository/model.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { HttpAbortListener, HttpExchange, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { readTimeoutHeader } from '../request-timeout.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { OPENAI_REQUEST_HEADERS } from './client-headers.ts';
import { decodeChat } from './decode-chat.ts';
import { decodeCompletion } from './decode-completion.ts';
import type { GenerationSpec } from './generation-spec.ts';
import { splitVersion } from './split-version.ts';
import { respondError, SAME_NAMES } from './status.ts';
import { StreamCall } from './stream-call.ts';
import { WholeCall } from './whole-call.ts';

type Decode = (body: Uint8Array) => GenerationSpec;

/** `POST /v1/chat/completions` and `POST /v1/completions`; reference sections 6.2 and 6.3. */
export function generationRoutes(context: ProtocolContext): HttpRoute[] {
  const route = (pattern: string, decode: Decode): HttpRoute => ({
    method: 'POST',
    pattern,
    requestHeaders: OPENAI_REQUEST_HEADERS,
    allowContentCoding: true,
    handle: (exchange) => handleCall(exchange, context, decode),
  });
  return [route('/v1/chat/completions', decodeChat), route('/v1/completions', decodeCompletion)];
}

function handleCall(exchange: HttpExchange, context: ProtocolContext, decode: Decode): void {
  let spec: GenerationSpec | null = null;
  try {
    const deadlineNs = context.door.deadlineAfter(readTimeoutHeader(exchange.header(INFERENCE_TIMEOUT_MS)));
    spec = decode(exchange.body);
    const { name, version } = splitVersion(spec.model, context.repository);
    const routed = context.door.route(name, version);
    if (routed instanceof Promise) new WaitingCall(exchange, context, spec, version, deadlineNs).wait(routed);
    else generate(exchange, context, spec, routed, version, deadlineNs);
  } catch (error) {
    refuse(exchange, context, spec, error);
  }
}

function generate(
  exchange: HttpExchange,
  context: ProtocolContext,
  spec: GenerationSpec,
  model: Model,
  version: string,
  deadlineNs: number,
): void {
  const call = spec.isStream ? new StreamCall(exchange, context, spec, model) : new WholeCall(exchange, context, spec, model);
  call.start(version, !spec.isStream || spec.includesUsage, deadlineNs);
}

function refuse(exchange: HttpExchange, context: ProtocolContext, spec: GenerationSpec | null, error: unknown): void {
  context.reportFault(error);
  const refusal = InferenceError.from(error);
  context.door.refused(spec?.model ?? '', refusal);
  respondError(exchange, refusal, spec?.paramNames ?? SAME_NAMES);
}

/** A call whose model is being loaded. */
class WaitingCall implements RoutedCall, HttpAbortListener {
  readonly #exchange: HttpExchange;
  readonly #context: ProtocolContext;
  readonly #spec: GenerationSpec;
  readonly #version: string;
  readonly #deadlineNs: number;
  #wait: RouteWait | null = null;

  constructor(exchange: HttpExchange, context: ProtocolContext, spec: GenerationSpec, version: string, deadlineNs: number) {
    this.#exchange = exchange;
    this.#context = context;
    this.#spec = spec;
    this.#version = version;
    this.#deadlineNs = deadlineNs;
  }

  wait(routed: Waiting<Model>): void {
    this.#wait = RouteWait.start(this.#context, routed, this.#exchange.body.length, this, this.#deadlineNs);
    this.#exchange.abortListener = this;
  }

  onRouted(model: Model): void {
    this.#exchange.abortListener = null;
    if (!this.#exchange.isAborted) generate(this.#exchange, this.#context, this.#spec, model, this.#version, this.#deadlineNs);
  }

  onRouteFailed(error: unknown): void {
    refuse(this.#exchange, this.#context, this.#spec, error);
  }

  onExchangeAborted(): void {
    this.#wait?.cancel();
  }
}
