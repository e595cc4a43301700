/**
 * Small ONNX models with one property each, for tests of anything that serves models: exact copies of every datatype, sums, failures,
 * runs that take long, never end or want too much memory. Inputs are named INPUT0, INPUT1, outputs OUTPUT0, OUTPUT1.
 */
import type { Datatype } from '../../proto/datatype.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import type { OnnxDimension, OnnxElementType, OnnxGraph, OnnxNode, OnnxTensor, OnnxValue } from './onnx-model.ts';
import { encodeOnnxModel, onnxElementType } from './onnx-model.ts';

/** ONNX's name for each protocol datatype. */
export const elementTypeOf: { readonly [datatype in Datatype]: OnnxElementType } = {
  BOOL: 'BOOL',
  UINT8: 'UINT8',
  UINT16: 'UINT16',
  UINT32: 'UINT32',
  UINT64: 'UINT64',
  INT8: 'INT8',
  INT16: 'INT16',
  INT32: 'INT32',
  INT64: 'INT64',
  FP16: 'FLOAT16',
  BF16: 'BFLOAT16',
  FP32: 'FLOAT',
  FP64: 'DOUBLE',
  BYTES: 'STRING',
};

/**
 * OUTPUT0 is INPUT0, bit for bit. `dims` is the whole shape, batch dimension included.
 * onnxruntime-node refuses to open a model with a BF16 input or output; ONNX Runtime itself does not.
 */
export function identity(datatype: Datatype, dims: readonly OnnxDimension[] = ['batch', 16]): Uint8Array {
  const elementType = elementTypeOf[datatype];
  return encodeOnnxModel({
    name: 'identity',
    inputs: [{ name: 'INPUT0', elementType, dims }],
    outputs: [{ name: 'OUTPUT0', elementType, dims }],
    nodes: [{ op: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
  });
}

/** `identity` of a tensor of rank 0: its shape is [], it holds one element and can't be batched. */
export function scalarIdentity(datatype: Datatype = 'FP32'): Uint8Array {
  return identity(datatype, []);
}

/**
 * OUTPUT0 is INPUT0 + INPUT1 and OUTPUT1 is INPUT0 - INPUT1, all of shape `dims`. Whole numbers wrap around. BYTES hold decimal whole
 * numbers of 32 bits, and a run fails on any other text.
 *
 * @throws RangeError for BOOL, which has no sums.
 */
export function addSub(datatype: Datatype, dims: readonly OnnxDimension[] = ['batch', 16]): Uint8Array {
  const elementType = elementTypeOf[datatype];
  const inner = arithmeticType(datatype);
  const nodes: OnnxNode[] = [];
  const isDirect = inner === elementType;
  const [left, right, sum, difference] = isDirect ? ['INPUT0', 'INPUT1', 'OUTPUT0', 'OUTPUT1'] : ['left', 'right', 'sum', 'difference'];
  if (!isDirect) nodes.push(castNode('INPUT0', left, inner), castNode('INPUT1', right, inner));
  nodes.push({ op: 'Add', inputs: [left, right], outputs: [sum] }, { op: 'Sub', inputs: [left, right], outputs: [difference] });
  if (!isDirect) nodes.push(castNode(sum, 'OUTPUT0', elementType), castNode(difference, 'OUTPUT1', elementType));
  return encodeOnnxModel({
    name: 'add_sub',
    inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, elementType, dims })),
    outputs: ['OUTPUT0', 'OUTPUT1'].map((name) => ({ name, elementType, dims })),
    nodes,
  });
}

/** The type that ONNX Runtime's CPU kernels add in: the type itself where they can, else one that loses nothing on the way back. */
function arithmeticType(datatype: Datatype): OnnxElementType {
  switch (datatype) {
    case 'FP32':
    case 'FP64':
    case 'INT32':
    case 'INT64':
      return elementTypeOf[datatype];
    case 'FP16':
    case 'BF16':
      return 'FLOAT';
    case 'UINT32':
    case 'UINT64':
      return 'INT64';
    case 'BOOL':
      throw new RangeError('BOOL values have no sum; use any other datatype');
    default:
      return 'INT32';
  }
}

/**
 * Runs for ever and can only be ended by killing its process: a Loop whose condition stays true. It needs next to no memory and one core.
 * With `always`, every run does; with `positive`, only a run whose first INPUT0 value is above 0: any other gets INPUT0 back at once.
 * INPUT0 and OUTPUT0 are FP32 ['batch', 1].
 */
export function endlessLoop(when: 'always' | 'positive' = 'always'): Uint8Array {
  const condition: OnnxNode[] =
    when === 'always'
      ? [{ op: 'Constant', inputs: [], outputs: ['starts'], attributes: { value: { tensor: yes } } }]
      : [
          { op: 'Reshape', inputs: ['INPUT0', 'flat'], outputs: ['values'] },
          { op: 'Gather', inputs: ['values', 'first_index'], outputs: ['first'] },
          { op: 'Greater', inputs: ['first', 'zero'], outputs: ['starts'] },
        ];
  return encodeOnnxModel({
    name: 'endless_loop',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', 1] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', 1] }],
    initializers: [float32('zero', [], 0), ...(when === 'always' ? [] : [int64('flat', [1], -1), int64('first_index', [], 0)])],
    nodes: [
      ...condition,
      loopNode('', 'starts', 'zero', 'loop_result', [], (carried, next) => [{ op: 'Identity', inputs: [carried], outputs: [next] }]),
      { op: 'Add', inputs: ['INPUT0', 'loop_result'], outputs: ['OUTPUT0'] },
    ],
  });
}

const yes: OnnxTensor = { name: 'yes', elementType: 'BOOL', dims: [], data: Uint8Array.of(1) };

/** Rows and columns of the matrices that the heavy models multiply: 256 of them cubed are 34 million multiply-adds. */
const heavySize = 256;

/**
 * Takes long: each run multiplies two 256 x 256 matrices `multiplications` times, whatever the batch size (0.1 to 1 ms each on one
 * core; measure it where it matters). OUTPUT0 is INPUT0, both FP32 ['batch', 16].
 */
export function heavy(multiplications: number): Uint8Array {
  return encodeOnnxModel(heavyGraph(multiplications));
}

/**
 * As `heavy`, but the request says how much: the number of multiplications is the largest value in INPUT1, INT64 ['batch', 1].
 */
export function heavyOnRequest(): Uint8Array {
  return encodeOnnxModel(heavyGraph(undefined));
}

function heavyGraph(multiplications: number | undefined): OnnxGraph {
  const dims = ['batch', 16];
  const inputs: OnnxValue[] = [{ name: 'INPUT0', elementType: 'FLOAT', dims }];
  const initializers: OnnxTensor[] = [int64('square', [2], heavySize, heavySize), int64('starts', [2], 0, 0), int64('ends', [2], 16, 16)];
  const nodes: OnnxNode[] = [];
  if (multiplications === undefined) {
    inputs.push({ name: 'INPUT1', elementType: 'INT64', dims: ['batch', 1] });
    nodes.push({ op: 'ReduceMax', inputs: ['INPUT1'], outputs: ['multiplications'], attributes: { keepdims: { int: 0 } } });
  } else {
    initializers.push(int64('multiplications', [], multiplications));
  }
  nodes.push(
    // A unit matrix to any power is itself, so the work leaves no trace in the answer; it is made here to keep the file small.
    { op: 'ConstantOfShape', inputs: ['square'], outputs: ['zeros'] },
    { op: 'EyeLike', inputs: ['zeros'], outputs: ['unit'] },
    loopNode('multiplications', '', 'unit', 'power', [heavySize, heavySize], (carried, next) => [
      { op: 'MatMul', inputs: [carried, 'unit'], outputs: [next] },
    ]),
    { op: 'Slice', inputs: ['power', 'starts', 'ends'], outputs: ['corner'] },
    { op: 'MatMul', inputs: ['INPUT0', 'corner'], outputs: ['OUTPUT0'] },
  );
  return { name: 'heavy', inputs, outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims }], initializers, nodes };
}

/**
 * Takes long, and the longer the more rows there are: each row goes `layers` times through a 256 x 256 matrix (a few us each time on one core). OUTPUT0 is INPUT0, both FP32 ['batch', 256].
 */
export function deep(layers: number): Uint8Array {
  const dims = ['batch', heavySize];
  return encodeOnnxModel({
    name: 'deep',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims }],
    initializers: [int64('square', [2], heavySize, heavySize), int64('layers', [], layers)],
    nodes: [
      { op: 'ConstantOfShape', inputs: ['square'], outputs: ['zeros'] },
      { op: 'EyeLike', inputs: ['zeros'], outputs: ['unit'] },
      loopNode('layers', '', 'INPUT0', 'OUTPUT0', dims, (carried, next) => [{ op: 'MatMul', inputs: [carried, 'unit'], outputs: [next] }]),
    ],
  });
}

/** An output whose size the values decide: OUTPUT0, INT64 ['found'], lists where in INPUT0, FP32 ['length'], the value isn't zero. */
export function dynamicOutput(): Uint8Array {
  return encodeOnnxModel({
    name: 'dynamic_output',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['length'] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'INT64', dims: ['found'] }],
    initializers: [int64('axis_0', [1], 0)],
    nodes: [
      { op: 'NonZero', inputs: ['INPUT0'], outputs: ['positions'] },
      { op: 'Squeeze', inputs: ['positions', 'axis_0'], outputs: ['OUTPUT0'] },
    ],
  });
}

/**
 * A network with one hidden layer and random weights: INPUT0 FP32 ['batch', `inputs`] to OUTPUT0 FP32 ['batch', `outputs`].
 * The same sizes and seed always give the same weights.
 */
export function mlp(inputs: number, hidden: number, outputs: number, seed = 1): Uint8Array {
  const random = new SeededRandom(seed);
  const layer = (name: string, rows: number, columns: number): OnnxTensor[] => [
    { name: `${name}_weights`, elementType: 'FLOAT', dims: [rows, columns], data: random.symmetric(rows * columns, Math.sqrt(3 / rows)) },
    { name: `${name}_bias`, elementType: 'FLOAT', dims: [columns], data: random.symmetric(columns, 0.1) },
  ];
  return encodeOnnxModel({
    name: 'mlp',
    inputs: [{ name: 'INPUT0', elementType: 'FLOAT', dims: ['batch', inputs] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', outputs] }],
    initializers: [...layer('hidden', inputs, hidden), ...layer('output', hidden, outputs)],
    nodes: [
      { op: 'Gemm', inputs: ['INPUT0', 'hidden_weights', 'hidden_bias'], outputs: ['hidden_sum'] },
      { op: 'Relu', inputs: ['hidden_sum'], outputs: ['hidden'] },
      { op: 'Gemm', inputs: ['hidden', 'output_weights', 'output_bias'], outputs: ['OUTPUT0'] },
    ],
  });
}

/**
 * Loads, and a run fails when the request asks for it: INPUT0, INT64 ['batch', 1], indexes a table of 10, so -10 to 9 are answered (with
 * 0.5 more than the index, counted from the end when negative) and anything else makes the run fail. OUTPUT0 is FP32 ['batch', 1].
 */
export function failAtRun(): Uint8Array {
  return encodeOnnxModel({
    name: 'fail_at_run',
    inputs: [{ name: 'INPUT0', elementType: 'INT64', dims: ['batch', 1] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: ['batch', 1] }],
    initializers: [float32('table', [10], 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5)],
    nodes: [{ op: 'Gather', inputs: ['table', 'INPUT0'], outputs: ['OUTPUT0'] }],
  });
}

/**
 * A file of some hundred bytes that takes as much memory as the request says: INPUT0, INT64 ['rank'], is the shape of an FP32 tensor which
 * is allocated and filled with ones. Only its largest value comes back, as OUTPUT0 FP32 [1], so the answer is small.
 */
export function memoryBomb(): Uint8Array {
  return encodeOnnxModel({
    name: 'memory_bomb',
    inputs: [{ name: 'INPUT0', elementType: 'INT64', dims: ['rank'] }],
    outputs: [{ name: 'OUTPUT0', elementType: 'FLOAT', dims: [1] }],
    initializers: [int64('one_value', [1], 1)],
    nodes: [
      { op: 'ConstantOfShape', inputs: ['INPUT0'], outputs: ['filled'], attributes: { value: { tensor: float32('value', [1], 1) } } },
      { op: 'ReduceMax', inputs: ['filled'], outputs: ['largest'], attributes: { keepdims: { int: 0 } } },
      { op: 'Reshape', inputs: ['largest', 'one_value'], outputs: ['OUTPUT0'] },
    ],
  });
}

/**
 * Shows what a ragged batch looks like from inside. Inputs: RAGGED FP32 ['elements'], the requests' elements one after the other, and one for each kind of tensor that a server
 * makes for a batch, of type `made`: COUNT, TOTAL ['requests'], EDGES ['edges'], LONGEST ['longest'], SHAPES ['rows', 'rank'], EXTENTS ['extents'].
 *
 * SUM, FP32 ['rows', 1], is each request's own sum, found by EDGES. The others show an input to every row: SEES_RAGGED FP32 ['rows', 'elements'], SEES_COUNT and so on of type `made`;
 * SEES_SHAPES is SHAPES itself. Requests have one row each.
 */
export function raggedBatch(made: 'INT32' | 'FP32' = 'INT32'): Uint8Array {
  const elementType = elementTypeOf[made];
  const shown = [
    { name: 'COUNT', length: 'requests' },
    { name: 'TOTAL', length: 'requests' },
    { name: 'EDGES', length: 'edges' },
    { name: 'LONGEST', length: 'longest' },
    { name: 'EXTENTS', length: 'extents' },
  ];
  return encodeOnnxModel({
    name: 'ragged_batch',
    inputs: [
      { name: 'RAGGED', elementType: 'FLOAT', dims: ['elements'] },
      ...shown.map(({ name, length }) => ({ name, elementType, dims: [length] })),
      { name: 'SHAPES', elementType, dims: ['rows', 'rank'] },
    ],
    outputs: [
      { name: 'SUM', elementType: 'FLOAT', dims: ['rows', 1] },
      { name: 'SEES_RAGGED', elementType: 'FLOAT', dims: ['rows', 'elements'] },
      ...shown.map(({ name, length }) => ({ name: `SEES_${name}`, elementType, dims: ['rows', length] })),
      { name: 'SEES_SHAPES', elementType, dims: ['rows', 'rank'] },
    ],
    initializers: [
      int64('axis_0', [1], 0),
      int64('axis_1', [1], 1),
      int64('axis', [], 0),
      int64('one', [1], 1),
      int64('minus_one', [1], -1),
      int64('end', [1], Number.MAX_SAFE_INTEGER),
      int64('start', [1], 0),
      float32('none', [1], 0),
    ],
    nodes: [
      // A column of as many zeros as there are requests turns a list into a row for each of them.
      { op: 'Sub', inputs: ['COUNT', 'COUNT'], outputs: ['zeros'] },
      { op: 'Unsqueeze', inputs: ['zeros', 'axis_1'], outputs: ['column'] },
      castNode('column', 'float_column', 'FLOAT'),
      ...shown.flatMap(({ name }): OnnxNode[] => [
        { op: 'Unsqueeze', inputs: [name, 'axis_0'], outputs: [`row_${name}`] },
        { op: 'Add', inputs: ['column', `row_${name}`], outputs: [`SEES_${name}`] },
      ]),
      { op: 'Unsqueeze', inputs: ['RAGGED', 'axis_0'], outputs: ['row_RAGGED'] },
      { op: 'Add', inputs: ['float_column', 'row_RAGGED'], outputs: ['SEES_RAGGED'] },
      { op: 'Identity', inputs: ['SHAPES'], outputs: ['SEES_SHAPES'] },
      { op: 'CumSum', inputs: ['RAGGED', 'axis'], outputs: ['sums'] },
      { op: 'Concat', inputs: ['none', 'sums'], outputs: ['sums_before'], attributes: { axis: { int: 0 } } },
      castNode('EDGES', 'edge_indexes', 'INT64'),
      { op: 'Gather', inputs: ['sums_before', 'edge_indexes'], outputs: ['at_edges'] },
      { op: 'Slice', inputs: ['at_edges', 'one', 'end'], outputs: ['at_ends'] },
      { op: 'Slice', inputs: ['at_edges', 'start', 'minus_one'], outputs: ['at_starts'] },
      { op: 'Sub', inputs: ['at_ends', 'at_starts'], outputs: ['own'] },
      { op: 'Unsqueeze', inputs: ['own', 'axis_1'], outputs: ['SUM'] },
    ],
  });
}

function castNode(input: string, output: string, to: OnnxElementType): OnnxNode {
  return { op: 'Cast', inputs: [input], outputs: [output], attributes: { to: { int: onnxElementType[to] } } };
}

/**
 * A Loop carrying one FP32 tensor of shape `dims` from `start` to `result`. `trips` and `condition` may each be empty, for no such limit;
 * the condition is never changed inside.
 */
function loopNode(
  trips: string,
  condition: string,
  start: string,
  result: string,
  dims: readonly OnnxDimension[],
  step: (carried: string, next: string) => readonly OnnxNode[],
): OnnxNode {
  const body: OnnxGraph = {
    name: 'body',
    inputs: [
      { name: 'trip', elementType: 'INT64', dims: [] },
      { name: 'goes_on', elementType: 'BOOL', dims: [] },
      { name: 'carried', elementType: 'FLOAT', dims },
    ],
    outputs: [
      { name: 'goes_on_next', elementType: 'BOOL', dims: [] },
      { name: 'carried_next', elementType: 'FLOAT', dims },
    ],
    nodes: [{ op: 'Identity', inputs: ['goes_on'], outputs: ['goes_on_next'] }, ...step('carried', 'carried_next')],
  };
  return { op: 'Loop', inputs: [trips, condition, start], outputs: [result], attributes: { body: { graph: body } } };
}

function int64(name: string, dims: readonly number[], ...values: number[]): OnnxTensor {
  return { name, elementType: 'INT64', dims, data: BigInt64Array.from(values, BigInt) };
}

function float32(name: string, dims: readonly number[], ...values: number[]): OnnxTensor {
  return { name, elementType: 'FLOAT', dims, data: Float32Array.from(values) };
}
