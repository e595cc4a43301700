import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeModelConfig } from './encode-model-config.ts';
import { anyModelConfig } from './model-config.case.ts';
import { modelConfigType } from './model-config-schema.ts';
import { parseModelConfig } from './parse-model-config.ts';

describe('encodeModelConfig', () => {
  test('prints every scalar, list and map, and leaves unset messages out', () => {
    const config = parseModelConfig(
      'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: -1 } dynamic_batching { }',
      'pbtxt',
      'c',
    );
    expect(encodeModelConfig(config)).toEqual({
      name: '',
      platform: '',
      backend: '',
      runtime: '',
      max_batch_size: 8,
      input: [
        {
          name: 'X',
          data_type: 'TYPE_FP32',
          format: 'FORMAT_NONE',
          dims: [-1],
          is_shape_tensor: false,
          allow_ragged_batch: false,
          optional: false,
          is_non_linear_format_io: false,
        },
      ],
      output: [],
      batch_input: [],
      batch_output: [],
      dynamic_batching: {
        preferred_batch_size: [],
        max_queue_delay_microseconds: 0,
        preserve_ordering: false,
        priority_levels: 0,
        default_priority_level: 0,
        priority_queue_policy: {},
      },
      instance_group: [],
      default_model_filename: '',
      cc_model_filenames: {},
      metric_tags: {},
      parameters: {},
      model_warmup: [],
    });
  });

  test('gives the 64-bit fields that clients read as numbers as numbers, the others as strings', () => {
    const text = `
      version_policy { specific { versions: [3] } }
      instance_group { secondary_devices { device_id: 7 } }
      ensemble_scheduling { step { model_version: -1 } }
      optimization { cuda { graph_spec { input { key: "X" value { dim: [4] } } } } }`;
    const json = encodeModelConfig(parseModelConfig(text, 'pbtxt', 'c'));
    expect(json).toMatchObject({
      version_policy: { specific: { versions: [3] } },
      instance_group: [{ secondary_devices: [{ device_id: '7' }] }],
      ensemble_scheduling: { step: [{ model_version: -1 }] },
      optimization: { cuda: { graph_spec: [{ input: { X: { dim: ['4'] } } }] } },
    });
  });

  test('is read back as the same configuration', () => {
    fc.assert(
      fc.property(anyModelConfig, (config) => {
        expect(parseModelConfig(JSON.stringify(encodeModelConfig(config)), 'json', 'c')).toEqual(config);
      }),
      { numRuns: 60 },
    );
  });

  test('a configuration can be sent as a ModelConfigResponse: null means absent there too', () => {
    const config = parseModelConfig('name: "m" version_policy { specific { versions: [1, 3] } }', 'pbtxt', 'c');
    const bytes = modelConfigType.encode(modelConfigType.fromObject(config)).finish();
    // 1 "m"; 3 { 3 { 1 packed 1, 3 } }
    expect(Buffer.from(bytes).toString('hex')).toBe('0a016d' + '1a061a040a020103');
  });
});
