/** Ragged batches, the tensors a server makes for a batch, and reshapes: real models in a real server, several requests in one execution. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { identity, raggedBatch } from '../../bench/models/test-models.ts';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { type DoorAnswer, type DoorName, type DoorRequest, Doors } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const doorNames: readonly DoorName[] = [
  'REST JSON',
  'REST binary',
  'gRPC typed',
  'gRPC raw',
  'gRPC stream',
  'WebSocket JSON',
  'WebSocket binary',
];
/** A batch runs when four rows are there, and not before: how requests come together is not left to chance. */
const fourRows = 'dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 20000000 }';

function raggedConfig(made: 'INT32' | 'FP32', dims: string): string {
  const kinds = {
    COUNT: 'BATCH_ELEMENT_COUNT',
    TOTAL: 'BATCH_ACCUMULATED_ELEMENT_COUNT',
    EDGES: 'BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO',
    LONGEST: 'BATCH_MAX_ELEMENT_COUNT_AS_SHAPE',
    SHAPES: 'BATCH_ITEM_SHAPE',
    EXTENTS: 'BATCH_ITEM_SHAPE_FLATTEN',
  };
  const tensors = Object.entries(kinds).map(
    ([name, kind]) => `batch_input { kind: ${kind} target_name: "${name}" data_type: TYPE_${made} source_input: "RAGGED" }`,
  );
  return `max_batch_size: 8 ${fourRows}\ninput { name: "RAGGED" data_type: TYPE_FP32 allow_ragged_batch: true ${dims} }\n${tensors.join('\n')}\n`;
}

const scattered = (type: string, dims: string, more = ''): string =>
  `max_batch_size: 8 ${fourRows}
  input { name: "INPUT0" data_type: ${type} dims: ${dims} allow_ragged_batch: true ${more} }
  output { name: "OUTPUT0" data_type: ${type} dims: ${dims} ${more} }
  batch_output { target_name: "OUTPUT0" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "INPUT0" }`;
const wrongEdges = raggedConfig('INT32', 'dims: [ -1, 2 ]').replace('target_name: "EDGES"', 'target_name: "EDGE"');

const repository = makeRepository({
  'ragged_int32/1/model.onnx': raggedBatch('INT32'),
  'ragged_int32/config.pbtxt': raggedConfig('INT32', 'dims: [ -1, 2 ]'),
  'ragged_fp32/1/model.onnx': raggedBatch('FP32'),
  'ragged_fp32/config.pbtxt': raggedConfig('FP32', 'dims: [ -1, 2 ] reshape { shape: [ 1, -1, 2 ] }'),
  'mistyped/1/model.onnx': raggedBatch('INT32'),
  'mistyped/config.pbtxt': wrongEdges,
  'scattered/1/model.onnx': identity('FP32', ['elements']),
  'scattered/config.pbtxt': scattered('TYPE_FP32', '[ -1, 3 ]'),
  'scattered_text/1/model.onnx': identity('BYTES', ['elements']),
  'scattered_text/config.pbtxt': scattered('TYPE_STRING', '[ -1 ]'),
  'not_flat/1/model.onnx': identity('FP32', ['batch', 'n']),
  'not_flat/config.pbtxt': scattered('TYPE_FP32', '[ -1 ]'),
  'batched/1/model.onnx': identity('FP32', ['batch', 'n', 1, 2]),
  'batched/config.pbtxt': `max_batch_size: 8 ${fourRows}
    input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1, 2 ] reshape { shape: [ -1, 1, 2 ] } }
    output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1, -1, 2 ] reshape { shape: [ -1, 1, 2 ] } }`,
  'direct/1/model.onnx': identity('FP32', ['n', 2]),
  'direct/config.pbtxt': `input { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1, -1, 2 ] reshape { shape: [ -1, 2 ] } }
    output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1, -1, 1, 2 ] reshape { shape: [ -1, 2 ] } }`,
  'scalar_rows/1/model.onnx': identity('FP32', ['batch']),
  'scalar_rows/config.pbtxt': `max_batch_size: 8 ${fourRows}
    input { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] reshape { } }
    output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1, 1 ] reshape { } }`,
});

let server: ServerProcess;
/** As many as requests at a time: one of these has one WebSocket. */
let doors: readonly Doors[];
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--exit-on-error=false']);
  doors = Array.from({ length: 4 }, () => new Doors(server.http, server.grpc.replace('grpc://', '')));
}, 60_000);
afterAll(async () => {
  for (const one of doors) one.close();
  await server.stop();
  repository.remove();
});

const float32 = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const floats = (data: Uint8Array): number[] => [...new Float32Array(data.slice().buffer)];
const ints = (data: Uint8Array): number[] => [...new Int32Array(data.slice().buffer)];

function request(model: string, name: string, shape: readonly number[], first: number): DoorRequest {
  const count = shape.reduce((product, dim) => product * dim, 1);
  return { model, inputs: [{ name, datatype: 'FP32', shape, data: float32(Array.from({ length: count }, (_, i) => first + i)) }] };
}

function outputOf(answer: DoorAnswer, name: string): { shape: readonly number[]; data: Uint8Array } {
  expect(answer.message).toBe('');
  return answer.outputs.find((output) => output.name === name)!;
}

const executions = (model: string): Promise<number | undefined> => server.metric(`nv_inference_exec_count{model="${model}",version="1"}`);

describe('a ragged batch', () => {
  test.each([
    ['ragged_int32', ints, (n: number) => [n, 2]],
    ['ragged_fp32', floats, (n: number) => [1, n, 2]],
  ] as const)('of four requests to %s: every kind of made tensor, and to each request its own', async (model, values, itemShape) => {
    const lengths = [2, 4, 1, 3];
    const sent = lengths.map((length, i) => request(model, 'RAGGED', [1, length, 2], 100 * (i + 1)));
    const answers = await Promise.all(sent.map((one, i) => doors[i]!.send(doorNames[i]!, one)));
    expect(await executions(model)).toBe(1);

    // How the four followed each other is the network's to decide; all that the model saw has to agree with it.
    const counts = values(outputOf(answers[0]!, 'SEES_COUNT').data);
    expect([...counts].sort((a, b) => a - b)).toEqual([2, 4, 6, 8]);
    const order = counts.map((count) => lengths.indexOf(count / 2));
    const totals = counts.map((_, i) => counts.slice(0, i + 1).reduce((a, b) => a + b, 0));
    const shapes = counts.map((count) => itemShape(count / 2));
    for (const [i, answer] of answers.entries()) {
      const own = floats(sent[i]!.inputs[0]!.data);
      expect(outputOf(answer, 'SUM')).toMatchObject({ shape: [1, 1] });
      expect(floats(outputOf(answer, 'SUM').data)).toEqual([own.reduce((a, b) => a + b, 0)]);
      expect(floats(outputOf(answer, 'SEES_RAGGED').data)).toEqual(order.flatMap((at) => floats(sent[at]!.inputs[0]!.data)));
      expect(values(outputOf(answer, 'SEES_COUNT').data)).toEqual(counts);
      expect(values(outputOf(answer, 'SEES_TOTAL').data)).toEqual(totals);
      expect(values(outputOf(answer, 'SEES_EDGES').data)).toEqual([0, ...totals]);
      expect(outputOf(answer, 'SEES_LONGEST').shape).toEqual([1, 8]);
      expect(values(outputOf(answer, 'SEES_EXTENTS').data)).toEqual(shapes.flat());
      expect(values(outputOf(answer, 'SEES_SHAPES').data)).toEqual(itemShape(lengths[i]!));
    }
  });

  test('says nothing of the made tensors to clients, who may not send them', async () => {
    const { json } = await server.get('/v2/models/ragged_int32');
    expect(json.inputs).toEqual([{ name: 'RAGGED', datatype: 'FP32', shape: [-1, -1, 2] }]);
    const inputs = [
      request('ragged_int32', 'RAGGED', [1, 1, 2], 0).inputs[0]!,
      { name: 'COUNT', datatype: 'INT32', shape: [1, 1], data: new Uint8Array(4) },
    ];
    expect(await doors[0]!.send('REST binary', { model: 'ragged_int32', inputs })).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('still holds each request to its own shape', async () => {
    const answer = await doors[0]!.send('gRPC raw', request('ragged_int32', 'RAGGED', [1, 2, 3], 0));
    expect(answer).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('Expected [-1,-1,2], got [1,2,3]') });
  });
});

describe('a scattered output', () => {
  test.each(doorNames)('gives each request of a batch its own shape: %s', async (door) => {
    const before = (await executions('scattered')) ?? 0;
    const shapes = [
      [1, 2, 3],
      [2, 5, 3],
      [1, 0, 3],
    ];
    const sent = shapes.map((shape, i) => request('scattered', 'INPUT0', shape, 1000 * i));
    const answers = await Promise.all(sent.map((one, i) => doors[i]!.send(door, one)));
    for (const [i, answer] of answers.entries()) {
      expect(outputOf(answer, 'OUTPUT0').shape).toEqual(shapes[i]);
      expect(floats(outputOf(answer, 'OUTPUT0').data)).toEqual(floats(sent[i]!.inputs[0]!.data));
    }
    expect(await executions('scattered')).toBe(before + 1);
  });

  test('is cut by elements where they are text', async () => {
    const texts = [['a', 'long one'], [''], ['é', 'x'.repeat(999), 'z'], ['last']];
    const answers = await Promise.all(
      texts.map((text, i) =>
        doors[i]!.send('gRPC raw', {
          model: 'scattered_text',
          inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, text.length], data: encodeBytes(text) }],
        }),
      ),
    );
    const got = answers.map((answer) => decodeBytes(outputOf(answer, 'OUTPUT0').data, 'OUTPUT0').map((one) => Buffer.from(one).toString()));
    expect(got).toEqual(texts);
    expect(await executions('scattered_text')).toBe(1);
  });
});

describe('what does not fit the model file', () => {
  const reasonOf = async (model: string): Promise<string> => {
    const { json } = await server.post('/v2/repository/index', {});
    return (json as { name: string; reason: string }[]).find((one) => one.name === model)!.reason;
  };

  test('is said at load: a made tensor that the model lacks', async () => {
    const reason = await reasonOf('mistyped');
    expect(reason).toContain("'EDGE'");
    expect(reason).toContain("did you mean 'EDGES'?");
    expect(reason).toContain('missing EDGES');
  });

  test('is said at load: a ragged input that the model wants in rows', async () => {
    expect(await reasonOf('not_flat')).toContain('expects shape [-1,-1]');
  });
});

describe('a reshape', () => {
  test.each(doorNames)('holds through every door, batched, direct and to a scalar: %s', async (door) => {
    const before = (await executions('batched')) ?? 0;
    const sent = [request('batched', 'INPUT0', [3, 2, 2], 10), request('batched', 'INPUT0', [1, 2, 2], 50)];
    const answers = await Promise.all(sent.map((one, i) => doors[i]!.send(door, one)));
    expect(answers.map((answer) => outputOf(answer, 'OUTPUT0').shape)).toEqual([
      [3, 1, 2, 2],
      [1, 1, 2, 2],
    ]);
    expect(answers.map((answer) => floats(outputOf(answer, 'OUTPUT0').data))).toEqual(sent.map((one) => floats(one.inputs[0]!.data)));
    expect(await executions('batched')).toBe(before + 1);

    const direct = request('direct', 'INPUT0', [1, 5, 2], 7);
    const answer = outputOf(await doors[0]!.send(door, direct), 'OUTPUT0');
    expect(answer.shape).toEqual([1, 5, 1, 2]);
    expect(floats(answer.data)).toEqual(floats(direct.inputs[0]!.data));

    const scalars = [request('scalar_rows', 'INPUT0', [3, 1], 1), request('scalar_rows', 'INPUT0', [1, 1], 9)];
    const rows = (await Promise.all(scalars.map((one, i) => doors[i]!.send(door, one)))).map((one) => outputOf(one, 'OUTPUT0'));
    expect(rows.map(({ shape, data }) => [shape, floats(data)])).toEqual([
      [
        [3, 1, 1],
        [1, 2, 3],
      ],
      [[1, 1, 1], [9]],
    ]);
  });
});
