import { CONTENT_TYPE, JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { CreateLaneFactory, Lane, LaneSink } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { ErrorTexts } from '../http/error-texts.ts';
import { HttpConnection } from '../http/http-connection.ts';
import { postRequest } from '../http/post-request.ts';
import { TextChecker } from './text-checker.ts';
import { type EncodedPrompt, TextConversation } from './text-conversation.ts';

/**
 * Lanes of 'generate', 'generate-stream' and 'openai': prompts as JSON over HTTP/1.1. Each piece of a streamed answer's text is a part; an answer that is not streamed is one part, with as many tokens as its usage says.
 * A stream that ends with an error or, of OpenAI's, without [DONE] has failed.
 */
export const createTextLanes: CreateLaneFactory = (plan: LoadPlan) => {
  const protocol = plan.protocol === 'openai' ? 'openai' : 'generate';
  const prompts = plan.requests.map(({ text }): EncodedPrompt => {
    const { path, body, stream } = text!;
    const headers = { [CONTENT_TYPE]: JSON_CONTENT_TYPE, accept: stream ? 'text/event-stream' : JSON_CONTENT_TYPE };
    return { bytes: postRequest(plan.target, path, headers, [Buffer.from(JSON.stringify(body))]), isStream: stream };
  });
  const checker = new TextChecker(plan);
  const errors = new ErrorTexts();
  return {
    open: (loop: SocketLoop, sink: LaneSink): Promise<Lane> =>
      HttpConnection.open(loop, plan.target, sink, (own) => new TextConversation(prompts, protocol, checker, own), errors),
  };
};
