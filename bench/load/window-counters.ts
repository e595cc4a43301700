import { LatencyHistogram } from './latency-histogram.ts';
import type { ErrorCount, GeneratorUse, LoadWindow, Outcome } from './load-window.ts';

/** Kinds of errors that a window tells apart; the rest are 'others'. */
const MAX_ERROR_KINDS = 50;
const MAX_MESSAGE_LENGTH = 200;
const OTHERS = 'others';

/** What is counted in a window; `take` hands it out and begins the next one. */
export class WindowCounters {
  sent = 0;
  good = 0;
  unsent = 0;
  validated = 0;
  bytesSent = 0;
  bytesReceived = 0;
  parts = 0;
  readonly latency: LatencyHistogram = new LatencyHistogram();
  readonly refusal: LatencyHistogram = new LatencyHistogram();
  readonly lag: LatencyHistogram = new LatencyHistogram();
  readonly firstPart: LatencyHistogram = new LatencyHistogram();
  readonly betweenParts: LatencyHistogram = new LatencyHistogram();
  #ok = 0;
  #outcomes: Record<Outcome, number> = noOutcomes();
  readonly #errors: Map<string, { status: string; message: string; count: number }> = new Map();

  ok(): void {
    this.#ok++;
  }

  notOk(outcome: Exclude<Outcome, 'ok'>, status: string, message: string): void {
    this.#outcomes[outcome]++;
    let error = this.#errors.get(status);
    if (error === undefined) {
      const kind = this.#errors.size < MAX_ERROR_KINDS - 1 ? status : OTHERS;
      error = this.#errors.get(kind);
      if (error === undefined) {
        error = { status: kind, message: message.slice(0, MAX_MESSAGE_LENGTH), count: 0 };
        this.#errors.set(kind, error);
      }
    }
    error.count++;
  }

  /** Times since the load process was told to start, ms. */
  take(fromMs: number, toMs: number, generator: GeneratorUse): LoadWindow {
    const errors: readonly ErrorCount[] = [...this.#errors.values()];
    const window: LoadWindow = {
      fromMs,
      toMs,
      sent: this.sent,
      outcomes: { ...this.#outcomes, ok: this.#ok },
      good: this.good,
      unsent: this.unsent,
      validated: this.validated,
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      latency: this.latency.data(),
      refusal: this.refusal.data(),
      lag: this.lag.data(),
      firstPart: this.firstPart.data(),
      betweenParts: this.betweenParts.data(),
      parts: this.parts,
      errors,
      generator,
    };
    this.#reset();
    return window;
  }

  #reset(): void {
    this.sent = 0;
    this.good = 0;
    this.unsent = 0;
    this.validated = 0;
    this.bytesSent = 0;
    this.bytesReceived = 0;
    this.parts = 0;
    this.latency.reset();
    this.refusal.reset();
    this.lag.reset();
    this.firstPart.reset();
    this.betweenParts.reset();
    this.#ok = 0;
    this.#outcomes = noOutcomes();
    this.#errors.clear();
  }
}

function noOutcomes(): Record<Outcome, number> {
  return { ok: 0, refused: 0, expired: 0, failed: 0, wrong: 0 };
}
