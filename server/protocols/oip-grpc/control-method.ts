import { InferenceError } from '../../../proto/inference-error.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { UnaryMethod } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { encodeMessage, messageType } from './control-messages.ts';

/**
 * One RPC that is not inference. `answer` takes the request message, whose bytes stay until it has resolved, and gives the response with its fields
 * named as in the .proto file; what it throws or rejects with ends the call. A `Waiting` is cancelled with the call.
 */
export function controlMethod(
  service: string,
  rpc: string,
  context: ProtocolContext,
  answer: (message: Uint8Array) => object | Promise<object> | Waiting<object>,
): UnaryMethod {
  const responseType = messageType(`${rpc}Response`);
  return {
    kind: 'unary',
    path: `/${service}/${rpc}`,
    handle: (call) => {
      const failed = (error: unknown): void => {
        context.reportFault(error);
        call.fail(InferenceError.from(error));
      };
      try {
        const response = answer(call.message);
        if (response instanceof Promise) {
          if ('cancel' in response) call.cancelListener = { onRpcCancelled: () => response.cancel() };
          response.then((later: object) => call.respond(encodeMessage(responseType, later))).catch(failed);
        } else call.respond(encodeMessage(responseType, response));
      } catch (error) {
        failed(error);
      }
    },
  };
}
