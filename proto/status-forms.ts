import type { StatusCode } from './inference-error.ts';

/** What a status code is on each wire. */
export interface StatusForm {
  /** HTTP status, with the body `{"error":"<message>"}`. */
  readonly http: number;
  /** gRPC status. */
  readonly grpc: number;
  /**
   * Close code of a WebSocket whose peer made an error that no message can be answered to; an error of one request is a message and closes nothing. RFC 6455's own
   * codes where they fit, 4000 and the HTTP status elsewhere.
   */
  readonly webSocketClose: number;
}

/**
 * The one table of error forms: a code without all of them does not compile, and `docs/errors.md` is held to it by a test.
 *
 * As Triton's (reference section 0), except that a passed deadline is 504 and a cancelled call 499, so that proxies and dashboards can tell them from refusals.
 */
export const STATUS_FORMS: Readonly<Record<StatusCode, StatusForm>> = {
  INVALID_ARGUMENT: { http: 400, grpc: 3, webSocketClose: 4400 },
  NOT_FOUND: { http: 404, grpc: 5, webSocketClose: 4404 },
  ALREADY_EXISTS: { http: 400, grpc: 6, webSocketClose: 4400 },
  UNAUTHENTICATED: { http: 401, grpc: 16, webSocketClose: 1008 },
  PERMISSION_DENIED: { http: 403, grpc: 7, webSocketClose: 1008 },
  RESOURCE_EXHAUSTED: { http: 413, grpc: 8, webSocketClose: 1009 },
  UNAVAILABLE: { http: 503, grpc: 14, webSocketClose: 1013 },
  DEADLINE_EXCEEDED: { http: 504, grpc: 4, webSocketClose: 4504 },
  CANCELLED: { http: 499, grpc: 1, webSocketClose: 4499 },
  UNIMPLEMENTED: { http: 501, grpc: 12, webSocketClose: 4501 },
  INTERNAL: { http: 500, grpc: 13, webSocketClose: 1011 },
  UNKNOWN: { http: 500, grpc: 2, webSocketClose: 1011 },
};
