import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { HttpErrorBody, HttpExchange } from '../../transports/http-exchange.ts';

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
  exchange.respond(STATUS_FORMS[error.code].http, headers, encodeErrorBody(error.message));
}
