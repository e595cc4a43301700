/** What a load process says of a window of time. Everything here crosses a process boundary by structured clone. */

/**
 * Latencies in log-linear buckets: exact below 2,048 us, then 1,024 buckets to each power of two, so a value is known to 0.1 %. Sparse: `counts[i]` values lie in bucket `buckets[i]`.
 */
export interface HistogramData {
  readonly buckets: Uint32Array;
  readonly counts: Uint32Array;
  /** Of all values, microseconds. */
  readonly sumUs: number;
  readonly minUs: number;
  readonly maxUs: number;
}

/** What became of a request. */
export const OUTCOMES = ['ok', 'refused', 'expired', 'failed', 'wrong'] as const;
/**
 * ok: answered, and right as far as anybody looked. refused: the server was too busy (503, 429, UNAVAILABLE, RESOURCE_EXHAUSTED). expired: its deadline or the client's patience ended
 * (504, DEADLINE_EXCEEDED). wrong: answered, and not as it must be. failed: all else, lost connections among them.
 */
export type Outcome = (typeof OUTCOMES)[number];

export interface ErrorCount {
  /** 'HTTP 400', 'gRPC 3 INVALID_ARGUMENT', 'connection lost', 'wrong answer', ... */
  readonly status: string;
  /** Of the first one; at most 200 characters. */
  readonly message: string;
  readonly count: number;
}

/** What the generator itself took: a figure that it bounds is not the server's. */
export interface GeneratorUse {
  /** Share of the window that it was not waiting for sockets or for the next request's time; 1: it had no time to spare. */
  readonly busy: number;
  /** Processor time over wall time; can be below `busy` where others had the core. */
  readonly cpu: number;
  /** Times that the operating system took the core away. */
  readonly involuntarySwitches: number;
}

export interface LoadWindow {
  /** Since the load process was told to start, ms. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly sent: number;
  /** Of those that ended in this window. */
  readonly outcomes: Readonly<Record<Outcome, number>>;
  /** ok, and within the deadline and the limits of text, where there are any. */
  readonly good: number;
  /** Due, and not sent since too many were in flight. */
  readonly unsent: number;
  /** Answers that were decoded and looked at. */
  readonly validated: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** ok answers, from the time at which they were meant to be sent (closed loop: from the sending). */
  readonly latency: HistogramData;
  /** From the sending to a refusal. */
  readonly refusal: HistogramData;
  /** From the time at which a request was meant to be sent to its sending. Empty in a closed loop. */
  readonly lag: HistogramData;
  /** Of streamed answers: to the first part, and between the parts of an answer; and the parts. Empty otherwise. */
  readonly firstPart: HistogramData;
  readonly betweenParts: HistogramData;
  /** Parts of streamed answers; tokens, as far as a part is one. */
  readonly parts: number;
  /** At most 50 kinds; the last is 'others'. */
  readonly errors: readonly ErrorCount[];
  readonly generator: GeneratorUse;
}
