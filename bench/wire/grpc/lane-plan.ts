import type { LoadPlan } from '../../load/load-plan.ts';
import { AnswerChecker } from '../answer-checker.ts';
import { InferMessage } from './infer-message.ts';
import { RequestHeaders } from './request-headers.ts';

const SERVICE = '/inference.GRPCInferenceService/';

/** A plan in the form in which it goes over the wire: shared by all lanes, never changed. */
export interface LanePlan {
  readonly headers: RequestHeaders;
  /** As in the plan. */
  readonly messages: readonly InferMessage[];
  /** Requests that have any number of answers, by index: they asked to be told of the last one (`triton_enable_empty_final_response`). */
  readonly hasParts: readonly boolean[];
  readonly checker: AnswerChecker;
}

/** Throws INVALID_ARGUMENT for what gRPC cannot carry. */
export function encodePlan(plan: LoadPlan): LanePlan {
  const isStream = plan.protocol === 'grpc-stream';
  const options = { hasOwnId: isStream, hasSequence: plan.sequence !== null };
  const infers = plan.requests.map(({ infer }) => {
    if (infer === null) throw new Error(`a request without tensors in a plan for ${plan.protocol}`);
    return infer;
  });
  // The deadline of a call is no deadline of the requests in a stream.
  const path = `${SERVICE}${isStream ? 'ModelStreamInfer' : 'ModelInfer'}`;
  return {
    headers: new RequestHeaders(plan.target, path, plan.sendsDeadline && !isStream),
    messages: infers.map((infer) => new InferMessage(infer, options)),
    hasParts: infers.map(({ parameters }) => isStream && parameters['triton_enable_empty_final_response'] === true),
    checker: new AnswerChecker(plan),
  };
}
