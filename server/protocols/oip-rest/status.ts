import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { InferenceError, StatusCode } from '../../../proto/inference-error.ts';
import type { HttpErrorBody, HttpExchange } from '../../transports/http-exchange.ts';

/**
 * The HTTP status of each code. As in Triton (reference section 0), but: what a client did wrong is always 4xx (Triton answers 500 to JSON it cannot read),
 * a deadline is 504 and a cancelled call 499, so that proxies and dashboards can tell them from refusals.
 */
export const HTTP_STATUS = {
  INVALID_ARGUMENT: 400,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 413,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
  CANCELLED: 499,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNKNOWN: 500,
} as const satisfies Record<StatusCode, number>;

const ERROR_HEADERS: readonly string[] = ['content-type', JSON_CONTENT_TYPE];

/** `{"error":"<message>"}`, the protocol's only error body. */
export function encodeErrorBody(message: string): string {
  return JSON.stringify({ error: message });
}

/** The same, for refusals that a transport words before a route is reached. */
export const httpErrorBody: HttpErrorBody = {
  contentType: JSON_CONTENT_TYPE,
  encode: (_status, message) => encodeErrorBody(message),
};

/** Answers with the error's status and body; `Retry-After`, in whole seconds, when the error knows one. */
export function respondError(exchange: HttpExchange, error: InferenceError): void {
  const headers =
    error.retryAfterSeconds > 0 ? [...ERROR_HEADERS, 'retry-after', String(Math.ceil(error.retryAfterSeconds))] : ERROR_HEADERS;
  exchange.respond(HTTP_STATUS[error.code], headers, encodeErrorBody(error.message));
}
