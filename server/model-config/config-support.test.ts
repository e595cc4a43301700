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
        input { name: "X" data_type: TYPE_FP32 dims: 4 reshape { shape: [2, 2] } optional: true allow_ragged_batch: true }
        batch_input { kind: BATCH_ITEM_SHAPE target_name: "S" data_type: TYPE_INT32 source_input: "X" }
        batch_output { target_name: "Y" source_input: "X" }
        output { name: "Y" data_type: TYPE_FP32 dims: 4 label_filename: "l" }
        version_policy { all { } } optimization { graph { level: 1 } } instance_group { kind: KIND_CPU count: 2 }
        instance_group { passive: true rate_limiter { resources { name: "R" global: true count: 2 } priority: 2 } }
        dynamic_batching { preferred_batch_size: 4 priority_levels: 3 default_priority_level: 1 preserve_ordering: true
          default_queue_policy { max_queue_size: 3 timeout_action: DELAY default_timeout_microseconds: 5 allow_timeout_override: true }
          priority_queue_policy { key: 2 value { max_queue_size: 3 } } }
        response_cache { enable: true } model_transaction_policy { decoupled: false }
        parameters { key: "a" value { string_value: "b" } } metric_tags { key: "a" value: "b" }`),
    ).toEqual([]);
  });

  test.each([
    ['sequence_batching { state { use_growable_memory: true } }', 'warning sequence_batching.state[0].use_growable_memory'],
    ['ensemble_scheduling { step { model_namespace: "x" } }', 'error ensemble_scheduling.step[0].model_namespace'],
    ['model_transaction_policy { decoupled: true } dynamic_batching { }', 'warning dynamic_batching'],
    [
      'dynamic_batching { default_queue_policy { allow_timeout_override: true } }',
      'warning dynamic_batching.default_queue_policy.allow_timeout_override',
    ],
    [
      'dynamic_batching { priority_queue_policy { key: 2 value { allow_timeout_override: true } } }',
      'warning dynamic_batching.priority_queue_policy["2"].allow_timeout_override',
    ],
    ['input { } input { is_shape_tensor: true }', 'error input[1].is_shape_tensor'],
    ['output { is_shape_tensor: true }', 'error output[0].is_shape_tensor'],
    ['instance_group { kind: KIND_GPU }', 'error instance_group[0].kind'],
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
    const queue = (fields: string): unknown => find(`model_transaction_policy { decoupled: true } dynamic_batching { ${fields} }`);
    expect(queue('default_queue_policy { max_queue_size: 9 }')).toEqual([]);
    expect(queue('preserve_ordering: true default_queue_policy { max_queue_size: 9 }')).toEqual(['warning dynamic_batching']);
    expect(queue('default_queue_policy { max_queue_size: 9 timeout_action: DELAY }')).toEqual(['warning dynamic_batching']);
  });

  test('says what was set and what to do', () => {
    const [finding] = findUnsupportedConfig(parseModelConfig('instance_group { kind: KIND_GPU }', 'pbtxt', 'c'));
    expect(finding?.message).toBe(
      'KIND_GPU is not supported: models run on the CPU, and the server places them; use KIND_CPU or KIND_AUTO',
    );
  });

  test('names the setting that a GGUF model has for a GPU', () => {
    const messages = (text: string): string[] =>
      findUnsupportedConfig(parseModelConfig(`${text} instance_group { kind: KIND_GPU gpus: 0 }`, 'pbtxt', 'c')).map(
        ({ message }) => message,
      );
    const gpuLayers = "not supported: parameters['gpu_layers'] says how many of the model's layers a GPU takes; set that, and remove this";
    expect(messages('backend: "llamacpp"')).toEqual([gpuLayers, `KIND_GPU is ${gpuLayers}`]);
    expect(messages('default_model_filename: "m.gguf"')).toEqual([gpuLayers, `KIND_GPU is ${gpuLayers}`]);
    expect(messages('backend: "onnxruntime"').join()).not.toContain('gpu_layers');
  });
});
