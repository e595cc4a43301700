import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { encodeOnnxModel, type OnnxAttribute, type OnnxElementType, type OnnxGraph, type OnnxTensor } from './onnx-model.ts';

const oneThread: InferenceSession.SessionOptions = { intraOpNumThreads: 1 };

/** A graph without inputs whose single node gives `output`. */
function constantGraph(attribute: string, value: OnnxAttribute, elementType: OnnxElementType): OnnxGraph {
  return {
    name: 'constant',
    inputs: [],
    outputs: [{ name: 'output', elementType }],
    nodes: [{ op: 'Constant', inputs: [], outputs: ['output'], attributes: { [attribute]: value } }],
  };
}

describe('encodeOnnxModel', () => {
  test.each<[string, OnnxAttribute, OnnxElementType, unknown]>([
    ['value_int', { int: -5 }, 'INT64', [-5n]],
    ['value_ints', { ints: [1, -2, 3_000_000_000] }, 'INT64', [1n, -2n, 3_000_000_000n]],
    ['value_float', { float: 0.5 }, 'FLOAT', [0.5]],
    ['value_floats', { floats: [0.25, -1] }, 'FLOAT', [0.25, -1]],
    ['value_string', { string: 'grüß' }, 'STRING', ['grüß']],
    ['value_strings', { strings: ['', 'a'] }, 'STRING', ['', 'a']],
    ['value', { tensor: { name: 't', elementType: 'INT32', dims: [2, 1], data: Int32Array.of(7, -8) } }, 'INT32', [7, -8]],
  ])('ONNX Runtime reads attribute %s', async (attribute, value, elementType, expected) => {
    const session = await InferenceSession.create(encodeOnnxModel(constantGraph(attribute, value, elementType)), oneThread);
    const { output } = await session.run({});
    expect(Array.from(output!.data as ArrayLike<unknown>)).toEqual(expected);
  });

  test('a graph in an attribute is a branch', async () => {
    const branch = (name: string, value: number): OnnxAttribute => ({
      graph: {
        name,
        inputs: [],
        outputs: [{ name, elementType: 'INT64', dims: [] }],
        nodes: [{ op: 'Constant', inputs: [], outputs: [name], attributes: { value_int: { int: value } } }],
      },
    });
    const session = await InferenceSession.create(
      encodeOnnxModel({
        name: 'choice',
        inputs: [{ name: 'condition', elementType: 'BOOL', dims: [] }],
        outputs: [{ name: 'output', elementType: 'INT64', dims: [] }],
        nodes: [
          {
            op: 'If',
            inputs: ['condition'],
            outputs: ['output'],
            attributes: { then_branch: branch('yes', 1), else_branch: branch('no', 2) },
          },
        ],
      }),
      oneThread,
    );
    for (const [condition, expected] of [
      [1, 1n],
      [0, 2n],
    ] as const) {
      const { output } = await session.run({ condition: new Tensor('bool', Uint8Array.of(condition), []) });
      expect(output!.data).toEqual(BigInt64Array.of(expected));
    }
  });

  test('fixed, unknown and named dimensions, scalars and unknown ranks are stated in the file', async () => {
    const shapes = { fixed: [2, 3], unknown: [-1, 4], named: ['batch', 5], scalar: [], rankless: undefined };
    const names = Object.keys(shapes);
    const session = await InferenceSession.create(
      encodeOnnxModel({
        name: 'shapes',
        inputs: Object.entries(shapes).map(([name, dims]) => ({ name, elementType: 'FLOAT', ...(dims && { dims }) })),
        outputs: names.map((name) => ({ name: `${name}_out`, elementType: 'FLOAT' })),
        nodes: names.map((name) => ({ op: 'Identity', inputs: [name], outputs: [`${name}_out`] })),
      }),
      oneThread,
    );
    const stated = session.inputMetadata.map((input) => [input.name, input.isTensor && input.type, input.isTensor && input.shape]);
    expect(stated.slice(0, 4)).toEqual([
      ['fixed', 'float32', [2, 3]],
      ['unknown', 'float32', ['', 4]],
      ['named', 'float32', ['batch', 5]],
      ['scalar', 'float32', []],
    ]);
    const feeds = {
      fixed: new Tensor('float32', new Float32Array(6), [2, 3]),
      unknown: new Tensor('float32', new Float32Array(8), [2, 4]),
      named: new Tensor('float32', new Float32Array(15), [3, 5]),
      scalar: new Tensor('float32', new Float32Array(1), []),
      rankless: new Tensor('float32', new Float32Array(4), [1, 2, 2, 1]),
    };
    const outputs = await session.run(feeds);
    expect(names.map((name) => outputs[`${name}_out`]!.dims)).toEqual([[2, 3], [2, 4], [3, 5], [], [1, 2, 2, 1]]);
  });

  test('a part of a larger buffer is written as that part', async () => {
    const data = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
    const tensor: OnnxTensor = { name: 't', elementType: 'FLOAT', dims: [2], data };
    const session = await InferenceSession.create(encodeOnnxModel(constantGraph('value', { tensor }, 'FLOAT')), oneThread);
    const { output } = await session.run({});
    expect(output!.data).toEqual(Float32Array.of(2, 3));
  });

  test.each<[string, OnnxTensor, string]>([
    [
      'too few bytes',
      { name: 'w', elementType: 'FLOAT', dims: [2, 2], data: new Float32Array(3) },
      "tensor 'w' needs 16 bytes for FLOAT [2,2], got 12",
    ],
    [
      'too many strings',
      { name: 'w', elementType: 'STRING', dims: [], data: ['a', 'b'] },
      "tensor 'w' needs 1 strings for its dims [], got 2",
    ],
    [
      'bytes for strings',
      { name: 'w', elementType: 'STRING', dims: [1], data: new Uint8Array(1) },
      "tensor 'w' is STRING and takes an array of strings, got Uint8Array",
    ],
    [
      'strings for numbers',
      { name: 'w', elementType: 'INT8', dims: [1], data: ['1'] },
      "tensor 'w' is INT8 and takes a typed array, got an array",
    ],
  ])('refuses %s', (_, tensor, message) => {
    expect(() => encodeOnnxModel(constantGraph('value', { tensor }, tensor.elementType))).toThrow(new RangeError(message));
  });

  test.each([-2, 1.5, Number.NaN])('refuses the dimension %s', (dimension) => {
    const graph: OnnxGraph = { name: 'g', inputs: [{ name: 'x', elementType: 'FLOAT', dims: [dimension] }], outputs: [], nodes: [] };
    expect(() => encodeOnnxModel(graph)).toThrow(new RangeError(`a dimension is a whole number from -1 up, got ${dimension}`));
  });
});
