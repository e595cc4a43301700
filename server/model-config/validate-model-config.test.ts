import { describe, expect, test } from 'vitest';
import { throwOnConfigErrors } from './config-finding.ts';
import { emptyModelConfig, parseModelConfig } from './parse-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

const find = (text: string): string[] =>
  validateModelConfig(parseModelConfig(text, 'pbtxt', 'c')).map((finding) => `${finding.field}: ${finding.message}`);

const tensor = (more: string): string => `input { name: "X" data_type: TYPE_FP32 ${more} }`;
const io = 'input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "Y" data_type: TYPE_FP32 dims: 1 }';

describe('validateModelConfig', () => {
  test.each([
    '',
    tensor('dims: [-1, 4]'),
    tensor('dims: [4, 6] reshape { shape: [2, 12] }'),
    tensor('dims: [-1, 4, -1, 6] reshape { shape: [-1, 2, 2, -1, 2, 3] }'),
    tensor('dims: 1 reshape { }'),
    tensor('format: FORMAT_NCHW dims: [3, 8, 8]'),
    `max_batch_size: 8 ${io} dynamic_batching { preferred_batch_size: [1, 8] }`,
    // Allowed while the model file may still say how large batches get.
    'dynamic_batching { preferred_batch_size: [2, 4] }',
    'version_policy { specific { versions: [0, 3] } }',
    'instance_group { count: 2 } instance_group { name: "b" }',
    'output { name: "Y" data_type: TYPE_FP32 dims: 1 label_filename: "labels/en.txt" }',
    'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } } }',
    // One value for each row of a batch.
    'max_batch_size: 4 output { name: "Y" data_type: TYPE_FP32 }',
  ])('finds nothing wrong with %s', (text) => {
    expect(find(text)).toEqual([]);
  });

  test.each([
    ['max_batch_size: -1', 'max_batch_size: expected 0 (no batch dimension) or more, got -1'],
    ['input { data_type: TYPE_FP32 dims: 1 }', 'input[0].name: expected a name, got none'],
    ['input { name: "X" dims: 1 }', 'input[0].data_type: expected a data type such as TYPE_FP32, got none'],
    [`${tensor('dims: 1')} ${tensor('dims: 1')}`, "input[1].name: 'X' is already the name of input[0]"],
    [tensor('dims: [4, 0]'), 'input[0].dims[1]: expected 1 or more, or -1 for any, got 0'],
    [tensor('dims: -2'), 'input[0].dims[0]: expected 1 or more, or -1 for any, got -2'],
    [tensor(''), 'input[0].dims: expected at least one dimension, got none; a scalar is dims [1] with an empty reshape'],
    [tensor('format: FORMAT_NHWC dims: [3, 8]'), 'input[0].dims: expected exactly 3 dimensions for FORMAT_NHWC, got 2'],
    [
      tensor('dims: [4, 6] reshape { shape: [5, 5] }'),
      'input[0].reshape.shape: expected the same number of elements as dims [4, 6] (24), got [5, 5] (25)',
    ],
    [tensor('dims: [-1, 6] reshape { shape: [6] }'), 'input[0].reshape.shape: expected as many -1 as dims has (1), got 0'],
    [
      // 2^53 - 1 is 6361 * 69431 * 20394401: a rounded product would call these equal.
      tensor('dims: [9007199254740991, 9007199254740991] reshape { shape: [9007199254740990, 9007199254740991] }'),
      'input[0].reshape.shape: expected the same number of elements as dims [9007199254740991, 9007199254740991] ' +
        '(81129638414606663681390495662081), got [9007199254740990, 9007199254740991] (81129638414606654674191240921090)',
    ],
    [
      tensor('dims: [2, -1, 3] reshape { shape: [3, -1, 2] }'),
      'input[0].reshape.shape: expected the same number of elements as dims [2, -1, 3] (2), got [3, -1, 2] (3)',
    ],
    [
      `max_batch_size: 8 ${io} dynamic_batching { preferred_batch_size: [4, 16] }`,
      'dynamic_batching.preferred_batch_size[1]: expected 1 to max_batch_size (8), got 16',
    ],
    ['dynamic_batching { preferred_batch_size: 0 }', 'dynamic_batching.preferred_batch_size[0]: expected 1 or more, got 0'],
    [
      `${io} dynamic_batching { preferred_batch_size: 2 }`,
      'dynamic_batching.preferred_batch_size[0]: expected 1 to max_batch_size (0), got 2',
    ],
    ['dynamic_batching { priority_levels: 3 }', 'dynamic_batching.default_priority_level: expected 1 to 3 (priority_levels), got 0'],
    [
      'dynamic_batching { priority_levels: 1 default_priority_level: 1 priority_queue_policy { key: 2 value { } } }',
      'dynamic_batching.priority_queue_policy["2"]: expected a level from 1 to priority_levels (1)',
    ],
    [
      'dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }',
      'dynamic_batching.preserve_ordering: expected false with 2 priority levels, got true',
    ],
    [
      'version_policy { specific { } }',
      'version_policy.specific.versions: expected at least one version, got none; list them, or use latest or all',
    ],
    ['instance_group { count: -1 }', 'instance_group[0].count: expected 1 to 1024 (0 = the default), got -1'],
    ['instance_group { kind: KIND_CPU gpus: 0 }', 'instance_group[0].gpus: expected none for KIND_CPU; remove gpus, or use KIND_GPU'],
    ['instance_group { name: "a" } instance_group { name: "a" }', "instance_group[1].name: 'a' is the name of another instance group"],
    [
      'default_model_filename: "../../etc/passwd"',
      'default_model_filename: expected a file inside the model\'s directory, got "../../etc/passwd"',
    ],
    [
      'output { name: "Y" data_type: TYPE_FP32 dims: 1 label_filename: "/etc/passwd" }',
      'output[0].label_filename: expected a file inside the model\'s directory, got "/etc/passwd"',
    ],
    [
      'metric_tags { key: "a\\n" value: "x" }',
      'metric_tags["a\\n"]: expected a key of letters, digits and _, as it becomes a metric label',
    ],
    [
      'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } } }',
      'sequence_batching.control_input[0].control[0].data_type: expected one of TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32, TYPE_STRING, got TYPE_FP32',
    ],
    [
      'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_END int32_false_true: 1 } } }',
      'sequence_batching.control_input[0].control[0]: expected exactly one *_false_true list with two values for CONTROL_SEQUENCE_END, got 1',
    ],
    ['platform: "ensemble"', 'ensemble_scheduling: expected it with platform ensemble, got none'],
    ['ensemble_scheduling { }', 'ensemble_scheduling.step: expected at least one step, got none'],
  ])('%s', (text, found) => {
    expect(find(text)).toEqual([found]);
  });

  test('reports every mistake at once, as one INVALID_ARGUMENT', () => {
    const findings = validateModelConfig(parseModelConfig('max_batch_size: -3 input { dims: 0 }', 'pbtxt', 'c'));
    expect(findings).toHaveLength(4);
    expect(() => throwOnConfigErrors(findings, 'm/config.pbtxt')).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/^m\/config\.pbtxt: max_batch_size: .*\n.*input\[0\]\.name/),
      }),
    );
    expect(throwOnConfigErrors(validateModelConfig(emptyModelConfig()), 'c')).toBeUndefined();
  });
});
