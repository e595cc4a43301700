import type { Field, Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { ConfigFinding } from './config-finding.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf, qualifiedNameOf } from './model-config-schema.ts';

/**
 * supported: acted on. ignored: has no effect here by nature, and a warning says so. refused: it would change answers or scheduling and is not
 * there yet, so a configuration that sets it does not load.
 */
export type SupportLevel = 'supported' | 'ignored' | 'refused';

export interface FieldSupport {
  readonly level: SupportLevel;
  /** Why it is ignored or refused, and what to do instead. */
  readonly why?: string;
  /** Which set values the level is about; every set value when left out. */
  readonly appliesTo?: (value: unknown) => boolean;
}

const supported: FieldSupport = { level: 'supported' };
const ignored = (why: string): FieldSupport => ({ level: 'ignored', why });
const refused = (why: string, appliesTo?: (value: unknown) => boolean): FieldSupport =>
  appliesTo === undefined ? { level: 'refused', why } : { level: 'refused', why, appliesTo };

const tensorRtOnly = 'TensorRT alone reads it, and this server has no TensorRT backend; remove it';

/**
 * Every field of ModelConfig and of the messages inside it. An entry that is ignored or refused whenever it is set answers for everything
 * below it; a field that the .proto file has and this table lacks fails a test.
 */
export const configSupport: Readonly<Record<string, FieldSupport>> = {
  'ModelConfig.name': supported,
  'ModelConfig.platform': supported,
  'ModelConfig.backend': supported,
  'ModelConfig.runtime': refused('a backend here has one variant; remove it'),
  'ModelConfig.version_policy': supported,
  'ModelConfig.max_batch_size': supported,
  'ModelConfig.input': supported,
  'ModelConfig.output': supported,
  'ModelConfig.batch_input': refused('tensors made by the server for each batch are not built yet; compute them in the model'),
  'ModelConfig.batch_output': refused('scattering a concatenated output is not built yet; give each request an output of its own'),
  'ModelConfig.optimization': supported,
  'ModelConfig.dynamic_batching': supported,
  'ModelConfig.sequence_batching': refused('the sequence batcher is not built yet; send state with each request'),
  'ModelConfig.ensemble_scheduling': refused('ensembles are not built yet; call the models one after the other'),
  'ModelConfig.instance_group': supported,
  'ModelConfig.default_model_filename': supported,
  'ModelConfig.cc_model_filenames': refused('models run on the CPU; name the one file in default_model_filename'),
  'ModelConfig.metric_tags': supported,
  'ModelConfig.parameters': supported,
  'ModelConfig.model_warmup': supported,
  'ModelConfig.model_operations': refused('libraries of custom operators are native code that this server does not load'),
  'ModelConfig.model_transaction_policy': supported,
  'ModelConfig.model_repository_agents': refused('repository agents are not built yet, so what they check or transform would be skipped'),
  'ModelConfig.response_cache': supported,
  'ModelConfig.model_metrics': supported,

  'ModelConfig.version_labels': supported,
  'ModelConfig.golden_check': supported,
  'ModelConfig.warmup_requests': supported,
  'ModelConfig.learned_batching': refused('batches are not learned yet; remove it'),

  'ModelMetrics.metric_control': supported,
  'ModelMetrics.MetricControl.metric_identifier': supported,
  'ModelMetrics.MetricControl.histogram_options': supported,
  'ModelMetrics.MetricControl.MetricIdentifier.family': {
    level: 'ignored',
    why: 'only nv_inference_first_response_histogram_ms has buckets to choose; remove the entry',
    appliesTo: (value) => value !== 'nv_inference_first_response_histogram_ms',
  },
  'ModelMetrics.MetricControl.HistogramOptions.buckets': supported,

  'ModelVersionPolicy.latest': supported,
  'ModelVersionPolicy.all': supported,
  'ModelVersionPolicy.specific': supported,
  'ModelVersionPolicy.Latest.num_versions': supported,
  'ModelVersionPolicy.Specific.versions': supported,

  'ModelInput.name': supported,
  'ModelInput.data_type': supported,
  'ModelInput.format': supported,
  'ModelInput.dims': supported,
  'ModelInput.reshape': supported,
  'ModelInput.is_shape_tensor': refused(tensorRtOnly),
  'ModelInput.allow_ragged_batch': refused(
    'ragged batches are not built yet; pad the input, or leave requests of different shapes to separate batches',
  ),
  'ModelInput.optional': supported,
  'ModelInput.is_non_linear_format_io': refused(tensorRtOnly),

  'ModelOutput.name': supported,
  'ModelOutput.data_type': supported,
  'ModelOutput.dims': supported,
  'ModelOutput.reshape': supported,
  'ModelOutput.label_filename': supported,
  'ModelOutput.is_shape_tensor': refused(tensorRtOnly),
  'ModelOutput.is_non_linear_format_io': refused(tensorRtOnly),

  'ModelTensorReshape.shape': supported,

  'ModelInstanceGroup.name': supported,
  'ModelInstanceGroup.count': supported,
  'ModelInstanceGroup.kind': refused(
    'models run on the CPU, and the server places them; use KIND_CPU or KIND_AUTO',
    (value) => value === 'KIND_GPU' || value === 'KIND_MODEL',
  ),
  'ModelInstanceGroup.gpus': refused('models run on the CPU; remove it'),
  'ModelInstanceGroup.profile': refused(tensorRtOnly),
  'ModelInstanceGroup.rate_limiter': refused('the rate limiter is not built yet; bound the queue with max_queue_size'),
  'ModelInstanceGroup.passive': refused('instances that get no requests are not built yet; remove the group'),
  'ModelInstanceGroup.secondary_devices': ignored(tensorRtOnly),
  'ModelInstanceGroup.host_policy': ignored('instances are not pinned to processors or NUMA nodes; set affinity for the whole server'),

  'ModelOptimizationPolicy.graph': supported,
  'ModelOptimizationPolicy.Graph.level': supported,
  'ModelOptimizationPolicy.priority': ignored(tensorRtOnly),
  'ModelOptimizationPolicy.cuda': ignored('it tunes CUDA execution, and models run on the CPU'),
  'ModelOptimizationPolicy.execution_accelerators': ignored('models run with ONNX Runtime on the CPU, without an accelerator'),
  'ModelOptimizationPolicy.input_pinned_memory': ignored('it speeds up copies to a GPU, and models run on the CPU'),
  'ModelOptimizationPolicy.output_pinned_memory': ignored('it speeds up copies from a GPU, and models run on the CPU'),
  'ModelOptimizationPolicy.gather_kernel_buffer_threshold': ignored(tensorRtOnly),
  'ModelOptimizationPolicy.eager_batching': ignored(tensorRtOnly),

  'ModelDynamicBatching.preferred_batch_size': supported,
  'ModelDynamicBatching.max_queue_delay_microseconds': supported,
  'ModelDynamicBatching.preserve_ordering': refused('responses leave as they are ready; match them by id'),
  'ModelDynamicBatching.priority_levels': refused('priority levels are not built yet; leave it at 0', (value) => Number(value) > 1),
  'ModelDynamicBatching.default_priority_level': supported,
  'ModelDynamicBatching.default_queue_policy': supported,
  'ModelDynamicBatching.priority_queue_policy': refused('priority levels are not built yet; use default_queue_policy'),

  'ModelQueuePolicy.timeout_action': refused('delaying requests that timed out is not built yet; leave it at REJECT'),
  'ModelQueuePolicy.default_timeout_microseconds': refused(
    'queue timeouts from the configuration are not built yet; bound the queue with max_queue_size',
  ),
  'ModelQueuePolicy.allow_timeout_override': refused('queue timeouts from the configuration are not built yet; remove it'),
  'ModelQueuePolicy.max_queue_size': supported,

  'ModelParameter.string_value': supported,

  'ModelWarmup.name': supported,
  'ModelWarmup.batch_size': supported,
  'ModelWarmup.inputs': supported,
  'ModelWarmup.count': supported,
  'ModelWarmup.Input.data_type': supported,
  'ModelWarmup.Input.dims': supported,
  'ModelWarmup.Input.zero_data': supported,
  'ModelWarmup.Input.random_data': supported,
  'ModelWarmup.Input.input_data_file': supported,

  'ModelGoldenCheck.name': supported,
  'ModelGoldenCheck.file': supported,
  'ModelGoldenCheck.absolute_tolerance': supported,
  'ModelGoldenCheck.relative_tolerance': supported,

  'ModelTransactionPolicy.decoupled': supported,

  'ModelResponseCache.enable': refused('the response cache is not built yet; leave it off'),
};

/**
 * What a configuration sets and this server does not act on: an error for each refused field, a warning for each ignored one. Take it from the
 * configuration as parsed, so that only what its author wrote is reported.
 */
export function findUnsupportedConfig(config: ModelConfig): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  visitMessage(modelConfigType, config, '', findings);
  if (config.modelTransactionPolicy?.decoupled && config.dynamicBatching !== null) {
    findings.push({
      severity: 'warning',
      field: 'dynamic_batching',
      message: 'has no effect but for its max_queue_size: each request of a decoupled model runs by itself; remove it',
    });
  }
  return findings;
}

function visitMessage(type: Type, message: object, path: string, findings: ConfigFinding[]): void {
  for (const field of type.fieldsArray) {
    const value: unknown = Reflect.get(message, field.name);
    if (!isSet(field, value)) continue;
    const fieldPath = path === '' ? protoNameOf(field) : `${path}.${protoNameOf(field)}`;
    const support = configSupport[qualifiedNameOf(field)];
    if (support === undefined) throw new Error(`${qualifiedNameOf(field)} is missing from the table of configuration support`);
    if (support.level !== 'supported' && (support.appliesTo?.(value) ?? true)) {
      const isError = support.level === 'refused';
      findings.push({
        severity: isError ? 'error' : 'warning',
        field: fieldPath,
        message: `${show(value)}${isError ? 'not supported' : 'has no effect'}: ${support.why}`,
      });
    } else {
      visitMembers(field, value, fieldPath, findings);
    }
  }
}

function visitMembers(field: Field, value: unknown, path: string, findings: ConfigFinding[]): void {
  const type = messageTypeOf(field);
  if (type === null || typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const [index, member] of value.entries()) visitMessage(type, member, `${path}[${index}]`, findings);
  } else if (field.map) {
    for (const [key, member] of Object.entries(value)) visitMessage(type, member, `${path}[${JSON.stringify(key)}]`, findings);
  } else {
    visitMessage(type, value, path, findings);
  }
}

/** Not at its proto3 default. */
function isSet(field: Field, value: unknown): boolean {
  if (value === null || value === undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object') return !field.map || Object.keys(value).length > 0;
  if (field.partOf !== null) return true;
  const enumValues = enumValuesOf(field);
  return enumValues === null ? Boolean(value) : typeof value !== 'string' || enumValues[value] !== 0;
}

function show(value: unknown): string {
  return typeof value === 'object' ? '' : `${JSON.stringify(value).replaceAll('"', '')} is `;
}
