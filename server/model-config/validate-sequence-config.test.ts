import { describe, expect, test } from 'vitest';
import type { ModelMetadata } from '../../backends/api/backend.ts';
import { completeConfig } from './auto-complete-config.ts';
import { parseModelConfig } from './parse-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

const start = 'control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }';
const id = 'control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }';
const state = (more = '', dims = '[2, -1]'): string =>
  `state { input_name: "SIN" output_name: "SOUT" data_type: TYPE_FP32 dims: ${dims} ${more} }`;
const batching = (text: string, more = ''): string => `max_batch_size: 8 ${more} sequence_batching { ${text} }`;

const find = (text: string): string[] =>
  validateModelConfig(parseModelConfig(text, 'pbtxt', 'c')).map(({ field, message }) => `${field}: ${message}`);

describe('sequence_batching', () => {
  test.each([
    batching(''),
    batching(`${start} ${id} direct { max_queue_delay_microseconds: 5 minimum_slot_utilization: 1 }`),
    batching(`${state('initial_state { name: "i" data_type: TYPE_FP32 dims: [2, 7] zero_data: true }')} oldest { }`),
    batching(state('initial_state { name: "i" data_type: TYPE_FP32 dims: [2, 7] data_file: "f" }')),
    batching(state(), 'output { name: "SOUT" data_type: TYPE_FP32 dims: [2, -1] }'),
  ])('may say %s', (text) => {
    expect(find(text)).toEqual([]);
  });

  test.each([
    [batching('direct { minimum_slot_utilization: 1.5 }'), 'sequence_batching.direct.minimum_slot_utilization: expected 0 to 1, got 1.5'],
    [
      batching(start, 'input { name: "START" data_type: TYPE_INT32 dims: 1 }'),
      "sequence_batching.control_input[0].name: 'START' is made by the server, and clients cannot send it: remove input[0]",
    ],
    [
      batching('control_input { name: "S" }'),
      'sequence_batching.control_input[0].control: expected one control, got 0: each has a tensor of its own',
    ],
    [
      batching(`${start} control_input { name: "T" control { kind: CONTROL_SEQUENCE_START bool_false_true: [false, true] } }`),
      'sequence_batching.control_input[1].control[0].kind: CONTROL_SEQUENCE_START is given twice',
    ],
    [
      batching(`${start} ${id.replace('ID', 'START')}`),
      "sequence_batching.control_input[1].name: 'START' is in another control_input; each control has a tensor of its own",
    ],
    [
      batching(`${id} ${state().replace('SIN', 'ID')}`),
      "sequence_batching.state[0].input_name: 'ID' is another state or a control already",
    ],
    [
      batching(state('initial_state { name: "i" data_type: TYPE_FP32 dims: [3, 7] zero_data: true }')),
      "sequence_batching.state[0].initial_state[0].dims: expected the state's [2, -1], -1 for any size, got [3, 7]",
    ],
    [
      batching(state('initial_state { name: "i" data_type: TYPE_FP32 dims: [2, 7] }')),
      'sequence_batching.state[0].initial_state[0]: expected zero_data, or data_file with the name of a file, got neither',
    ],
    [
      batching(
        'oldest { preferred_batch_size: 9 }',
        'input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "Y" data_type: TYPE_FP32 dims: 1 }',
      ),
      'sequence_batching.oldest.preferred_batch_size[0]: expected 1 to max_batch_size (8), got 9',
    ],
    [
      batching('', 'model_transaction_policy { decoupled: true }'),
      'sequence_batching: expected none in a decoupled model: sequences of requests with several responses each are not supported',
    ],
  ])('%s', (text, found) => {
    expect(find(text)).toEqual([found]);
  });
});

describe('controls and states in the model file', () => {
  const metadata: ModelMetadata = {
    inputs: [
      { name: 'X', datatype: 'FP32', shape: [-1, 4], optional: false },
      { name: 'START', datatype: 'INT32', shape: [-1, 1], optional: false },
      { name: 'ID', datatype: 'UINT64', shape: [-1], optional: false },
      { name: 'SIN', datatype: 'FP32', shape: [-1, 2, -1], optional: false },
    ],
    outputs: [
      { name: 'Y', datatype: 'FP32', shape: [-1, 4], optional: false },
      { name: 'SOUT', datatype: 'FP32', shape: [-1, 2, -1], optional: false },
    ],
  };
  const complete = (text: string): ReturnType<typeof completeConfig> => completeConfig(parseModelConfig(text, 'pbtxt', 'c'), metadata);

  test('are no inputs and outputs of the configuration', () => {
    const { config, mismatches } = complete(batching(`${start} ${id} ${state()}`));
    expect(mismatches).toEqual([]);
    expect(config.input.map(({ name }) => name)).toEqual(['X']);
    expect(config.output.map(({ name }) => name)).toEqual(['Y']);
  });

  test.each([
    [start.replace('START', 'STARD'), "sequence_batching.control_input[0].name: the model has no input 'STARD'; did you mean 'START'?"],
    [
      start.replace('int32', 'fp32'),
      "sequence_batching.control_input[0].control[0]: the model says 'START' is TYPE_INT32, the configuration makes it TYPE_FP32",
    ],
    [
      'control_input { name: "X" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }',
      "sequence_batching.control_input[0].name: the server gives 'X' the shape [-1,1], the model expects [-1,4]",
    ],
    [
      state('', '[3, -1]'),
      "sequence_batching.state[0].dims: the model says 'SIN' has the shape [2,-1] (without the batch dimension), the configuration [3,-1]",
    ],
    [
      state().replace('FP32', 'FP16'),
      "sequence_batching.state[0].data_type: the model says 'SIN' is TYPE_FP32, the configuration TYPE_FP16",
    ],
  ])('%s', (text, found) => {
    expect(complete(batching(text)).mismatches.some((one) => one.text.startsWith(found))).toBe(true);
  });
});
