import { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';

const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 60_000;
/** Failures remembered; with more, the oldest is forgotten. */
const MAX_FAILURES = 10_000;

interface Failure {
  readonly error: InferenceError;
  readonly delayMs: number;
  readonly untilNs: number;
}

/** Models that did not load: for a while whoever asks gets the same answer instead of another attempt. */
export class LoadBackoff {
  readonly #clock: Clock;
  readonly #failures: Map<string, Failure> = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Throws the reason of the last failure, while it holds. */
  check(name: string): void {
    const failure = this.#failures.get(name);
    if (failure === undefined) return;
    const leftNs = failure.untilNs - this.#clock.nowNs();
    if (leftNs > 0) throw withRetry(failure.error, leftNs / 1e9);
  }

  /** What those who waited for the load are told. `mayPass`: the reason may be gone at any moment, so that attempts do not become rarer. */
  failed(name: string, error: InferenceError, mayPass: boolean): InferenceError {
    const last = this.#failures.get(name);
    const delayMs = last === undefined || mayPass ? FIRST_DELAY_MS : Math.min(last.delayMs * 2, MAX_DELAY_MS);
    // Behind all others, so that the oldest is the first.
    this.#failures.delete(name);
    if (this.#failures.size >= MAX_FAILURES) this.#failures.delete(this.#failures.keys().next().value!);
    this.#failures.set(name, { error, delayMs, untilNs: this.#clock.nowNs() + delayMs * 1e6 });
    return withRetry(error, delayMs / 1000);
  }

  forget(name: string): void {
    this.#failures.delete(name);
  }
}

function withRetry(error: InferenceError, seconds: number): InferenceError {
  const { code, message, failureReason } = error;
  return new InferenceError(code, message, { cause: error.cause, failureReason, retryAfterSeconds: seconds });
}
