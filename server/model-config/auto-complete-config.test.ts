import { describe, expect, test } from 'vitest';
import type { ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { autoCompleteConfig } from './auto-complete-config.ts';
import { normaliseModelConfig } from './normalise-model-config.ts';
import { parseModelConfig } from './parse-model-config.ts';
import { validateModelConfig } from './validate-model-config.ts';

const tensor = (name: string, shape: number[], datatype: TensorMetadata['datatype'] = 'FP32', optional = false): TensorMetadata => ({
  name,
  shape,
  datatype,
  optional,
});
const complete = (text: string, metadata: ModelMetadata, defaultMaxBatchSize?: number): ModelConfig => {
  const parsed = parseModelConfig(text, 'pbtxt', 'c');
  const normalised = normaliseModelConfig(parsed, { name: 'm', firstVersionEntries: ['model.onnx'] });
  return autoCompleteConfig(normalised, metadata, defaultMaxBatchSize === undefined ? undefined : { defaultMaxBatchSize });
};
const batching: ModelMetadata = { inputs: [tensor('X', [-1, 4])], outputs: [tensor('Y', [-1, 2, -1])] };
const fixed: ModelMetadata = { inputs: [tensor('X', [1, 4])], outputs: [tensor('Y', [-1, 2], 'INT64')] };

describe('a ragged model', () => {
  const ragged: ModelMetadata = {
    inputs: [tensor('X', [-1]), tensor('EDGES', [-1], 'INT32'), tensor('SHAPES', [-1, -1], 'INT32')],
    outputs: [tensor('Y', [-1]), tensor('SUM', [-1, 1])],
  };
  const io = 'max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: [ -1, 2 ] allow_ragged_batch: true }';
  const edges =
    'batch_input { kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO target_name: "EDGES" data_type: TYPE_INT32 source_input: "X" }';
  const shapes = 'batch_input { kind: BATCH_ITEM_SHAPE target_name: "SHAPES" data_type: TYPE_INT32 source_input: "X" }';
  const scattered = 'batch_output { target_name: "Y" source_input: "X" }';

  test('has its outputs filled in, a scattered one like its source, and no input for what the server makes', () => {
    const config = complete([io, edges, shapes, scattered].join('\n'), ragged);
    expect(config.input.map(({ name }) => name)).toEqual(['X']);
    expect(config.output).toMatchObject([
      { name: 'Y', dims: [-1, 2] },
      { name: 'SUM', dims: [1] },
    ]);
    const named = `${io} output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 2, 1 ] reshape { shape: [ -1, 2 ] } }`;
    expect(complete([named, edges, shapes, scattered].join('\n'), ragged).output).toHaveLength(1);
  });

  test('has its inputs filled in without the made ones, in rows', () => {
    const counted: ModelMetadata = { inputs: [tensor('X', [-1, 2]), tensor('N', [-1], 'INT32')], outputs: [tensor('Y', [-1, 2])] };
    const config = complete('batch_input { target_name: "N" data_type: TYPE_INT32 source_input: "X" }', counted);
    expect(config).toMatchObject({ maxBatchSize: 4, input: [{ name: 'X', dims: [2] }] });
    expect(config.input).toHaveLength(1);
  });

  test.each([
    [[io, shapes, scattered], /input: expected every required input of the model, missing EDGES/],
    [
      [io, edges, shapes.replace('SHAPES', 'SHAPE'), scattered],
      /batch_input\[1\].target_name\[0\] 'SHAPE': the model has no such input; did you mean 'SHAPES'\?/,
    ],
    [
      [io, edges.replace('INT32', 'FP32'), shapes, scattered],
      /batch_input\[0\].data_type 'EDGES': the model says TYPE_INT32, the configuration TYPE_FP32/,
    ],
    [
      [io, edges, shapes.replace('ITEM_SHAPE', 'ITEM_SHAPE_FLATTEN'), scattered],
      /batch_input\[1\].kind 'SHAPES': the model expects shape \[-1,-1\], BATCH_ITEM_SHAPE_FLATTEN has 1 dimension/,
    ],
    [[io, edges, shapes, 'output { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }'], /dims: the model expects 0 dimensions/],
    [[io.replace('TYPE_FP32', 'TYPE_FP64'), edges, shapes, scattered], /input\[0\] 'X': data_type: the model says TYPE_FP32/],
  ])('is refused where it does not fit the file: %s', (lines, text) => {
    expect(() => complete(lines.join('\n'), ragged)).toThrow(text);
  });

  test('has to take a ragged input in one dimension, unless it is code, which gets its requests one by one', () => {
    const rows: ModelMetadata = { inputs: [tensor('X', [-1, -1, 2])], outputs: [tensor('SUM', [-1, 1])] };
    expect(() => complete(io, rows)).toThrow(/input\[0\] 'X': allow_ragged_batch: .* but the model expects shape \[-1,-1,2\]/);
    expect(complete(io, { ...rows, maxBatchSize: 8 }).input[0]).toMatchObject({ allowRaggedBatch: true, dims: [-1, 2] });
  });
});

describe('autoCompleteConfig', () => {
  test('turns batching on for a model whose every tensor has an open first dimension', () => {
    const config = complete('', batching);
    expect(config).toMatchObject({
      maxBatchSize: 4,
      dynamicBatching: { preferredBatchSize: [4], maxQueueDelayMicroseconds: 0 },
      input: [{ name: 'X', dataType: 'TYPE_FP32', dims: [4], reshape: null, optional: false, format: 'FORMAT_NONE' }],
      output: [{ name: 'Y', dataType: 'TYPE_FP32', dims: [2, -1], reshape: null, labelFilename: '' }],
    });
    expect(validateModelConfig(config)).toEqual([]);
    expect(complete('', batching, 16)).toMatchObject({ maxBatchSize: 16, dynamicBatching: { preferredBatchSize: [16] } });
    expect(complete('', batching, 1)).toMatchObject({ maxBatchSize: 1, dynamicBatching: null });
    expect(complete('', batching, 0)).toMatchObject({ maxBatchSize: 0, dynamicBatching: null, input: [{ dims: [-1, 4] }] });
  });

  test('fills in every field that a parsed configuration has', () => {
    const config = complete('', batching);
    const parsed = parseModelConfig('dynamic_batching { } input { } output { } instance_group { }', 'pbtxt', 'c');
    for (const [filled, full] of [
      [config.input[0], parsed.input[0]],
      [config.output[0], parsed.output[0]],
      [config.dynamicBatching, parsed.dynamicBatching],
      [config.instanceGroup[0], parsed.instanceGroup[0]],
      [config, parsed],
    ]) {
      expect(Object.keys(filled ?? {}).sort()).toEqual(Object.keys(full ?? {}).sort());
    }
  });

  test('leaves a model that cannot batch without a batch dimension', () => {
    expect(complete('', fixed)).toMatchObject({
      maxBatchSize: 0,
      dynamicBatching: null,
      input: [{ dims: [1, 4] }],
      output: [{ dims: [-1, 2], dataType: 'TYPE_INT64' }],
    });
    // A scalar has no first dimension at all.
    expect(complete('', { inputs: [tensor('X', [-1, 4])], outputs: [tensor('Y', [])] }).maxBatchSize).toBe(0);
  });

  test('shows a scalar as [1] with an empty reshape, with and without a batch dimension', () => {
    expect(complete('', { inputs: [tensor('X', [-1])], outputs: [tensor('Y', [-1, 2])] }).input).toMatchObject([
      { dims: [1], reshape: { shape: [] } },
    ]);
    const scalar = { inputs: [tensor('X', [2])], outputs: [tensor('Y', [])] };
    expect(complete('', scalar).output).toMatchObject([{ dims: [1], reshape: { shape: [] } }]);
    const listed = 'input { name: "X" data_type: TYPE_FP32 dims: 2 } output { name: "Y" data_type: TYPE_FP32 dims: 1 }';
    expect(complete(listed, scalar).output).toMatchObject([{ dims: [1], reshape: { shape: [] } }]);
    expect(validateModelConfig(complete('', scalar))).toEqual([]);
  });

  test('keeps what the author wrote', () => {
    const withDelay = complete('max_batch_size: 32 dynamic_batching { max_queue_delay_microseconds: 9 }', batching);
    expect(withDelay).toMatchObject({ maxBatchSize: 32, dynamicBatching: { preferredBatchSize: [32], maxQueueDelayMicroseconds: 9 } });
    // Both lists given: nothing is turned on.
    const listed = 'input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: [2, -1] }';
    expect(complete(`max_batch_size: 8 ${listed}`, batching)).toMatchObject({ maxBatchSize: 8, dynamicBatching: null });
    // One list given, with all dimensions: batching would contradict it.
    expect(complete('input { name: "X" data_type: TYPE_FP32 dims: [-1, 4] }', batching)).toMatchObject({
      maxBatchSize: 0,
      output: [{ dims: [-1, 2, -1] }],
    });
    expect(complete('input { name: "X" data_type: TYPE_FP32 dims: 4 }', batching)).toMatchObject({
      maxBatchSize: 4,
      input: [{ dims: [4] }],
    });
    const reshaped = 'max_batch_size: 2 input { name: "X" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: 4 } }';
    expect(complete(reshaped, batching)).toMatchObject({ input: [{ dims: [2, 2], reshape: { shape: [4] } }], output: [{ dims: [2, -1] }] });
  });

  test('an optional input may be left out of the list, a required one may not; an output always may', () => {
    const metadata = { inputs: [tensor('A', [2]), tensor('B', [2], 'FP32', true)], outputs: [tensor('Y', [2]), tensor('Z', [2])] };
    expect(complete('', metadata).input.map((input) => input.optional)).toEqual([false, true]);
    const list = (input: string): string =>
      `input { name: "${input}" data_type: TYPE_FP32 dims: 2 } output { name: "Y" data_type: TYPE_FP32 dims: 2 }`;
    expect(complete(list('A'), metadata).output).toHaveLength(1);
    expect(() => complete(list('B'), metadata)).toThrow("model 'm': input: expected every required input of the model, missing A");
  });

  test.each([
    [
      'dynamic_batching { preferred_batch_size: 6 }',
      batching,
      "model 'm': dynamic_batching.preferred_batch_size[0]: expected 1 to max_batch_size (4), got 6",
    ],
    [
      'max_batch_size: 8',
      fixed,
      "input[0] 'X': max_batch_size: the model does not batch (its shape is [1,4], and batching needs -1 as the first dimension), the configuration says 8",
    ],
    [
      'input { name: "x1" data_type: TYPE_FP32 dims: 4 }',
      batching,
      "unexpected inference input 'x1', allowed inputs are: X; did you mean 'X'?",
    ],
    [
      'output { name: "probabilities" data_type: TYPE_FP32 dims: 4 }',
      batching,
      "unexpected inference output 'probabilities', allowed outputs are: Y",
    ],
    [
      'input { name: "X" data_type: TYPE_FP16 dims: 4 }',
      batching,
      "input[0] 'X': data_type: the model says TYPE_FP32, the configuration TYPE_FP16",
    ],
    [
      'input { name: "X" data_type: TYPE_FP32 dims: 5 }',
      batching,
      "input[0] 'X': dims[0]: the model expects shape [4] (without the batch dimension) but the model configuration specifies shape [5]",
    ],
    [
      'input { name: "X" data_type: TYPE_FP32 dims: 4 } output { name: "Y" data_type: TYPE_FP32 dims: [2, 2] }',
      batching,
      "input[0] 'X': dims: the model expects 2 dimensions (shape [-1,4]) but the model configuration specifies 1 dimensions (shape [4]); set max_batch_size",
    ],
    [
      'input { name: "X" data_type: TYPE_FP32 dims: [-1, 4] }',
      fixed,
      'dims[0]: the model expects shape [1,4] but the model configuration specifies shape [-1,4]',
    ],
  ])('refuses %s', (text, metadata, message) => {
    expect(() => complete(text, metadata)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) }),
    );
  });
});
