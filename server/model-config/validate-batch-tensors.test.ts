import { describe, expect, test } from 'vitest';
import { parseModelConfig } from './parse-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

const find = (text: string): string[] =>
  validateModelConfig(parseModelConfig(text, 'pbtxt', 'c')).map((finding) => `${finding.field}: ${finding.message}`);

const io =
  'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [ -1, 2 ] allow_ragged_batch: true } output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 2 ] }';
const made = 'batch_input { kind: BATCH_ITEM_SHAPE target_name: "S" data_type: TYPE_INT32 source_input: "X" }';
const scattered = 'batch_output { target_name: "Y" source_input: "X" }';

describe('batch_input, batch_output and allow_ragged_batch', () => {
  test.each([
    `${io} ${made} ${scattered}`,
    // Several targets of one kind; a source that the configuration does not list yet.
    'batch_input { target_name: "A" target_name: "B" data_type: TYPE_FP32 source_input: "X" }',
    scattered,
    // A fixed dimension is not taken from the source.
    `${io.replace('output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 2 ] }', 'output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 2, 7 ] }')} ${scattered}`,
  ])('finds nothing wrong with %s', (text) => {
    expect(find(text)).toEqual([]);
  });

  test.each([
    [`${io} ${made.replace('INT32', 'INT64')}`, 'batch_input[0].data_type: expected TYPE_INT32 or TYPE_FP32, got TYPE_INT64'],
    [`${io} ${made.replace('target_name: "S"', '')}`, 'batch_input[0].target_name: expected the name of a tensor of the model, got none'],
    [
      `${io} ${made.replace('"S"', '"X"')}`,
      "batch_input[0].target_name[0]: 'X' is input[0] too, which clients send; remove it from one of the two",
    ],
    [`${io} ${made} ${made}`, "batch_input[1].target_name[0]: 'S' is the target of batch_input[0] already"],
    [`${io} ${made.replace('source_input: "X"', '')}`, 'batch_input[0].source_input: expected exactly one input, got 0'],
    [`${io} ${made.replace('"X"', '"XX"')}`, "batch_input[0].source_input[0]: expected one of the inputs X, got 'XX'"],
    [`${io} ${scattered.replace('"Y"', '"Z"')}`, "batch_output[0].target_name[0]: expected one of the outputs Y, got 'Z'"],
    [`${io} ${scattered} ${scattered}`, "batch_output[1].target_name[0]: 'Y' is the target of batch_output[0] already"],
    [
      `${io.replace('output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 2 ] }', 'output { name: "Y" data_type: TYPE_FP32 dims: [ 2, 2, -1 ] }')} ${scattered}`,
      "batch_output[0].source_input[0]: expected an input with 3 dimensions or more, as dimension 2 of output 'Y' is taken from it; 'X' has 2",
    ],
    [
      `${io} model_transaction_policy { decoupled: true }`,
      'input[0].allow_ragged_batch: expected none with a decoupled model, whose requests run one by one',
    ],
    [
      `ensemble_scheduling { step { model_name: "m" input_map { key: "a" value: "b" } output_map { key: "c" value: "d" } } } ${scattered}`,
      'batch_output: expected none in an ensemble; give it to the model of the step',
    ],
  ])('%s', (text, mistake) => {
    const found = find(text).filter((one) => /^(?:batch_|input\[0\]\.allow_ragged)/.test(one));
    expect(found.map((one) => one.replace(/; did you mean '\w+'\?$/, ''))).toEqual([mistake]);
  });
});
