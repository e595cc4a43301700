import { malformedAnswer } from '../infer-result.ts';
import type { InferBatchStatistics, InferResponseStatistics, ModelStatistics, StatisticDuration } from '../server-facts.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** The body of a statistics answer (Triton's statistics extension); what a server leaves out is zero. */
export function decodeStatistics(json: unknown): readonly ModelStatistics[] {
  const list = (json as { model_stats?: unknown } | null)?.model_stats;
  if (!Array.isArray(list)) throw malformedAnswer("statistics without a 'model_stats' array");
  return list.map((entry) => modelStatistics(object(entry)));
}

function modelStatistics(json: JsonObject): ModelStatistics {
  const stats = object(json['inference_stats']);
  return {
    name: String(json['name'] ?? ''),
    version: String(json['version'] ?? ''),
    lastInference: number(json['last_inference']),
    inferenceCount: number(json['inference_count']),
    executionCount: number(json['execution_count']),
    inferenceStats: {
      success: duration(stats['success']),
      fail: duration(stats['fail']),
      queue: duration(stats['queue']),
      computeInput: duration(stats['compute_input']),
      computeInfer: duration(stats['compute_infer']),
      computeOutput: duration(stats['compute_output']),
      cacheHit: duration(stats['cache_hit']),
      cacheMiss: duration(stats['cache_miss']),
    },
    responseStats: Object.fromEntries(
      Object.entries(object(json['response_stats'])).map(([index, response]) => [index, responseStatistics(object(response))]),
    ),
    batchStats: list(json['batch_stats']).map(batchStatistics),
    memoryUsage: list(json['memory_usage']).map((usage) => ({
      type: String(usage['type'] ?? ''),
      id: number(usage['id']),
      byteSize: number(usage['byte_size']),
    })),
  };
}

function responseStatistics(json: JsonObject): InferResponseStatistics {
  return {
    computeInfer: duration(json['compute_infer']),
    computeOutput: duration(json['compute_output']),
    success: duration(json['success']),
    fail: duration(json['fail']),
    emptyResponse: duration(json['empty_response']),
    cancel: duration(json['cancel']),
  };
}

function batchStatistics(json: JsonObject): InferBatchStatistics {
  return {
    batchSize: number(json['batch_size']),
    computeInput: duration(json['compute_input']),
    computeInfer: duration(json['compute_infer']),
    computeOutput: duration(json['compute_output']),
  };
}

function duration(json: unknown): StatisticDuration {
  const { count, ns } = object(json);
  return { count: number(count), ns: number(ns) };
}

function number(json: unknown): number {
  return json === undefined ? 0 : Number(json);
}

function object(json: unknown): JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as JsonObject) : {};
}

function list(json: unknown): readonly JsonObject[] {
  return Array.isArray(json) ? json.map(object) : [];
}
