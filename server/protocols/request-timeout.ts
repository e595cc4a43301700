/** @hotpath the caller's patience, where a request says it (measured by endpoints.bench.ts) */

import { MAX_INFERENCE_TIMEOUT_MS } from '../../proto/headers.ts';
import { type InferenceError, invalidArgument } from '../../proto/inference-error.ts';

const DECIMAL = /^\d{1,9}(?:\.\d{1,6})?$/;

/** Whether so many milliseconds may be waited. */
export function isTimeout(ms: number): boolean {
  return ms > 0 && ms <= MAX_INFERENCE_TIMEOUT_MS;
}

/** What is wrong with `got`, at the place `where`. */
export function wrongTimeout(where: string, got: string): InferenceError {
  return invalidArgument(`${where}: expected a number of milliseconds above 0 and up to ${MAX_INFERENCE_TIMEOUT_MS}, got ${got}`);
}

/** Milliseconds of the request header `Inference-Timeout-Ms`; Infinity where it was not sent (''). Throws INVALID_ARGUMENT. */
export function readTimeoutHeader(text: string): number {
  if (text === '') return Number.POSITIVE_INFINITY;
  const ms = DECIMAL.test(text) ? Number(text) : Number.NaN;
  if (!isTimeout(ms)) throw wrongTimeout('Inference-Timeout-Ms', JSON.stringify(text.slice(0, 40)));
  return ms;
}
