import type { Field, Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { messageTypeOf, modelConfigType, protoNameOf, qualifiedNameOf } from './model-config-schema.ts';

/** 64-bit fields that clients expect as JSON numbers; proto JSON would quote them, and quotes the others. */
const numberFields: ReadonlySet<string> = new Set([
  'ModelInput.dims',
  'ModelOutput.dims',
  'ModelTensorReshape.shape',
  'ModelVersionPolicy.Specific.versions',
  'ModelDynamicBatching.max_queue_delay_microseconds',
  'ModelDynamicBatching.priority_levels',
  'ModelDynamicBatching.default_priority_level',
  'ModelQueuePolicy.default_timeout_microseconds',
  'ModelSequenceBatching.max_sequence_idle_microseconds',
  'ModelSequenceBatching.StrategyDirect.max_queue_delay_microseconds',
  'ModelSequenceBatching.StrategyOldest.max_queue_delay_microseconds',
  'ModelSequenceBatching.State.dims',
  'ModelEnsembling.Step.model_version',
  'ModelWarmup.Input.dims',
  'ModelConfig.version_labels',
]);

/** Fields from this number on are this server's own, and left out while they say nothing: Triton's tools refuse fields that they do not know. */
const FIRST_OWN_FIELD = 1000;

/**
 * A configuration as the object that the config endpoint answers and that a load override may send back: snake_case names, enums by name, every
 * scalar, list and map printed, unset messages and oneof members left out. Source: reference 5.12.
 */
export function encodeModelConfig(config: ModelConfig): Record<string, unknown> {
  return encodeMessage(modelConfigType, config);
}

function encodeMessage(type: Type, message: object): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const value: unknown = Reflect.get(message, field.name);
    if (value === null || value === undefined || (field.id >= FIRST_OWN_FIELD && isUnset(value))) continue;
    result[protoNameOf(field)] = encodeField(field, value);
  }
  return result;
}

/** Says nothing: no members, no elements, or a scalar's default. */
function isUnset(value: unknown): boolean {
  return typeof value === 'object' ? Object.keys(value as object).length === 0 : !value;
}

function encodeField(field: Field, value: unknown): unknown {
  const messageType = messageTypeOf(field);
  const isQuoted = (field.type === 'int64' || field.type === 'uint64') && !numberFields.has(qualifiedNameOf(field));
  const encode = (member: unknown): unknown => {
    if (messageType !== null) return encodeMessage(messageType, member as object);
    return isQuoted ? String(member) : member;
  };
  if (Array.isArray(value)) return value.map(encode);
  if (field.map) return Object.fromEntries(Object.entries(value as object).map(([key, member]) => [key, encode(member)]));
  return encode(value);
}
