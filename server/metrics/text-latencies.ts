/** @hotpath one bucket search for each response of a text stream (measured by latency-histogram.bench.ts) */

import { LatencyHistogram } from './latency-histogram.ts';

/** Nanoseconds. From a small prompt that is cached to a long one behind others. */
const FIRST_TOKEN_BOUNDS_NS: readonly number[] = [
  1e6, 5e6, 10e6, 20e6, 40e6, 60e6, 80e6, 100e6, 250e6, 500e6, 750e6, 1e9, 2.5e9, 5e9, 7.5e9, 10e9, 20e9, 40e9, 80e9,
];
const NEXT_TOKEN_BOUNDS_NS: readonly number[] = [
  1e6, 2.5e6, 5e6, 10e6, 25e6, 50e6, 75e6, 100e6, 150e6, 200e6, 300e6, 400e6, 500e6, 750e6, 1e9, 2.5e9,
];
/** The first five are those of Triton's TensorRT-LLM backend. */
const LENGTH_BOUNDS: readonly number[] = [10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000];

/** Counts of tokens by fixed bounds. */
export class LengthHistogram {
  readonly bounds: readonly number[] = LENGTH_BOUNDS;
  /** Per bucket, not cumulated; the last one is what lies above every bound. */
  readonly counts: Float64Array = new Float64Array(LENGTH_BOUNDS.length + 1);
  sum = 0;

  observe(tokens: number): void {
    let index = 0;
    while (index < LENGTH_BOUNDS.length && tokens > LENGTH_BOUNDS[index]!) index++;
    this.counts[index]!++;
    this.sum += tokens;
  }
}

/** Of a model that generates text, as its callers see it. */
export class TextLatencies {
  /** Of streams: from the request's arrival to its first response. */
  readonly firstToken: LatencyHistogram = new LatencyHistogram(FIRST_TOKEN_BOUNDS_NS, null);
  /** Of streams: between two responses. */
  readonly nextToken: LatencyHistogram = new LatencyHistogram(NEXT_TOKEN_BOUNDS_NS, null);
  /** Of requests that ended by themselves and whose backend told it. */
  readonly inputLength: LengthHistogram = new LengthHistogram();
  readonly outputLength: LengthHistogram = new LengthHistogram();
}
