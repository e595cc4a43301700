/** What one measured stretch of closed-loop load gave. */
export interface LoopResult {
  readonly answered: number;
  readonly seconds: number;
  /** Of each answer, in order, microseconds. */
  readonly latenciesUs: readonly number[];
}

/** One exchange after another: a connection, or a place on one. */
export interface Lane {
  /** Sends the request; `answered` is called once per call, with null or what was wrong. */
  send(answered: (error: Error | null) => void): void;
}

/**
 * Keeps every lane busy for `durationMs`, each with one request at a time, and waits for the last answers. The same loop drives every transport, so that what differs between
 * them is the transport. Rejects on the first wrong answer.
 */
export function runClosedLoop(lanes: readonly Lane[], durationMs: number): Promise<LoopResult> {
  const latenciesUs: number[] = [];
  const startedMs = performance.now();
  const untilMs = startedMs + durationMs;
  let busy = lanes.length;
  return new Promise((resolve, reject) => {
    for (const lane of lanes) {
      let sentMs = 0;
      const next = (): void => {
        sentMs = performance.now();
        lane.send(answered);
      };
      const answered = (error: Error | null): void => {
        if (error !== null) {
          reject(error);
          return;
        }
        const nowMs = performance.now();
        latenciesUs.push((nowMs - sentMs) * 1000);
        if (nowMs < untilMs) next();
        else if (--busy === 0) resolve({ answered: latenciesUs.length, seconds: (nowMs - startedMs) / 1000, latenciesUs });
      };
      next();
    }
  });
}
