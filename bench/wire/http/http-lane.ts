import type { CreateLaneFactory, Lane, LaneSink } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { AnswerChecker } from '../answer-checker.ts';
import { ErrorTexts } from './error-texts.ts';
import { HttpConnection } from './http-connection.ts';
import { InferConversation } from './infer-conversation.ts';
import { encodeInfer } from './infer-request.ts';

/** Lanes of 'http-json' and 'http-binary': V2 inference, as the Open Inference Protocol has it over REST. Throws INVALID_ARGUMENT for requests that HTTP cannot carry. */
export const createHttpLanes: CreateLaneFactory = (plan: LoadPlan) => {
  const form = plan.protocol === 'http-json' ? 'json' : 'binary';
  const requests = plan.requests.map(({ infer }) => encodeInfer(plan.target, infer!, form, plan.sequence !== null));
  const checker = new AnswerChecker(plan);
  const errors = new ErrorTexts();
  return {
    open: (loop: SocketLoop, sink: LaneSink): Promise<Lane> =>
      HttpConnection.open(loop, plan.target, sink, () => new InferConversation(requests, checker), errors),
  };
};
