import type { StatusCode } from '../../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../../proto/status-forms.ts';
import { CallError, type CallPhase } from '../call-error.ts';
import { codeFromHttpStatus } from '../http-status.ts';

/** The table of the server, read backwards; of codes that share a close code, the common one. */
const CODES = new Map<number, StatusCode>();
for (const [code, form] of Object.entries(STATUS_FORMS))
  if (!CODES.has(form.webSocketClose)) CODES.set(form.webSocketClose, code as StatusCode);

/** RFC 6455, 7.4.1. Those of a mistake on the wire are this client's fault or the server's, not the caller's. */
const OTHERS: Readonly<Record<number, StatusCode>> = {
  1000: 'UNAVAILABLE',
  1001: 'UNAVAILABLE',
  1002: 'INTERNAL',
  1003: 'UNIMPLEMENTED',
  1005: 'UNAVAILABLE',
  1006: 'UNAVAILABLE',
  1007: 'INTERNAL',
  1012: 'UNAVAILABLE',
};

const LARGE_MESSAGE_BYTES = 16 * 1024 * 1024;

export function codeFromClose(close: number): StatusCode {
  return OTHERS[close] ?? CODES.get(close) ?? (close >= 4400 && close < 4600 ? codeFromHttpStatus(close - 4000) : 'UNKNOWN');
}

/** For a request that was in flight when the connection ended; `messageBytes` is its size. Whether the server worked on it is not known. */
export function errorFromClose(close: number, reason: string, url: string, phase: CallPhase, messageBytes: number): CallError {
  // Some servers cut off a message that is too large without a word.
  const hint =
    close === 1006 && messageBytes >= LARGE_MESSAGE_BYTES
      ? `; the request's message of ${messageBytes} bytes may be more than the server takes`
      : '';
  return new CallError(codeFromClose(close), closeText(close, reason, url) + hint, { phase });
}

/** For a request that had not been sent: whatever the reason, it had no part in it, and may go over another connection. */
export function unsentAtClose(close: number, reason: string, url: string): CallError {
  return new CallError('UNAVAILABLE', `not sent: ${closeText(close, reason, url)}`, { phase: 'refused' });
}

function closeText(close: number, reason: string, url: string): string {
  if (close === 1006) return `${url}: the connection was lost`;
  return `${url}: the server closed the connection (${close})${reason === '' ? '' : `: ${reason}`}`;
}
