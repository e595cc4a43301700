import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { HttpExchange, HttpMethod, HttpRoute } from '../../transports/http-exchange.ts';
import type { ProtocolContext } from '../protocol.ts';
import { respondError } from './status.ts';

const JSON_HEADERS: readonly string[] = ['content-type', JSON_CONTENT_TYPE];
const NO_HEADERS: readonly string[] = [];

/** Answers now, or later: then it resolves when it has. What it throws or rejects with is answered as an error. */
export type ControlHandler = (exchange: HttpExchange, context: ProtocolContext) => void | Promise<void>;

/** Makes the routes of calls that are not inference. */
export type MakeControlRoute = (method: HttpMethod, pattern: string, handler: ControlHandler) => HttpRoute;

export function controlRouteMaker(context: ProtocolContext): MakeControlRoute {
  return (method, pattern, handler) => ({
    method,
    pattern,
    requestHeaders: [],
    allowContentCoding: false,
    handle: (exchange) => {
      const failed = (error: unknown): void => {
        context.reportFault(error);
        respondError(exchange, InferenceError.from(error));
      };
      try {
        handler(exchange, context)?.catch(failed);
      } catch (error) {
        failed(error);
      }
    },
  });
}

export function respondJson(exchange: HttpExchange, value: unknown): void {
  exchange.respond(200, JSON_HEADERS, JSON.stringify(value));
}

/** Health answers are a status and nothing else: 200 for yes, 400 for no. */
export function respondEmpty(exchange: HttpExchange, isSo: boolean): void {
  exchange.respond(isSo ? 200 : 400, NO_HEADERS, '');
}

/** Bodies of most control requests are a few words; a large one is a mistake, or an attempt to hold up the loop. */
const MAX_CONTROL_BODY_BYTES = 64 * 1024;

/** The JSON object of a body; no body is an empty one. */
export function parseSmallJson(body: Uint8Array): Readonly<Record<string, unknown>> {
  if (body.length === 0) return {};
  if (body.length > MAX_CONTROL_BODY_BYTES) {
    throw invalidArgument(`request body: expected at most ${MAX_CONTROL_BODY_BYTES} bytes here, got ${body.length}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw invalidArgument(`failed to parse the request JSON buffer: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(`request body: expected a JSON object, got ${kindOf(value)}`);
  }
  return value as Readonly<Record<string, unknown>>;
}

/** What a value of JSON is, in words. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
