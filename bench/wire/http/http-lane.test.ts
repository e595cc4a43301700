import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exampleRepository, makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import { runUntil } from '../../load/create-loop.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan, PlannedRequest } from '../../load/load-plan.ts';
import { NativeLoop } from '../../load/native-loop.ts';
import { NodeLoop } from '../../load/node-loop.ts';
import { AskingSink, OK } from '../asking.case.ts';
import { expecting, inferOf, inputOf, outputOf, planOf, targetOf } from '../plans.case.ts';
import { createHttpLanes } from './http-lane.ts';

/** Says the inputs again, whatever their datatype. */
const echo = `export const config = {
  inputs: [
    { name: 'X', datatype: 'FP16', dims: [-1], optional: true },
    { name: 'B', datatype: 'BF16', dims: [-1], optional: true },
    { name: 'F', datatype: 'FP32', dims: [-1], optional: true },
    { name: 'L', datatype: 'INT64', dims: [-1], optional: true },
    { name: 'T', datatype: 'BOOL', dims: [-1], optional: true },
  ],
  outputs: [
    { name: 'X', datatype: 'FP16', dims: [-1] },
    { name: 'B', datatype: 'BF16', dims: [-1] },
    { name: 'F', datatype: 'FP32', dims: [-1] },
    { name: 'L', datatype: 'INT64', dims: [-1] },
    { name: 'T', datatype: 'BOOL', dims: [-1] },
  ],
};
export const execute = (requests) => requests.map(({ inputs }) => Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) => [name, { shape, data }])));
`;
/** Says what it read of its sequence, and the sum of its numbers. */
const stamped = `export const execute = (requests) => requests.map(({ inputs: { IN, START, END, CORRID } }) => {
  const sum = IN.data.reduce((total, one) => total + one, 0);
  return { OUT: [[START.data[0], END.data[0], CORRID.data[0], sum].join(' ')] };
});
`;
const stampedConfig = `max_batch_size: 4
  input { name: "IN" data_type: TYPE_INT32 dims: -1 }
  output { name: "OUT" data_type: TYPE_STRING dims: 1 }
  sequence_batching {
    control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
    control_input { name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] } }
    control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } } }`;

const SIXTEEN = Array.from({ length: 16 }, (_, i) => i);
const WORDS = SIXTEEN.map((i) => ['', 'a', 'zwölf "Boxkämpfer"\n', '\u{1f600}'][i % 4]! + i);
const FLOATS = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0.1, 16_777_217, 1e-40];

const repository = makeRepository({
  'echo/1/model.mjs': echo,
  'stamped/1/model.mjs': stamped,
  'stamped/config.pbtxt': stampedConfig,
});
const loop = new NodeLoop('http/1.1');
let server: ServerProcess;

beforeAll(async () => {
  const models = ['simple', 'simple_identity', 'simple_sequence'].map((name) => `--load-model=${name}`);
  server = await ServerProcess.start([
    '--model-repository',
    exampleRepository,
    '--model-repository',
    repository.path,
    '--model-control-mode=explicit',
    '--load-model=echo',
    '--load-model=stamped',
    ...models,
  ]);
});

afterAll(async () => {
  loop.close();
  await server.stop();
  repository.remove();
});

async function lane(
  form: 'http-json' | 'http-binary',
  requests: readonly PlannedRequest[],
  changes: Partial<LoadPlan> = {},
  sink = new AskingSink(),
): Promise<{ lane: Lane; sink: AskingSink }> {
  return { lane: await createHttpLanes(planOf(form, targetOf(server.http), requests, changes)).open(loop, sink), sink };
}

const sums = (changes = {}): PlannedRequest =>
  inferOf('simple', [inputOf('INPUT0', 'INT32', [1, 16], SIXTEEN), inputOf('INPUT1', 'INT32', [1, 16], Array(16).fill(2))], changes);

describe.each(['http-json', 'http-binary'] as const)('%s', (form) => {
  test('right answers, one after the other on one connection', async () => {
    const requests = [
      expecting(sums(), { OUTPUT0: ['INT32', SIXTEEN.map((i) => i + 2)], OUTPUT1: ['INT32', SIXTEEN.map((i) => i - 2)] }),
      expecting(sums({ modelVersion: '1', id: 'x', outputs: [outputOf('OUTPUT1')] }), { OUTPUT1: ['INT32', SIXTEEN.map((i) => i - 2)] }),
      expecting(inferOf('simple_identity', [inputOf('INPUT0', 'BYTES', [1, 16], WORDS)]), { OUTPUT0: ['BYTES', WORDS] }),
      expecting(
        inferOf('echo', [
          inputOf('X', 'FP16', [3], [1.5, -0.25, 65504]),
          inputOf('B', 'BF16', [2], [1, 3.140625]),
          inputOf('F', 'FP32', [7], FLOATS),
          inputOf('L', 'INT64', [2], [2n ** 63n - 1n, -(2n ** 63n)]),
          inputOf('T', 'BOOL', [2], [true, false]),
        ]),
        {
          X: ['FP16', [1.5, -0.25, 65504]],
          B: ['BF16', [1, 3.140625]],
          F: ['FP32', FLOATS],
          L: ['INT64', [2n ** 63n - 1n, -(2n ** 63n)]],
          T: ['BOOL', [true, false]],
        },
      ),
    ];
    const { lane: one, sink } = await lane(form, requests, { validation: { every: 1, outputs: [], isDeterministic: true } });
    expect(one.capacity).toBe(1);
    for (let round = 0; round < 3; round++) {
      for (const index of requests.keys())
        expect(await sink.ask(one, index, null, round > 0), `request ${index}`).toEqual({ ...OK, parts: [] });
    }
    expect(sink.sent).toBeGreaterThan(1000);
    expect(sink.received).toBeGreaterThan(1000);
    expect(one.isOpen).toBe(true);
    one.close();
    expect(one.isOpen).toBe(false);
    expect(sink.closings).toEqual([]);
  });

  test('an answer of many reads', async () => {
    const values = Float32Array.from({ length: 300_000 }, (_, i) => i / 3);
    const others = [
      inputOf('X', 'FP16', [1], [1]),
      inputOf('B', 'BF16', [1], [1]),
      inputOf('L', 'INT64', [1], [1]),
      inputOf('T', 'BOOL', [1], [1]),
    ];
    const big = expecting(inferOf('echo', [inputOf('F', 'FP32', [values.length], values), ...others]), { F: ['FP32', values] });
    const { lane: one, sink } = await lane(form, [big, sums()]);
    expect(await sink.ask(one, 0)).toMatchObject(OK);
    expect(await sink.ask(one, 0, null, false)).toMatchObject(OK);
    expect(await sink.ask(one, 1)).toMatchObject(OK);
    one.close();
  });

  test('wrong answers', async () => {
    const right = SIXTEEN.map((i) => i + 2);
    const requests = [
      expecting(sums(), { OUTPUT0: ['INT32', right.with(9, 99)] }),
      expecting(sums(), { OUTPUT2: ['INT32', right] }),
      sums(),
    ];
    const outputs = [{ name: 'OUTPUT0', datatype: 'FP32' }];
    const { lane: one, sink } = await lane(form, requests);
    expect(await sink.ask(one, 0)).toEqual({
      outcome: 'wrong',
      status: 'wrong answer',
      message: 'outputs.OUTPUT0[0][9]: expected 99, got 11',
      parts: [],
    });
    expect(await sink.ask(one, 0, null, false)).toMatchObject(OK);
    expect((await sink.ask(one, 1)).message).toContain(
      "outputs.OUTPUT2 is missing: the answer has OUTPUT0, OUTPUT1; did you mean 'OUTPUT0'?",
    );
    expect(await sink.ask(one, 2)).toMatchObject(OK);
    one.close();
    const { lane: two, sink: second } = await lane(form, requests, { validation: { every: 1, outputs, isDeterministic: false } });
    expect((await second.ask(two, 2)).message).toBe('outputs.OUTPUT0: expected datatype FP32, got INT32');
    two.close();
  });

  test('errors keep the connection', async () => {
    const requests = [
      inferOf('no_such_model', [inputOf('INPUT0', 'INT32', [1, 16], SIXTEEN)]),
      inferOf('simple', [inputOf('INPUT0', 'INT32', [1, 16], SIXTEEN)]),
      sums(),
    ];
    const { lane: one, sink } = await lane(form, requests);
    for (let round = 0; round < 2; round++) {
      const notFound = await sink.ask(one, 0);
      expect(notFound).toMatchObject({ outcome: 'failed', status: 'HTTP 404' });
      expect(notFound.message).toContain("'no_such_model'");
      const invalid = await sink.ask(one, 1, null, false);
      expect(invalid).toMatchObject({ outcome: 'failed', status: 'HTTP 400' });
      expect(invalid.message).toMatch(/INPUT1|expected 2 inputs/);
      expect(invalid.message.length).toBeLessThanOrEqual(200);
      expect(await sink.ask(one, 2)).toMatchObject(OK);
    }
    one.close();
  });

  test('sequences: each request has its own stamp, whatever its length', async () => {
    const sequence = { minLength: 2, maxLength: 3, firstId: 1_000_000_000 };
    const value = (n: number): PlannedRequest => inferOf('simple_sequence', [inputOf('INPUT', 'INT32', [1, 1], [n])]);
    const requests = [
      expecting(value(10), { OUTPUT: ['INT32', [11]] }),
      expecting(value(20), { OUTPUT: ['INT32', [20]] }),
      expecting(value(30), { OUTPUT: ['INT32', [30]] }),
    ];
    const { lane: one, sink } = await lane(form, requests, { sequence });
    const { lane: two, sink: second } = await lane(form, requests, { sequence });
    // Two sequences, step by step, over lanes that share the requests; short IDs have room too.
    for (const ids of [
      [1_000_000_000, 1_000_000_001],
      [9_999_999_999, 7],
    ] as const) {
      for (const step of requests.keys()) {
        const stamp = (id: number): { id: number; isStart: boolean; isEnd: boolean } => ({ id, isStart: step === 0, isEnd: step === 2 });
        const asked = [sink.ask(one, step, stamp(ids[0])), second.ask(two, step, stamp(ids[1]))];
        expect(await Promise.all(asked)).toEqual([
          { ...OK, parts: [] },
          { ...OK, parts: [] },
        ]);
      }
    }
    const refused = await sink.ask(one, 1, { id: 4_000_000_000, isStart: false, isEnd: false });
    expect(refused).toMatchObject({ outcome: 'failed', status: 'HTTP 400' });
    one.close();
    two.close();
  });

  test.each([1, 50_000])('the server reads the stamp, of a request with %d numbers', async (count) => {
    const stamps = [
      { id: 1_000_000_000, isStart: true, isEnd: false },
      { id: 1_000_000_000, isStart: false, isEnd: false },
      { id: 1_000_000_000, isStart: false, isEnd: true },
      { id: 2 ** 53 - 1, isStart: true, isEnd: true },
      { id: 3, isStart: true, isEnd: true },
    ];
    const numbers = new Int32Array(count).fill(3);
    const requests = stamps.map(({ id, isStart, isEnd }) => {
      const request = inferOf('stamped', [inputOf('IN', 'INT32', [1, count], numbers)], { parameters: { sequence_end: true, x: 'y' } });
      return expecting(request, { OUT: ['BYTES', [`${Number(isStart)} ${Number(isEnd)} ${id} ${3 * count}`]] });
    });
    const { lane: one, sink } = await lane(form, requests, { sequence: { minLength: 1, maxLength: 3, firstId: 1_000_000_000 } });
    for (const [index, stamp] of stamps.entries()) expect((await sink.ask(one, index, stamp)).message).toBe('');
    one.close();
  });
});

test.runIf(process.platform === 'linux')('over native sockets', async () => {
  const native = new NativeLoop();
  try {
    const values = Int32Array.from({ length: 16 }, (_, i) => i * 1000);
    const inputs = [inputOf('INPUT0', 'INT32', [1, 16], values), inputOf('INPUT1', 'INT32', [1, 16], new Int32Array(16))];
    const plan = planOf('http-binary', targetOf(server.http), [expecting(inferOf('simple', inputs), { OUTPUT0: ['INT32', values] })]);
    const sink = new AskingSink();
    const one = await runUntil(native, createHttpLanes(plan).open(native, sink));
    for (let i = 0; i < 20; i++) expect(await runUntil(native, sink.ask(one, 0))).toMatchObject(OK);
    one.close();
  } finally {
    native.close();
  }
});

test('the target: a path in front, headers of its own', async () => {
  const plan = (changes: object): LoadPlan => planOf('http-binary', targetOf(server.http, changes), [sums()]);
  const sink = new AskingSink();
  const one = await createHttpLanes(plan({ basePath: '/gateway', headers: { 'x-key': 'secret' } })).open(loop, sink);
  const ended = await sink.ask(one, 0);
  expect(ended).toMatchObject({ outcome: 'failed', status: 'HTTP 404' });
  expect(ended.message).toContain('/gateway/v2/models/simple/infer');
  one.close();
  expect(() => createHttpLanes(plan({ basePath: '/a b' }))).toThrow('path: expected printable ASCII without spaces');
  expect(() => createHttpLanes(plan({ headers: { 'content-length': '1' } }))).toThrow(
    'headers.content-length: the transport sets this one itself',
  );
  expect(() => createHttpLanes(plan({ headers: { 'content-type': 'x' } }))).toThrow(
    'headers.content-type: the protocol sets this one itself',
  );
  expect(() => createHttpLanes(plan({ headers: { 'x-key': 'a\r\nb: c' } }))).toThrow('headers.x-key: expected one line');
});

test('a server that is not there', async () => {
  const factory = createHttpLanes(planOf('http-json', targetOf('http://127.0.0.1:1'), [sums()]));
  await expect(factory.open(loop, new AskingSink())).rejects.toMatchObject({ name: 'InferenceError', code: 'UNAVAILABLE' });
});
