import { describe, expect, test } from 'vitest';
import { findUnsupportedConfig } from './config-support.ts';
import { parseModelConfig } from './parse-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

const find = (text: string): string[] => {
  const config = parseModelConfig(text, 'pbtxt', 'c');
  return [...validateModelConfig(config), ...findUnsupportedConfig(config)].map((finding) => `${finding.field}: ${finding.message}`);
};

const io = `input { name: "IMAGE" data_type: TYPE_FP32 dims: [-1, 4] } input { name: "MASK" data_type: TYPE_BOOL dims: 4 optional: true }
  output { name: "Y" data_type: TYPE_FP32 dims: 1 }`;
const image = (more: string): string => `inputs { key: "IMAGE" value { data_type: TYPE_FP32 dims: [3, 4] ${more} } }`;
const sample = (inputs: string, more = ''): string => `model_warmup { name: "s" batch_size: 1 ${inputs} ${more} }`;

describe('the rules of warm-up and golden checks', () => {
  test.each([
    `${io} ${sample(image('zero_data: true'))}`,
    `${io} ${sample(image('input_data_file: "a/b.raw"'), 'count: 3')}`,
    `max_batch_size: 8 ${io} model_warmup { batch_size: 8 ${image('random_data: true')} }`,
    // Skipped, so that it may lack what the model needs.
    `${io} model_warmup { name: "s" inputs { key: "MASK" value { data_type: TYPE_BOOL dims: 4 zero_data: true } } }`,
    // The model file says which inputs there are, and how large batches get.
    `model_warmup { name: "s" batch_size: 4 ${image('zero_data: true')} }`,
    'golden_check { file: "one.json" absolute_tolerance: 0.5 relative_tolerance: 1e-3 } warmup_requests: ["a.json", "b.jsonl"]',
  ])('finds nothing wrong with %s', (text) => {
    expect(find(text)).toEqual([]);
  });

  test.each([
    [`${io} ${sample('')}`, ['model_warmup[0].inputs: expected the inputs of the model, got none']],
    [
      `${io} ${sample(image(''))}`,
      ['model_warmup[0].inputs["IMAGE"]: expected one of zero_data, random_data and input_data_file, got none'],
    ],
    [
      sample('inputs { key: "X" value { dims: [2, -1] zero_data: true } }'),
      [
        'model_warmup[0].inputs["X"].data_type: expected a data type such as TYPE_FP32, got none',
        'model_warmup[0].inputs["X"].dims[1]: expected 1 or more, as a sample has a size, got -1',
      ],
    ],
    [
      `${io} ${sample(`${image('zero_data: true')} inputs { key: "MASKS" value { data_type: TYPE_BOOL dims: 4 zero_data: true } }`)}`,
      [`model_warmup[0].inputs["MASKS"]: the model has no input 'MASKS'; did you mean 'MASK'? Its inputs are 'IMAGE', 'MASK'`],
    ],
    [
      `${io} ${sample('inputs { key: "IMAGE" value { data_type: TYPE_FP16 dims: 4 zero_data: true } }')}`,
      [
        'model_warmup[0].inputs["IMAGE"].data_type: expected TYPE_FP32, as the input has, got TYPE_FP16',
        'model_warmup[0].inputs["IMAGE"].dims: expected [-1, 4], as the input has, got [4]',
      ],
    ],
    [
      `${io} model_warmup { batch_size: 2 ${image('zero_data: true')} }`,
      ['model_warmup[0].batch_size: expected at most 1, as the model has no batch dimension (max_batch_size 0), got 2'],
    ],
    [
      `max_batch_size: 4 ${io} model_warmup { batch_size: 5 ${image('zero_data: true')} }`,
      ['model_warmup[0].batch_size: expected at most max_batch_size (4), got 5'],
    ],
    [
      sample(image('input_data_file: "../../etc/passwd"')),
      ['model_warmup[0].inputs["IMAGE"].input_data_file: expected a file inside the model\'s directory, got "../../etc/passwd"'],
    ],
    [
      'warmup_requests: ["/a", ""]',
      [
        'warmup_requests[0]: expected a file inside the model\'s directory, got "/a"',
        "warmup_requests[1]: expected the name of a file in the model's directory 'warmup', got none",
      ],
    ],
    [
      'golden_check { name: "g" absolute_tolerance: -1 } golden_check { file: "x" relative_tolerance: -0.5 }',
      [
        "golden_check[0].file: expected the name of a file in the model's directory 'golden', got none",
        'golden_check[0].absolute_tolerance: expected a number of 0 or more, got -1',
        'golden_check[1].relative_tolerance: expected a number of 0 or more, got -0.5',
      ],
    ],
  ])('%s', (text, found) => {
    expect(find(text)).toEqual(found);
  });

  test('an ensemble has none of them', () => {
    const fields = find(
      `platform: "ensemble" ensemble_scheduling { } warmup_requests: "a" golden_check { file: "b" } ${sample(image('zero_data: true'))}`,
    );
    for (const field of ['model_warmup: expected none', 'warmup_requests: expected none', 'golden_check: expected none']) {
      expect(fields).toContainEqual(expect.stringContaining(field));
    }
  });
});
