import type { Field, Type } from 'protobufjs';
import type { ModelConfig, ModelQueuePolicy } from '../../backends/api/model-config.ts';
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
  'ModelConfig.batch_input': supported,
  'ModelConfig.batch_output': supported,
  'ModelConfig.optimization': supported,
  'ModelConfig.dynamic_batching': supported,
  'ModelConfig.sequence_batching': supported,
  'ModelConfig.ensemble_scheduling': supported,
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
  'ModelConfig.learned_batching': supported,

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
  'ModelInput.allow_ragged_batch': supported,
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

  'BatchInput.kind': supported,
  'BatchInput.target_name': supported,
  'BatchInput.data_type': supported,
  'BatchInput.source_input': supported,
  'BatchOutput.target_name': supported,
  'BatchOutput.kind': supported,
  'BatchOutput.source_input': supported,

  'ModelInstanceGroup.name': supported,
  'ModelInstanceGroup.count': supported,
  'ModelInstanceGroup.kind': refused(
    'models run on the CPU, and the server places them; use KIND_CPU or KIND_AUTO',
    (value) => value === 'KIND_GPU' || value === 'KIND_MODEL',
  ),
  'ModelInstanceGroup.gpus': refused('models run on the CPU; remove it'),
  'ModelInstanceGroup.profile': refused(tensorRtOnly),
  'ModelInstanceGroup.rate_limiter': supported,
  'ModelInstanceGroup.passive': supported,
  'ModelRateLimiter.resources': supported,
  'ModelRateLimiter.priority': supported,
  'ModelRateLimiter.Resource.name': supported,
  'ModelRateLimiter.Resource.global': supported,
  'ModelRateLimiter.Resource.count': supported,
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
  'ModelDynamicBatching.preserve_ordering': supported,
  'ModelDynamicBatching.priority_levels': supported,
  'ModelDynamicBatching.default_priority_level': supported,
  'ModelDynamicBatching.default_queue_policy': supported,
  'ModelDynamicBatching.priority_queue_policy': supported,

  'ModelQueuePolicy.timeout_action': supported,
  'ModelQueuePolicy.default_timeout_microseconds': supported,
  'ModelQueuePolicy.allow_timeout_override': supported,
  'ModelQueuePolicy.max_queue_size': supported,

  'ModelSequenceBatching.max_sequence_idle_microseconds': supported,
  'ModelSequenceBatching.control_input': supported,
  'ModelSequenceBatching.direct': supported,
  'ModelSequenceBatching.oldest': supported,
  'ModelSequenceBatching.state': supported,
  'ModelSequenceBatching.iterative_sequence': supported,
  'ModelSequenceBatching.ControlInput.name': supported,
  'ModelSequenceBatching.ControlInput.control': supported,
  'ModelSequenceBatching.Control.kind': supported,
  'ModelSequenceBatching.Control.int32_false_true': supported,
  'ModelSequenceBatching.Control.fp32_false_true': supported,
  'ModelSequenceBatching.Control.bool_false_true': supported,
  'ModelSequenceBatching.Control.data_type': supported,
  'ModelSequenceBatching.State.input_name': supported,
  'ModelSequenceBatching.State.output_name': supported,
  'ModelSequenceBatching.State.data_type': supported,
  'ModelSequenceBatching.State.dims': supported,
  'ModelSequenceBatching.State.initial_state': supported,
  'ModelSequenceBatching.State.use_same_buffer_for_input_output': ignored(
    'a state is copied once from each output, whatever it says; remove it',
  ),
  'ModelSequenceBatching.State.use_growable_memory': ignored(
    'it places states in the memory of a GPU, and models run on the CPU; remove it',
  ),
  'ModelSequenceBatching.InitialState.data_type': supported,
  'ModelSequenceBatching.InitialState.dims': supported,
  'ModelSequenceBatching.InitialState.zero_data': supported,
  'ModelSequenceBatching.InitialState.data_file': supported,
  'ModelSequenceBatching.InitialState.name': supported,
  'ModelSequenceBatching.StrategyDirect.max_queue_delay_microseconds': supported,
  'ModelSequenceBatching.StrategyDirect.minimum_slot_utilization': supported,
  'ModelSequenceBatching.StrategyOldest.max_candidate_sequences': supported,
  'ModelSequenceBatching.StrategyOldest.preferred_batch_size': supported,
  'ModelSequenceBatching.StrategyOldest.max_queue_delay_microseconds': supported,
  'ModelSequenceBatching.StrategyOldest.preserve_ordering': supported,

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

  'ModelLearnedBatching.disable': supported,
  'ModelLearnedBatching.max_queue_time_microseconds': supported,

  'ModelGoldenCheck.name': supported,
  'ModelGoldenCheck.file': supported,
  'ModelGoldenCheck.absolute_tolerance': supported,
  'ModelGoldenCheck.relative_tolerance': supported,

  'ModelEnsembling.step': supported,
  'ModelEnsembling.max_inflight_requests': supported,
  'ModelEnsembling.Step.model_name': supported,
  'ModelEnsembling.Step.model_version': supported,
  'ModelEnsembling.Step.input_map': supported,
  'ModelEnsembling.Step.output_map': supported,
  'ModelEnsembling.Step.model_namespace': refused('model names are unique here; remove it'),
  'ModelEnsembling.Step.when': supported,
  'ModelEnsembling.Step.fallback': supported,
  'ModelEnsembling.Step.timeout_microseconds': supported,
  'ModelEnsembling.Condition.tensor': supported,
  'ModelEnsembling.Condition.equals': supported,
  'ModelEnsembling.Condition.not': supported,
  'ModelEnsembling.Fallback.model_name': supported,
  'ModelEnsembling.Fallback.model_version': supported,
  'ModelEnsembling.Fallback.input_map': supported,
  'ModelEnsembling.Fallback.output_map': supported,

  'ModelTransactionPolicy.decoupled': supported,

  'ModelResponseCache.enable': supported,
};

/**
 * What a configuration sets and this server does not act on: an error for each refused field, a warning for each ignored one. Take it from the
 * configuration as parsed, so that only what its author wrote is reported.
 */
export function findUnsupportedConfig(config: ModelConfig): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  visitMessage(modelConfigType, config, '', findings);
  if (config.backend === 'llamacpp' || config.defaultModelFilename.endsWith('.gguf')) nameGpuLayers(findings);
  if (config.modelTransactionPolicy?.decoupled) findings.push(...findDecoupledBatching(config.dynamicBatching));
  warnOfOverrides(config, findings);
  return findings;
}

/** GGUF models alone can use a GPU, and another setting says so. */
function nameGpuLayers(findings: ConfigFinding[]): void {
  for (const [index, { severity, field, message }] of findings.entries()) {
    if (severity !== 'error' || !/^instance_group\[\d+\]\.(kind|gpus)$/.test(field)) continue;
    const set = message.slice(0, message.indexOf(':'));
    const instead = "parameters['gpu_layers'] says how many of the model's layers a GPU takes; set that, and remove this";
    findings[index] = { severity, field, message: `${set}: ${instead}` };
  }
}

/** What of the dynamic batching a decoupled model has no use for: all but the length of its queue. */
export function findDecoupledBatching(batching: ModelConfig['dynamicBatching']): ConfigFinding[] {
  if (batching === null) return [];
  const { defaultQueuePolicy, ...others } = batching;
  const { maxQueueSize, ...policy } = defaultQueuePolicy ?? { maxQueueSize: 0 };
  if (maxQueueSize > 0 && isEmptyMessage(others) && isEmptyMessage(policy)) return [];
  return [
    {
      severity: 'warning',
      field: 'dynamic_batching',
      message: 'has no effect but for its max_queue_size: each request of a decoupled model runs by itself; remove it',
    },
  ];
}

/** Nothing but what a field is when nobody writes it. */
function isEmptyMessage(message: object): boolean {
  return Object.values(message).every(
    (value) => !value || value === 'REJECT' || (typeof value === 'object' && Object.keys(value).length === 0),
  );
}

/** A request may only shorten the timeout that the configuration gives (reference 7.1). */
function warnOfOverrides({ dynamicBatching }: ModelConfig, findings: ConfigFinding[]): void {
  if (dynamicBatching === null) return;
  const policies: [string, ModelQueuePolicy | null][] = [['default_queue_policy', dynamicBatching.defaultQueuePolicy]];
  for (const [level, policy] of Object.entries(dynamicBatching.priorityQueuePolicy))
    policies.push([`priority_queue_policy["${level}"]`, policy]);
  for (const [path, policy] of policies) {
    if (!policy?.allowTimeoutOverride || policy.defaultTimeoutMicroseconds > 0) continue;
    findings.push({
      severity: 'warning',
      field: `dynamic_batching.${path}.allow_timeout_override`,
      message: "has no effect while default_timeout_microseconds is 0, as a request's timeout may only be shorter than that; give it one",
    });
  }
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
