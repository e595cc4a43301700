/** gRPC's statuses, for control calls: which of our codes they are. What they mean for a measurement is in outcome-of-status.ts. */

import type { StatusCode } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';

const CODES: ReadonlyMap<number, StatusCode> = new Map(Object.entries(STATUS_FORMS).map(([code, { grpc }]) => [grpc, code as StatusCode]));

/** Those that are no codes of ours, as the clients take them: FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, DATA_LOSS. */
const OTHERS: Readonly<Record<number, StatusCode>> = { 9: 'INVALID_ARGUMENT', 10: 'UNAVAILABLE', 11: 'INVALID_ARGUMENT', 15: 'INTERNAL' };

/** UNKNOWN for a number that gRPC does not have. */
export function statusCodeOf(status: number): StatusCode {
  return CODES.get(status) ?? OTHERS[status] ?? 'UNKNOWN';
}

/** For an answer without a gRPC status, by the HTTP status that somebody on the way gave. Source: gRPC, doc/http-grpc-status-mapping.md. */
export function statusCodeOfHttp(httpStatus: number): StatusCode {
  switch (httpStatus) {
    case 400:
      return 'INTERNAL';
    case 401:
      return 'UNAUTHENTICATED';
    case 403:
      return 'PERMISSION_DENIED';
    case 404:
      return 'UNIMPLEMENTED';
    case 429:
    case 502:
    case 503:
    case 504:
      return 'UNAVAILABLE';
    default:
      return 'UNKNOWN';
  }
}

/** The text of `grpc-message`, which is percent-encoded UTF-8; what is not encoded rightly stays as it came. Source: gRPC over HTTP/2, "Status-Message". */
export function decodeGrpcMessage(encoded: string): string {
  if (!encoded.includes('%')) return encoded;
  const bytes = Buffer.alloc(encoded.length);
  let length = 0;
  for (let i = 0; i < encoded.length; i++) {
    const hex = encoded.charCodeAt(i) === 0x25 ? encoded.slice(i + 1, i + 3) : '';
    if (/^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes[length++] = Number.parseInt(hex, 16);
      i += 2;
    } else {
      bytes[length++] = encoded.charCodeAt(i);
    }
  }
  return bytes.toString('utf8', 0, length);
}
