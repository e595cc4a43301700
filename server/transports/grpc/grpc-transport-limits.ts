/** Bounds of the gRPC transport that no option sets. */
export interface GrpcTransportLimits {
  /** TLS handshake, and then HTTP/2 SETTINGS, arrive within this, ms. */
  readonly handshakeTimeoutMs: number;
  /** A client owes bytes of a request, or takes none of an answer, for this long: its call is cut off, ms. */
  readonly stallMs: number;
  /** All request messages received or held at one time, bytes; null: the larger of 256 MiB and twice the largest message. */
  readonly maxBufferedBytes: number | null;
  /**
   * Answers that clients have not taken, bytes: over it connections that take nothing for `answerStallMs` end, the one that holds the most first; with twice as
   * many, and the largest answer, waiting, it ends whether it reads or not. null: the larger of 512 MiB and the largest request.
   */
  readonly maxAnswerBytes: number | null;
  readonly answerStallMs: number;
  /**
   * Calls open at one time on all connections: an open one holds some 4 KiB, even when its client sends nothing. One more ends the connection that has the most of them.
   */
  readonly maxCalls: number;
}

export const DEFAULT_LIMITS: GrpcTransportLimits = {
  handshakeTimeoutMs: 10_000,
  stallMs: 30_000,
  maxBufferedBytes: null,
  maxAnswerBytes: null,
  answerStallMs: 1_000,
  maxCalls: 65_536,
};
