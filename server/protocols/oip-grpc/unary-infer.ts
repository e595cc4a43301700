/** @hotpath ModelInfer: one UnaryInferCall per inference request */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { RpcCancelListener, UnaryCall, UnaryMethod } from '../../transports/rpc-call.ts';
import { OneResponse, UNARY_REFUSAL } from '../one-response.ts';
import type { ProtocolContext } from '../protocol.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { InferRequestMessage } from './decode-infer-request.ts';
import { encodeInferResponse } from './encode-infer-response.ts';
import { isPastDeadline } from './is-past-deadline.ts';

export function unaryInferMethod(path: string, context: ProtocolContext): UnaryMethod {
  return { kind: 'unary', path, handle: (call) => handleInfer(call, context) };
}

function handleInfer(call: UnaryCall, context: ProtocolContext): void {
  const message = new InferRequestMessage(call.message);
  try {
    message.open();
    const routed = context.door.routeUnary(message.modelName, message.modelVersion);
    if (routed instanceof Promise) new WaitingUnaryCall(call, message, context).wait(routed);
    else infer(call, message, routed, context);
  } catch (error) {
    refuse(call, message, context, error);
  }
}

function infer(call: UnaryCall, message: InferRequestMessage, model: Model, context: ProtocolContext): void {
  if (message.parameters.wantsEmptyFinalResponse) {
    throw invalidArgument(
      'parameters.triton_enable_empty_final_response: a unary call has one response, which is its final one: leave it out, or use ModelStreamInfer',
    );
  }
  const inferCall = new UnaryInferCall(call, model, context);
  const request = message.decode(model.signature, model.isDecoupled ? new OneResponse(inferCall, UNARY_REFUSAL) : inferCall);
  request.deadlineNs = call.deadlineMs * 1e6;
  inferCall.start(request);
}

function refuse(call: UnaryCall, message: InferRequestMessage, context: ProtocolContext, error: unknown): void {
  context.reportFault(error);
  const refusal = InferenceError.from(error);
  context.door.refused(message.modelName, refusal);
  call.fail(refusal);
}

/** A ModelInfer call whose model is being loaded. */
class WaitingUnaryCall implements RoutedCall, RpcCancelListener {
  readonly #call: UnaryCall;
  readonly #message: InferRequestMessage;
  readonly #context: ProtocolContext;
  #wait: RouteWait | null = null;

  constructor(call: UnaryCall, message: InferRequestMessage, context: ProtocolContext) {
    this.#call = call;
    this.#message = message;
    this.#context = context;
  }

  /** Its deadline is the transport's to watch, which cancels the wait. */
  wait(routed: Waiting<Model>): void {
    this.#wait = RouteWait.start(this.#context, routed, this.#call.message.length, this, Number.POSITIVE_INFINITY);
    this.#call.cancelListener = this;
  }

  onRouted(model: Model): void {
    this.#call.cancelListener = null;
    if (!this.#call.isCancelled) infer(this.#call, this.#message, model, this.#context);
  }

  onRouteFailed(error: unknown): void {
    refuse(this.#call, this.#message, this.#context, error);
  }

  onRpcCancelled(): void {
    this.#wait?.cancel();
  }
}

/** One ModelInfer call, from its decoded request to its answer. */
class UnaryInferCall implements InferenceCaller, RpcCancelListener {
  readonly #call: UnaryCall;
  readonly #model: Model;
  readonly #context: ProtocolContext;
  #request: InferenceRequest | null = null;

  constructor(call: UnaryCall, model: Model, context: ProtocolContext) {
    this.#call = call;
    this.#model = model;
    this.#context = context;
  }

  start(request: InferenceRequest): void {
    this.#request = request;
    this.#call.cancelListener = this;
    this.#context.door.infer(request, this.#model);
  }

  onResponse(request: InferenceRequest, response: InferenceResponse): void {
    if (this.#call.isCancelled) return;
    try {
      this.#call.respond(encodeInferResponse(request, response, this.#model.signature, 'unary', this.#call), true);
    } catch (error) {
      // A classification of an output without classes is this caller's answer and nobody else's.
      this.#context.reportFault(error);
      this.#call.fail(InferenceError.from(error));
    }
  }

  onComplete(): void {
    throw new Error('a unary call was given the end of a decoupled model');
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.#context.reportFault(error);
    this.#call.fail(error);
  }

  onRpcCancelled(): void {
    if (this.#request === null) return;
    if (isPastDeadline(this.#call)) this.#request.expire();
    else this.#request.cancel();
  }
}
