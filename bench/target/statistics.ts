import type { ModelStatistics } from '../../clients/typescript/src/server-facts.ts';
import type { LatencySplit } from '../report/bench-report.ts';
import type { StatisticsSample } from './target.ts';

const NS_PER_US = 1000;

/** The sums over the versions that the server told of; null when it told of none. Source: Triton's statistics extension. */
export function sumStatistics(versions: readonly ModelStatistics[]): StatisticsSample | null {
  if (versions.length === 0) return null;
  const sum = (read: (one: ModelStatistics) => number): number => versions.reduce((total, one) => total + read(one), 0);
  return {
    requests: sum(({ inferenceStats }) => inferenceStats.success.count),
    executions: sum(({ executionCount }) => executionCount),
    inferences: sum(({ inferenceCount }) => inferenceCount),
    successNs: sum(({ inferenceStats }) => inferenceStats.success.ns),
    queueNs: sum(({ inferenceStats }) => inferenceStats.queue.ns),
    computeInputNs: sum(({ inferenceStats }) => inferenceStats.computeInput.ns),
    computeInferNs: sum(({ inferenceStats }) => inferenceStats.computeInfer.ns),
    computeOutputNs: sum(({ inferenceStats }) => inferenceStats.computeOutput.ns),
  };
}

/**
 * Where the time of a request went between two samples, in the mean, us. `clientMeanUs`: what the client measured over the same requests, about. null: nothing succeeded in between, or a
 * counter went back, as the server was started again or the model loaded again.
 *
 * The server's parts are measured by another clock and over slightly other requests than the client's mean, so differences that come out below zero are zero.
 */
export function splitOf(before: StatisticsSample, after: StatisticsSample, clientMeanUs: number): LatencySplit | null {
  const requests = after.requests - before.requests;
  const fields = Object.keys(after) as (keyof StatisticsSample)[];
  if (requests <= 0 || fields.some((field) => after[field] < before[field])) return null;
  const mean = (field: keyof StatisticsSample): number => (after[field] - before[field]) / requests / NS_PER_US;
  const parts = {
    queue: mean('queueNs'),
    computeInput: mean('computeInputNs'),
    computeInfer: mean('computeInferNs'),
    computeOutput: mean('computeOutputNs'),
  };
  const inServer = mean('successNs');
  const executions = after.executions - before.executions;
  return {
    ...parts,
    overhead: Math.max(0, inServer - parts.queue - parts.computeInput - parts.computeInfer - parts.computeOutput),
    network: Math.max(0, clientMeanUs - inServer),
    // Answers of a cache execute nothing.
    batchSize: executions === 0 ? 0 : requests / executions,
  };
}
