/** What a status means for a measurement: the one place where HTTP, gRPC and WebSocket answers become outcomes. */

import type { Outcome } from '../load/load-window.ts';

/** gRPC's status codes, by number. Source: gRPC, doc/statuscodes.md. */
const GRPC_NAMES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;
const GRPC_STATUSES: readonly string[] = GRPC_NAMES.map((name, code) => `gRPC ${code} ${name}`);

/** Made ahead, so that a server that refuses thousands of requests a second makes no garbage here. */
const HTTP_STATUSES: readonly string[] = Array.from({ length: 600 }, (_, status) => `HTTP ${status}`);

/**
 * 2xx is ok, 429 and 503 are refusals, 408 and 504 say that time ran out. All else has failed, 3xx too: a load generator follows no redirects. 413 is not a refusal: the same
 * request is too large at any load.
 */
export function outcomeOfHttpStatus(status: number): Outcome {
  if (status >= 200 && status < 300) return 'ok';
  if (status === 503 || status === 429) return 'refused';
  return status === 504 || status === 408 ? 'expired' : 'failed';
}

/** OK is ok, RESOURCE_EXHAUSTED and UNAVAILABLE are refusals, DEADLINE_EXCEEDED says that time ran out; all else has failed, numbers that are no code of gRPC's too. */
export function outcomeOfGrpcCode(code: number): Outcome {
  switch (code) {
    case 0:
      return 'ok';
    case 8:
    case 14:
      return 'refused';
    case 4:
      return 'expired';
    default:
      return 'failed';
  }
}

/** The same for a code by its name, as in the answers of Nereid's WebSocket: 'UNAVAILABLE'. */
export function outcomeOfCodeName(name: string): Outcome {
  return outcomeOfGrpcCode((GRPC_NAMES as readonly string[]).indexOf(name));
}

/** 'HTTP 503', for ErrorCount. */
export function httpStatusText(status: number): string {
  return HTTP_STATUSES[status] ?? `HTTP ${status}`;
}

/** 'gRPC 14 UNAVAILABLE', for ErrorCount. */
export function grpcStatusText(code: number): string {
  return GRPC_STATUSES[code] ?? `gRPC ${code}`;
}
