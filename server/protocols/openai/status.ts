import { JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { InferenceError, StatusCode } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';

interface ErrorForm {
  readonly http: number;
  readonly type: string;
  readonly code: string | null;
}

const http = (code: StatusCode): number => STATUS_FORMS[code].http;

/** As OpenAI's (reference section 6.6). A deadline is 504, as on every other path here; 408 would be for a request that did not arrive. */
const FORMS: Readonly<Record<StatusCode, ErrorForm>> = {
  INVALID_ARGUMENT: { http: 400, type: 'invalid_request_error', code: null },
  NOT_FOUND: { http: 404, type: 'invalid_request_error', code: 'model_not_found' },
  ALREADY_EXISTS: { http: http('ALREADY_EXISTS'), type: 'invalid_request_error', code: null },
  UNAUTHENTICATED: { http: 401, type: 'authentication_error', code: 'invalid_api_key' },
  PERMISSION_DENIED: { http: 403, type: 'permission_error', code: null },
  RESOURCE_EXHAUSTED: { http: http('RESOURCE_EXHAUSTED'), type: 'invalid_request_error', code: 'too_large' },
  UNAVAILABLE: { http: 503, type: 'server_error', code: 'unavailable' },
  DEADLINE_EXCEEDED: { http: http('DEADLINE_EXCEEDED'), type: 'server_error', code: 'deadline_exceeded' },
  CANCELLED: { http: http('CANCELLED'), type: 'server_error', code: 'cancelled' },
  UNIMPLEMENTED: { http: http('UNIMPLEMENTED'), type: 'invalid_request_error', code: 'unsupported' },
  INTERNAL: { http: 500, type: 'server_error', code: null },
  UNKNOWN: { http: 500, type: 'server_error', code: null },
};
/** A queue, or the server, has as many requests as it may hold. */
const BUSY: ErrorForm = { http: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded' };

/** `name:`, `name.member:`, `name[0].member:` at the start of a message. */
const LEADING_NAME = /^([a-z][a-z0-9_]*)((?:\[\d+\]|\.[A-Za-z0-9_]+)*): /;
const CONTEXT_OVERFLOW = /^(?:prompt|messages|text_input|input_ids): .*\bcontext\b/;

export type ParamNames = ReadonlyMap<string, string>;
export const SAME_NAMES: ParamNames = new Map();

function formOf(error: InferenceError): ErrorForm {
  return error.code === 'UNAVAILABLE' && error.failureReason === 'REJECTED' ? BUSY : FORMS[error.code];
}

/** The body of an error. `names`: what the model calls a parameter to what OpenAI's client called it. */
export function encodeError(error: InferenceError, names: ParamNames): string {
  const { type, code } = formOf(error);
  let { message } = error;
  let param: string | null = error.code === 'NOT_FOUND' ? 'model' : null;
  const found = error.code === 'INVALID_ARGUMENT' ? LEADING_NAME.exec(message) : null;
  const isOverflow = found !== null && CONTEXT_OVERFLOW.test(message);
  if (found !== null) {
    const asked = names.get(found[1]!);
    param = asked === undefined ? found[1]! + found[2]! : asked;
    if (asked !== undefined) message = `${asked}: ${message.slice(found[0].length)}`;
  }
  return JSON.stringify({ error: { message, type, param, code: isOverflow ? 'context_length_exceeded' : code } });
}

/** The body of a refusal that no route has worded: an unknown path, a body that is too large. */
export function encodeRefusal(status: number, message: string): string {
  return JSON.stringify({ error: { message, type: status < 500 ? 'invalid_request_error' : 'server_error', param: null, code: null } });
}

/** Answers with the error's status and body, and `Retry-After` in whole seconds when the error knows one. What another try would not change says so, in the words of OpenAI's clients. */
export function respondError(exchange: HttpExchange, error: InferenceError, names: ParamNames = SAME_NAMES): void {
  const { http: status } = formOf(error);
  const headers = ['content-type', JSON_CONTENT_TYPE];
  if (error.retryAfterSeconds > 0) headers.push('retry-after', String(Math.ceil(error.retryAfterSeconds)));
  if (error.code === 'UNIMPLEMENTED' || error.code === 'DEADLINE_EXCEEDED') headers.push('x-should-retry', 'false');
  exchange.respond(status, headers, encodeError(error, names));
}
