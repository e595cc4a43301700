import type { StatusCode } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { CallError, type CallPhase } from './call-error.ts';

/** The table of the server, read backwards. Two codes share 400 and 500: the common one wins. */
const CODES = new Map<number, StatusCode>();
for (const [code, form] of Object.entries(STATUS_FORMS)) if (!CODES.has(form.http)) CODES.set(form.http, code as StatusCode);

/** Statuses that a gateway, a proxy or an HTTP front-end has of its own. */
const OTHERS: Readonly<Record<number, StatusCode>> = {
  405: 'UNIMPLEMENTED',
  408: 'DEADLINE_EXCEEDED',
  409: 'ALREADY_EXISTS',
  414: 'RESOURCE_EXHAUSTED',
  415: 'UNIMPLEMENTED',
  429: 'RESOURCE_EXHAUSTED',
  431: 'RESOURCE_EXHAUSTED',
  502: 'UNAVAILABLE',
};

/** The code that an HTTP status means; 4xx without one of its own is the caller's mistake, all else UNKNOWN. */
export function codeFromHttpStatus(status: number): StatusCode {
  return CODES.get(status) ?? OTHERS[status] ?? (status >= 400 && status < 500 ? 'INVALID_ARGUMENT' : 'UNKNOWN');
}

/** 503 and 429 refuse a request, 502 is of a proxy that does not know how far its request came. */
function phaseOf(status: number): CallPhase {
  return status === 503 || status === 429 ? 'refused' : status === 502 ? 'sent' : 'answered';
}

const MAX_TEXT = 500;

/** The error of an HTTP answer: the text of `{"error": ...}`, or what stands in its place, a proxy's page for one. `retryAfter` is the header, or null. */
export function errorFromHttp(status: number, body: string, retryAfter: string | null, what: string): CallError {
  const options = { phase: phaseOf(status), status, retryAfterSeconds: parseRetryAfter(retryAfter) };
  return new CallError(codeFromHttpStatus(status), errorText(body) ?? `${what}: the server answered ${status} without saying why`, options);
}

function errorText(body: string): string | undefined {
  try {
    const json: unknown = JSON.parse(body);
    const text = (json as { error?: unknown } | null)?.error;
    if (typeof text === 'string' && text !== '') return text;
  } catch {
    // A page or a line of a proxy; shown as it is.
  }
  const text = body.trim();
  return text === '' ? undefined : text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}

/** Seconds from now; 0 when there is none. Source: RFC 9110, 10.2.3: seconds or a date. */
function parseRetryAfter(value: string | null): number {
  if (value === null) return 0;
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return seconds > 0 ? seconds : 0;
}
