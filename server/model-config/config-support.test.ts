import type { Type } from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { configSupport, findUnsupportedConfig } from './config-support.ts';
import { messageTypeOf, modelConfigType, qualifiedNameOf } from './model-config-schema.ts';
import { emptyModelConfig, parseModelConfig } from './parse-model-config.ts';

/** Every field that can be reached without passing a field which is ignored or refused as a whole. */
function reachableFields(type: Type, found = new Set<string>()): Set<string> {
  for (const field of type.fieldsArray) {
    const name = qualifiedNameOf(field);
    if (found.has(name)) continue;
    found.add(name);
    const inside = messageTypeOf(field);
    const support = configSupport[name];
    if (inside !== null && (support === undefined || support.level === 'supported' || support.appliesTo !== undefined))
      reachableFields(inside, found);
  }
  return found;
}

describe('the table of configuration support', () => {
  test('has every field of model_config.proto, and nothing else', () => {
    expect(Object.keys(configSupport).sort()).toEqual([...reachableFields(modelConfigType)].sort());
  });

  test('says why for everything that is not supported', () => {
    for (const [name, support] of Object.entries(configSupport)) {
      if (support.level !== 'supported') expect(support.why, name).toMatch(/\w{3,}/);
    }
  });
});

describe('findUnsupportedConfig', () => {
  const find = (text: string): string[] =>
    findUnsupportedConfig(parseModelConfig(text, 'pbtxt', 'c')).map((finding) => `${finding.severity} ${finding.field}`);

  test('finds nothing in an empty configuration, nor in one that uses what is there', () => {
    expect(findUnsupportedConfig(emptyModelConfig())).toEqual([]);
    expect(
      find(`name: "REJECT" backend: "onnxruntime" max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: 4 reshape { shape: [2, 2] } optional: true }
        output { name: "Y" data_type: TYPE_FP32 dims: 4 label_filename: "l" }
        version_policy { all { } } optimization { graph { level: 1 } } instance_group { kind: KIND_CPU count: 2 }
        dynamic_batching { preferred_batch_size: 4 default_queue_policy { max_queue_size: 3 } priority_levels: 1 default_priority_level: 1 }
        response_cache { enable: false } model_transaction_policy { decoupled: false }
        parameters { key: "a" value { string_value: "b" } } metric_tags { key: "a" value: "b" }`),
    ).toEqual([]);
  });

  test.each([
    ['sequence_batching { }', 'error sequence_batching'],
    ['ensemble_scheduling { }', 'error ensemble_scheduling'],
    ['response_cache { enable: true }', 'error response_cache.enable'],
    ['model_transaction_policy { decoupled: true } dynamic_batching { }', 'warning dynamic_batching'],
    ['dynamic_batching { priority_levels: 2 }', 'error dynamic_batching.priority_levels'],
    ['dynamic_batching { preserve_ordering: true }', 'error dynamic_batching.preserve_ordering'],
    ['dynamic_batching { default_queue_policy { timeout_action: DELAY } }', 'error dynamic_batching.default_queue_policy.timeout_action'],
    [
      'dynamic_batching { default_queue_policy { default_timeout_microseconds: 5 } }',
      'error dynamic_batching.default_queue_policy.default_timeout_microseconds',
    ],
    ['input { } input { allow_ragged_batch: true }', 'error input[1].allow_ragged_batch'],
    ['output { is_shape_tensor: true }', 'error output[0].is_shape_tensor'],
    ['batch_input { }', 'error batch_input'],
    ['instance_group { kind: KIND_GPU }', 'error instance_group[0].kind'],
    ['instance_group { passive: true }', 'error instance_group[0].passive'],
    ['instance_group { rate_limiter { } }', 'error instance_group[0].rate_limiter'],
    ['cc_model_filenames { key: "8.0" value: "x" }', 'error cc_model_filenames'],
    ['model_repository_agents { }', 'error model_repository_agents'],
    ['model_operations { }', 'error model_operations'],
    ['optimization { cuda { graphs: true } }', 'warning optimization.cuda'],
    ['optimization { input_pinned_memory { enable: false } }', 'warning optimization.input_pinned_memory'],
    ['optimization { priority: PRIORITY_MAX }', 'warning optimization.priority'],
    [
      'model_metrics { metric_control { metric_identifier { family: "other" } } }',
      'warning model_metrics.metric_control[0].metric_identifier.family',
    ],
  ])('%s', (text, found) => {
    expect(find(text)).toEqual([found]);
  });

  test('takes a decoupled model, whose requests run by themselves', () => {
    expect(find('model_transaction_policy { decoupled: true }')).toEqual([]);
  });

  test('says what was set and what to do', () => {
    const [finding] = findUnsupportedConfig(parseModelConfig('instance_group { kind: KIND_GPU }', 'pbtxt', 'c'));
    expect(finding?.message).toBe(
      'KIND_GPU is not supported: models run on the CPU, and the server places them; use KIND_CPU or KIND_AUTO',
    );
  });
});
