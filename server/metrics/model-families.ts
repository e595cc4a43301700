import { type LatencyHistogram, stageBoundsNs } from './latency-histogram.ts';
import type { LatencyWindow } from './latency-window.ts';
import type { MetricsConfig } from './metrics-config.ts';
import type { ModelReporter, StageHistograms, StatisticDuration } from './model-reporter.ts';

/** One model version on the metrics page. */
export interface ModelSeries {
  readonly reporter: ModelReporter;
  /** `model="m",version="1"` and the model's own tags, escaped. */
  readonly labels: string;
  readonly histograms: Readonly<Record<Stage, LatencyHistogram>> | null;
  readonly summaries: Readonly<Record<Stage, LatencyWindow>> | null;
  readonly firstResponse: LatencyHistogram | null;
}

export type Stage = keyof StageHistograms;

export interface ModelFamily {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly help: string;
  /** Null: always there. */
  readonly when: ((config: MetricsConfig) => boolean) | null;
  /** Adds the sample lines of one model version. */
  write(lines: string[], name: string, series: ModelSeries, config: MetricsConfig): void;
}

/** Spelled as the `stage` label is. */
const stages: readonly (readonly [Stage, string])[] = [
  ['request', 'request'],
  ['queue', 'queue'],
  ['computeInput', 'compute_input'],
  ['computeInfer', 'compute_infer'],
  ['computeOutput', 'compute_output'],
];

const stageBoundLabels = stageBoundsNs.map((bound) => `${bound / 1e9}`);

/** Every metric that exists per model version, in the order of the page. Names and labels of `nv_` ones: triton-protocol 8.2. */
export const modelFamilies: readonly ModelFamily[] = [
  single('nv_inference_request_success', 'counter', 'Requests answered with success.', (r) => r.success.count),
  {
    name: 'nv_inference_request_failure',
    type: 'counter',
    help: 'Requests that reached the scheduler and failed, by reason: REJECTED (waited too long), CANCELED, BACKEND (execution failed), OTHER.',
    when: null,
    write: (lines, name, { reporter, labels }) => {
      for (const reason of ['REJECTED', 'CANCELED', 'BACKEND', 'OTHER'] as const) {
        lines.push(`${name}{${labels},reason="${reason}"} ${reporter.failures[reason]}`);
      }
    },
  },
  single('nv_inference_count', 'counter', 'Inferences: the batch sizes of successful requests, added up.', (r) => r.inferenceCount),
  single('nv_inference_exec_count', 'counter', 'Executions of the model; a batch is one.', (r) => r.executionCount),
  duration('nv_inference_request_duration_us', 'Time from a request to its answer, successful requests, microseconds.', (r) => r.success),
  duration('nv_inference_queue_duration_us', 'Time that requests waited to be executed, microseconds.', (r) => r.queue),
  duration('nv_inference_compute_input_duration_us', 'Time in making the inputs ready, microseconds.', (r) => r.computeInput),
  duration('nv_inference_compute_infer_duration_us', 'Time in running the model, microseconds.', (r) => r.computeInfer),
  duration('nv_inference_compute_output_duration_us', 'Time in taking the outputs, microseconds.', (r) => r.computeOutput),
  single(
    'nereid_inference_wasted_total',
    'counter',
    'Requests that ended (cancelled, or past their deadline) while an instance worked on them.',
    (r) => r.wastedWork.count,
  ),
  duration(
    'nereid_inference_wasted_duration_us',
    'Time that instances gave to requests that had ended, microseconds: their share of the batch.',
    (r) => r.wastedWork,
  ),
  single('nereid_learned_batch_fixed_us', 'gauge', 'Learned time of an execution, whatever its size, microseconds.', (r) =>
    Math.round(r.batchFixedNs / 1000),
  ),
  single(
    'nereid_learned_batch_row_us',
    'gauge',
    'Learned time that each row adds to an execution, microseconds.',
    (r) => r.batchRowNs / 1000,
  ),
  {
    name: 'nereid_admission_refused_total',
    type: 'counter',
    help: 'Requests refused at once by what was learned of the model: deadline (it would have passed before the answer), queue_time (the wait would have been too long).',
    when: null,
    write: (lines, name, { reporter, labels }) => {
      lines.push(
        `${name}{${labels},reason="deadline"} ${reporter.refusedByDeadline}`,
        `${name}{${labels},reason="queue_time"} ${reporter.refusedByQueueTime}`,
      );
    },
  },
  cached('nv_cache_num_hits_per_model', 'Requests that the response cache answered.', (r) => r.cacheHit.count),
  cached('nv_cache_num_misses_per_model', 'Executions for requests that the response cache had no answer to.', (r) => r.cacheMiss.count),
  cached('nv_cache_hit_duration_per_model', 'Time in finding responses in the cache, microseconds.', (r) => microseconds(r.cacheHit)),
  cached('nv_cache_miss_duration_per_model', 'Time in looking for and in keeping responses, microseconds.', (r) =>
    microseconds(r.cacheMiss),
  ),
  cached('nereid_cache_num_shared_per_model', 'Hits that got the response to an identical request in flight.', (r) => r.cacheShared),
  single('nv_inference_pending_request_count', 'gauge', 'Requests that wait to be executed.', (r) => r.pendingCount),
  single('nv_model_load_duration_secs', 'gauge', 'How long the model took to load, seconds.', (r) => r.loadDurationSecs),
  {
    name: 'nv_inference_first_response_histogram_ms',
    type: 'histogram',
    help: 'Time from a request to its first response, milliseconds.',
    when: (config) => config.histogramLatencies,
    write: (lines, name, { labels, firstResponse }) => {
      if (firstResponse === null) return;
      const bounds = firstResponse.boundsNs.map((bound) => `${bound / 1e6}`);
      writeHistogram(lines, name, labels, firstResponse, bounds, Math.floor(firstResponse.sumNs / 1e6));
    },
  },
  ...stages.map(([stage, label]) => summary(stage, label)),
  {
    name: 'nereid_inference_stage_duration_seconds',
    type: 'histogram',
    help: 'Time of successful requests by stage: request (the whole), queue, compute_input, compute_infer, compute_output; seconds.',
    when: (config) => config.stageHistograms,
    write: (lines, name, { labels, histograms }) => {
      if (histograms === null) return;
      for (const [stage, label] of stages) {
        const histogram = histograms[stage];
        writeHistogram(lines, name, `${labels},stage="${label}"`, histogram, stageBoundLabels, histogram.sumNs / 1e9);
      }
    },
  },
];

function single(name: string, type: 'counter' | 'gauge', help: string, read: (reporter: ModelReporter) => number): ModelFamily {
  return {
    name,
    type,
    help,
    when: null,
    write: (lines, family, { reporter, labels }) => {
      lines.push(`${family}{${labels}} ${read(reporter)}`);
    },
  };
}

/** Of models with a response cache alone. */
function cached(name: string, help: string, read: (reporter: ModelReporter) => number): ModelFamily {
  return {
    name,
    type: 'counter',
    help,
    when: null,
    write: (lines, family, { reporter, labels }) => {
      if (reporter.hasResponseCache) lines.push(`${family}{${labels}} ${read(reporter)}`);
    },
  };
}

function microseconds({ ns }: StatisticDuration): number {
  return Math.floor(ns / 1000);
}

function duration(name: string, help: string, read: (reporter: ModelReporter) => StatisticDuration): ModelFamily {
  return {
    ...single(name, 'counter', help, (reporter) => Math.floor(read(reporter).ns / 1000)),
    when: (config) => config.counterLatencies,
  };
}

function summary(stage: Stage, label: string): ModelFamily {
  return {
    name: `nv_inference_${label}_summary_us`,
    type: 'summary',
    help: `Quantiles of the ${label.replace('_', ' ')} time of successful requests over the last minute, microseconds.`,
    when: (config) => config.summaryLatencies,
    write: (lines, name, { reporter, labels, summaries }, config) => {
      // As Triton's: requests that the cache answered would be most of the whole.
      if (summaries === null || (stage === 'request' && reporter.hasResponseCache)) return;
      const window = summaries[stage];
      const values = window.quantilesUs(config.summaryQuantiles);
      config.summaryQuantiles.forEach((quantile, i) => {
        lines.push(`${name}{${labels},quantile="${quantile}"} ${values[i]!}`);
      });
      lines.push(`${name}_sum{${labels}} ${Math.floor(window.sumNs / 1000)}`, `${name}_count{${labels}} ${window.count}`);
    },
  };
}

export function writeHistogram(
  lines: string[],
  name: string,
  labels: string,
  histogram: { readonly counts: Float64Array },
  boundLabels: readonly string[],
  sum: number,
): void {
  let cumulated = 0;
  for (let i = 0; i < boundLabels.length; i++) {
    cumulated += histogram.counts[i]!;
    lines.push(`${name}_bucket{${labels},le="${boundLabels[i]!}"} ${cumulated}`);
  }
  cumulated += histogram.counts[boundLabels.length]!;
  lines.push(`${name}_bucket{${labels},le="+Inf"} ${cumulated}`, `${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${cumulated}`);
}
