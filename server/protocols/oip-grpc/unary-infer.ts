/** @hotpath ModelInfer: one UnaryInferCall per inference request */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { RpcCancelListener, UnaryCall, UnaryMethod } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { InferRequestMessage } from './decode-infer-request.ts';
import { encodeInferResponse } from './encode-infer-response.ts';

export function unaryInferMethod(path: string, context: ProtocolContext): UnaryMethod {
  return { kind: 'unary', path, handle: (call) => handleInfer(call, context) };
}

function handleInfer(call: UnaryCall, context: ProtocolContext): void {
  const message = new InferRequestMessage(call.message);
  try {
    message.open();
    const model = context.door.routeUnary(message.modelName, message.modelVersion);
    if (message.parameters.wantsEmptyFinalResponse) {
      throw invalidArgument(
        'parameters.triton_enable_empty_final_response: a unary call has one response, which is its final one: leave it out, or use ModelStreamInfer',
      );
    }
    const inferCall = new UnaryInferCall(call, model, context);
    const request = message.decode(model.signature, inferCall);
    request.deadlineNs = call.deadlineMs * 1e6;
    inferCall.start(request);
  } catch (error) {
    context.reportFault(error);
    const refusal = InferenceError.from(error);
    context.door.refused(message.modelName, refusal);
    call.fail(refusal);
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
    this.#request?.cancel();
  }
}
