import fc from 'fast-check';
import textFormat from 'protobufjs/ext/textformat.js';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { encodeModelConfig } from './encode-model-config.ts';
import { findDuplicateKey } from './find-duplicate-key.ts';
import { anyModelConfig } from './model-config.case.ts';
import { modelConfigType } from './model-config-schema.ts';
import { type ConfigFormat, emptyModelConfig, MAX_CONFIG_BYTES, parseModelConfig } from './parse-model-config.ts';

function errorOf(text: string, format: ConfigFormat): string {
  try {
    parseModelConfig(text, format, `config.${format}`);
  } catch (error) {
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error(`expected an error for ${text}`);
}

const pbtxt = `
# a comment
name: 'resnet'
platform: "onnxruntime" "_onnx";
max_batch_size: 0x10,
input [ { name: "X" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 0340 ] } ]
output < name: "Y" data_type: TYPE_FP32 dims: 1000 label_filename: "labels.txt" >
dynamic_batching: { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
version_policy: { specific: { versions: [1,3] } }
instance_group [ { kind: KIND_CPU count: 2 } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
metric_tags: [ { key: "team" value: "a" }, { key: "b" value: "c" } ]
model_transaction_policy { decoupled: f }
`;
const json = `{
  "name": "resnet", "platform": "onnxruntime_onnx", "maxBatchSize": 16,
  "input": [{"name": "X", "data_type": "type_fp32", "format": "FORMAT_NCHW", "dims": ["3", 224, 224]}],
  "output": [{"name": "Y", "dataType": 11, "dims": [1000], "label_filename": "labels.txt"}],
  "dynamic_batching": {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": "100"},
  "version_policy": {"specific": {"versions": [1, 3]}, "latest": null},
  "instance_group": [{"kind": "KIND_CPU", "count": 2}],
  "parameters": {"intra_op_thread_count": {"string_value": "1"}},
  "metric_tags": {"team": "a", "b": "c"},
  "model_transaction_policy": {"decoupled": false}
}`;
const yaml = `
name: resnet
platform: onnxruntime_onnx
max_batch_size: 16
input:
  - { name: X, data_type: TYPE_FP32, format: FORMAT_NCHW, dims: [3, 224, 224] }
output:
  - name: Y
    data_type: TYPE_FP32
    dims: [1000]
    label_filename: labels.txt
dynamic_batching: { preferred_batch_size: [4, 8], max_queue_delay_microseconds: 100 }
version_policy: { specific: { versions: [1, 3] } }
instance_group: [{ kind: KIND_CPU, count: 2 }]
parameters:
  intra_op_thread_count: { string_value: '1' }
metric_tags: { team: a, b: c }
model_transaction_policy: { decoupled: false }
`;

describe('parseModelConfig', () => {
  test('reads the same from pbtxt, JSON and YAML', () => {
    const config = parseModelConfig(pbtxt, 'pbtxt', 'config.pbtxt');
    expect(config).toMatchObject({
      name: 'resnet',
      platform: 'onnxruntime_onnx',
      maxBatchSize: 16,
      input: [{ name: 'X', dataType: 'TYPE_FP32', format: 'FORMAT_NCHW', dims: [3, 224, 224], reshape: null, optional: false }],
      output: [{ name: 'Y', dims: [1000], labelFilename: 'labels.txt' }],
      dynamicBatching: { preferredBatchSize: [4, 8], maxQueueDelayMicroseconds: 100, defaultQueuePolicy: null },
      sequenceBatching: null,
      versionPolicy: { latest: null, all: null, specific: { versions: [1, 3] } },
      parameters: { intra_op_thread_count: { stringValue: '1' } },
      metricTags: { team: 'a', b: 'c' },
    });
    expect(parseModelConfig(json, 'json', 'config.json')).toEqual(config);
    expect(parseModelConfig(yaml, 'yaml', 'config.yaml')).toEqual(config);
  });

  test('nothing given is everything at its default, and an empty dynamic_batching is not nothing', () => {
    for (const [text, format] of [
      ['', 'pbtxt'],
      ['{}', 'json'],
      ['', 'yaml'],
      ['# only a comment\n', 'yaml'],
    ] as const) {
      expect(parseModelConfig(text, format, 'c')).toEqual(emptyModelConfig());
    }
    expect(emptyModelConfig()).toMatchObject({ dynamicBatching: null, maxBatchSize: 0, input: [], parameters: {}, versionPolicy: null });
    expect(parseModelConfig('dynamic_batching { }', 'pbtxt', 'c').dynamicBatching).not.toBeNull();
    expect(parseModelConfig('dynamic_batching: {}', 'yaml', 'c').dynamicBatching).not.toBeNull();
  });

  test.each([
    [
      'max_batchsize: 4',
      "config.pbtxt, line 1: ModelConfig: unknown field 'max_batchsize', at `max_batchsize: 4`; did you mean 'max_batch_size'?",
    ],
    [
      'name: "m"\ninput {\n  data_type: TYPE_FLOAT32\n}\n',
      'config.pbtxt, line 3: ModelInput.data_type: enum value expected, at `data_type: TYPE_FLOAT32`',
    ],
    ['\nname: "a"\nname: "b"\n', 'config.pbtxt, line 3: ModelConfig.name: given twice, at `name: "b"`'],
    [
      'dynamic_batching {}\nsequence_batching {}',
      'config.pbtxt, line 2: only one of dynamic_batching, sequence_batching, ensemble_scheduling may be given',
    ],
    ['version_policy { all {}\n latest {} }', 'line 2: only one of latest, all, specific may be given, at `latest {} }`'],
    ['input { dims: [1,] }', 'line 1: integer value expected'],
    ['input { dims: 4 ', "line 1: expected '}'"],
    ['max_batch_size: "4"', 'integer value expected'],
    ['max_batch_size: 99999999999', 'integer value out of range'],
    [
      'dynamic_batching { max_queue_delay_microseconds: 9007199254740993 }',
      'dynamic_batching.max_queue_delay_microseconds: expected an integer from 0 to',
    ],
    ['input { data_type: 99 }', 'input[0].data_type: expected one of TYPE_INVALID, TYPE_BOOL'],
    ['metric_tags { key: "__proto__" value: "x" }', 'metric_tags["__proto__"]: this key is not allowed'],
  ])('pbtxt %j', (text, message) => {
    expect(errorOf(text, 'pbtxt')).toContain(message);
  });

  test.each([
    ['{"input":[{"dtype":"TYPE_FP32"}]}', 'config.json: input[0].dtype: unknown field; ModelInput has: name, data_type, format'],
    ['{"max_batch_sizes":1}', "config.json: max_batch_sizes: unknown field; did you mean 'max_batch_size'?"],
    ['{"input":[{"data_type":"TYPE_FLOAT32"}]}', 'got "TYPE_FLOAT32"'],
    ['{"max_batch_size":1,"maxBatchSize":1}', 'max_batch_size: given twice, in snake_case and in camelCase'],
    ['{"name":"a","input":[],"name":"b"}', 'the key "name" is given twice'],
    ['{"dynamic_batching":{},"sequence_batching":{}}', 'only one of dynamic_batching and sequence_batching'],
    ['{"max_batch_size":1.5}', 'max_batch_size: expected an integer, got 1.5'],
    ['{"max_batch_size":3000000000}', 'max_batch_size: expected an integer from -2147483648 to 2147483647, got 3000000000'],
    ['{"input":[{"dims":[9007199254740993]}]}', 'input[0].dims[0]: expected an integer from -9007199254740991'],
    ['{"input":{"name":"X"}}', 'input: expected a list, got an object'],
    ['{"input":[null]}', 'input[0]: expected an object, got null'],
    ['{"parameters":{"a":{"string_value":1}}}', 'parameters["a"].string_value: expected a string, got 1; put it in quotes'],
    ['{"model_transaction_policy":{"decoupled":"true"}}', 'expected true or false, got "true"'],
    ['{"__proto__":{"name":"x"}}', '__proto__: unknown field'],
    ['{"parameters":{"__proto__":{}}}', 'parameters["__proto__"]: this key is not allowed'],
    ['[]', 'config.json: expected an object, got a list'],
    ['{"name":', 'config.json: not JSON:'],
    ['', 'config.json: not JSON:'],
    ['['.repeat(100_000), 'config.json: not JSON:'],
  ])('JSON %s', (text, message) => {
    expect(errorOf(text, 'json')).toContain(message);
  });

  test.each([
    ['name: a\nname: b\n', 'config.yaml, line 2, column 1: the key "name" is given twice in one object'],
    [
      `name: &a x\nmetric_tags:\n${Array.from({ length: 101 }, (_, i) => `  k${i}: *a\n`).join('')}`,
      'line 103, column 9: expected at most 100 aliases',
    ],
    ['name: !!python/object a', 'config.yaml, line 1, column 7: not YAML:'],
    ['max_batch_size: many', 'max_batch_size: expected an integer, got "many"'],
    ['name: 7', 'name: expected a string, got 7; put it in quotes'],
    ['- a', 'config.yaml: expected an object, got a list'],
    ['parameters: { __proto__: { string_value: x } }', 'parameters["__proto__"]: this key is not allowed'],
    [
      `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [${'*a,'.repeat(9)}]\nc: &c [${'*b,'.repeat(9)}]\nd: [${'*c,'.repeat(9)}]`,
      'not YAML that can be read',
    ],
    [`name: ${'['.repeat(5_000)}`, 'config.yaml'],
  ])('YAML %s', (text, message) => {
    expect(errorOf(text, 'yaml')).toContain(message);
  });

  test('takes the value of a parameter alone', () => {
    const { parameters } = parseModelConfig(
      'parameters: { threads: 2, lora: a.gguf, use_mmap: false, long: { string_value: x } }',
      'yaml',
      'c',
    );
    expect(parameters).toEqual({
      threads: { stringValue: '2' },
      lora: { stringValue: 'a.gguf' },
      use_mmap: { stringValue: 'false' },
      long: { stringValue: 'x' },
    });
    expect(errorOf('parameters: { threads: [2] }', 'yaml')).toContain('parameters["threads"]: expected an object, got a list');
  });

  test('refuses a text above the limit, and reads one just below it', () => {
    const padding = '#'.repeat(MAX_CONFIG_BYTES - 20);
    expect(parseModelConfig(`name: "m"\n${padding}`, 'pbtxt', 'c').name).toBe('m');
    expect(() => parseModelConfig(`name: "m"\n${padding}${'#'.repeat(40)}`, 'pbtxt', 'c')).toThrow(`at most ${MAX_CONFIG_BYTES} bytes`);
    expect(() => parseModelConfig(`name: m\n${padding}`, 'yaml', 'c')).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED' }));
  });

  test('any configuration written as text format is read back the same', () => {
    fc.assert(
      fc.property(anyModelConfig, (config) => {
        const text = textFormat.toText(modelConfigType, modelConfigType.fromObject(config));
        expect(parseModelConfig(text, 'pbtxt', 'c')).toEqual(config);
      }),
      { numRuns: 60 },
    );
  });

  test('any configuration written as YAML is read back the same', () => {
    fc.assert(
      fc.property(anyModelConfig, (config) => {
        expect(parseModelConfig(stringify(encodeModelConfig(config)), 'yaml', 'c')).toEqual(config);
      }),
      { numRuns: 20 },
    );
  });

  test('any text gives a configuration or an INVALID_ARGUMENT', () => {
    const scraps = fc.array(
      fc.constantFrom('input', '{', '}', '[', ']', ':', ' dims', '1', '"x"', ',', '\n', 'name', '<', '-', '&a ', '*a', '#'),
    );
    fc.assert(
      fc.property(scraps, fc.constantFrom<ConfigFormat>('pbtxt', 'json', 'yaml'), (parts, format) => {
        try {
          parseModelConfig(parts.join(''), format, 'c');
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('findDuplicateKey', () => {
  test('tells keys of one object from those of another, and from values', () => {
    expect(findDuplicateKey('{"a":{"a":"a"},"b":["a","a",{"a":1},{"a":1}],"c":"\\"a\\":"}')).toBeUndefined();
    expect(findDuplicateKey('{"x":[{"a":1,"b":{},"a":2}]}')).toBe('a');
    expect(findDuplicateKey('{"a":1,"\\u0061":2}')).toBe('a');
  });

  test('finds none in what JSON.stringify wrote', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(findDuplicateKey(text)).toBeUndefined();
      }),
    );
  });
});
