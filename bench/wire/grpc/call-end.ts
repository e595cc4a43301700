/** What the end of a call means: its outcome, and what to tell of it. */

import { CANCEL, ENHANCE_YOUR_CALM, http2ErrorName, REFUSED_STREAM } from '../../../proto/http2-frames.ts';
import type { Outcome } from '../../load/load-window.ts';
import { grpcStatusText, httpStatusText, outcomeOfGrpcCode, outcomeOfHttpStatus } from '../outcome-of-status.ts';
import type { AnswerHeaders } from './answer-headers.ts';

const CANCELLED = 1;
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;
const UNAVAILABLE = 14;

export interface CallEnd {
  readonly outcome: Outcome;
  /** '' of what is ok. */
  readonly status: string;
  readonly message: string;
}

export const GOOD: CallEnd = { outcome: 'ok', status: '', message: '' };
export const LOST = 'connection lost';
export const WRONG = 'wrong answer';

/** gRPC's. `message` may be ''. */
export function endOfStatus(code: number, message: string): CallEnd {
  if (code === 0) return GOOD;
  return {
    outcome: outcomeOfGrpcCode(code),
    status: grpcStatusText(code),
    message: message === '' ? 'the server gave no reason' : message,
  };
}

/** A stream that the server has ended. `first`: its headers; null: `last` is all there was. */
export function endOfStream(first: AnswerHeaders | null, last: AnswerHeaders): CallEnd {
  if (last.grpcStatus >= 0) return endOfStatus(last.grpcStatus, last.grpcMessage);
  const { httpStatus, contentType } = first ?? last;
  if (httpStatus === 200) return endOfStatus(UNKNOWN, `expected a grpc-status, got none${inType(contentType)}`);
  const outcome = outcomeOfHttpStatus(httpStatus);
  return {
    outcome: outcome === 'ok' ? 'failed' : outcome,
    status: httpStatusText(httpStatus),
    message: `expected a gRPC answer, got HTTP ${httpStatus}${inType(contentType)}: is this the gRPC port?`,
  };
}

/** RST_STREAM. A server whose deadline passes may break the stream off in place of a status. Source: gRPC over HTTP/2, "Errors". */
export function endOfReset(code: number, isLate: boolean): CallEnd {
  const message = `the server broke the stream off: ${http2ErrorName(code)}`;
  switch (code) {
    case REFUSED_STREAM:
      return endOfStatus(UNAVAILABLE, 'the server refused the stream, without a look at it (REFUSED_STREAM, or GOAWAY)');
    case CANCEL:
      return endOfStatus(isLate ? DEADLINE_EXCEEDED : CANCELLED, message);
    case ENHANCE_YOUR_CALM:
      return endOfStatus(RESOURCE_EXHAUSTED, message);
    default:
      return endOfStatus(INTERNAL, message);
  }
}

function inType(contentType: string): string {
  return contentType === '' || contentType.startsWith('application/grpc') ? '' : ` (${contentType})`;
}
