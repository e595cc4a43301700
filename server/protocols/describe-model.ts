import { invalidArgument } from '../../proto/inference-error.ts';
import { type InputSpec, type OutputSpec, servedShape } from '../inference/model-signature.ts';
import type { ModelReporter, StatisticDuration } from '../metrics/model-reporter.ts';
import type { Model } from '../repository/model.ts';
import type { ProtocolContext } from './protocol.ts';

/**
 * What the control calls answer, as objects whose members are named as in the protocol's messages (snake_case): REST prints them as JSON, gRPC encodes them, so the two cannot
 * differ. Sources: reference sections 1.3, 1.4, 8.5.
 */

/** Extensions of the protocol that this server really speaks (reference section 1.3 has Triton's list). */
const EXTENSIONS = [
  ...['classification', 'sequence', 'model_repository', 'schedule_policy', 'model_configuration', 'binary_tensor_data', 'parameters'],
  'statistics',
];

/** ServerMetadataResponse. */
export function describeServer(context: ProtocolContext): object {
  return { name: context.serverName, version: context.serverVersion, extensions: EXTENSIONS };
}

/** ModelMetadataResponse of the model that answers; `version` as the caller wrote it, '' for all that are ready. */
export function describeModel(context: ProtocolContext, model: Model, version: string): object {
  const tensor = (spec: InputSpec | OutputSpec): object => ({
    name: spec.name,
    datatype: spec.datatype,
    shape: servedShape(model.signature, spec.dims),
  });
  return {
    name: model.name,
    versions: version === '' ? context.repository.readyVersions(model.name) : [model.version],
    platform: model.platform,
    inputs: model.signature.inputs.map(tensor),
    outputs: model.signature.outputs.map(tensor),
  };
}

/** ModelStatisticsResponse; `name` '': of all models, `version` '': of all its versions, a label: of the version it stands for. Loads nothing. */
export function describeStatistics(context: ProtocolContext, name: string, version: string): object {
  let models: Model[] = context.repository.readyModels();
  if (name !== '') {
    const number = context.repository.resolveVersion(name, version);
    models = models.filter((model) => model.name === name && (number === '' || model.version === number));
    // Unknown names are INVALID_ARGUMENT here, unlike everywhere else (reference section 11, rows 5 and 6).
    if (models.length === 0) {
      throw invalidArgument(
        version === ''
          ? `requested model '${name}' is not available`
          : `requested model version is not available for model '${name}': version ${version}`,
      );
    }
  }
  return { model_stats: models.map((model) => statisticsOf(model.reporter)) };
}

function statisticsOf(reporter: ModelReporter): object {
  const duration = ({ count, ns }: StatisticDuration): object => ({ count, ns: Math.round(ns) });
  return {
    name: reporter.modelName,
    version: reporter.modelVersion,
    last_inference: reporter.lastInferenceMs,
    inference_count: reporter.inferenceCount,
    execution_count: reporter.executionCount,
    inference_stats: {
      success: duration(reporter.success),
      fail: duration(reporter.fail),
      queue: duration(reporter.queue),
      compute_input: duration(reporter.computeInput),
      compute_infer: duration(reporter.computeInfer),
      compute_output: duration(reporter.computeOutput),
      cache_hit: duration(reporter.cacheHit),
      cache_miss: duration(reporter.cacheMiss),
    },
    response_stats: Object.fromEntries(
      reporter.responses.map((response, index) => [
        String(index),
        {
          compute_infer: duration(response.computeInfer),
          compute_output: duration(response.computeOutput),
          success: duration(response.success),
          fail: duration(response.fail),
          empty_response: duration(response.empty),
          cancel: duration(response.cancel),
        },
      ]),
    ),
    batch_stats: [...reporter.batches]
      .sort(([a], [b]) => a - b)
      .map(([batchSize, batch]) => ({
        batch_size: batchSize,
        compute_input: duration(batch.computeInput),
        compute_infer: duration(batch.computeInfer),
        compute_output: duration(batch.computeOutput),
      })),
    memory_usage: [],
  };
}
