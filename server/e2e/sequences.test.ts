/** Sequences: real models with controls and implicit state in a real server, through every door. */

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { correlationAdder, runningSum } from '../../bench/models/sequence-models.ts';
import { type DoorAnswer, type DoorName, Doors } from './doors.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const doorNames: readonly DoorName[] = [
  'REST JSON',
  'REST binary',
  'gRPC typed',
  'gRPC raw',
  'gRPC stream',
  'WebSocket JSON',
  'WebSocket binary',
];

const sumConfig = (batching: string, initial = '', more = ''): string => `max_batch_size: 4
  input { name: "INPUT" data_type: TYPE_INT32 dims: 1 }
  output { name: "OUTPUT" data_type: TYPE_INT32 dims: 1 }
  sequence_batching { ${batching}
    state { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: 1 ${initial} } }
  ${more}`;
const initialFile = 'initial_state { name: "i" data_type: TYPE_INT32 dims: 1 data_file: "begin" }';
const golden = JSON.stringify({
  request: { inputs: [{ name: 'INPUT', shape: [2, 1], datatype: 'INT32', data: [1, 2] }] },
  response: { outputs: [{ name: 'OUTPUT', shape: [2, 1], datatype: 'INT32', data: [1001, 1002] }] },
});
const warmup = `model_warmup { name: "w" batch_size: 3 inputs { key: "INPUT" value { data_type: TYPE_INT32 dims: 1 zero_data: true } } }
  model_warmup { name: "s" batch_size: 1 inputs { key: "INPUT" value { data_type: TYPE_INT32 dims: 1 zero_data: true } }
    inputs { key: "STATE_IN" value { data_type: TYPE_INT32 dims: 1 zero_data: true } } }
  golden_check { name: "g" file: "one.json" }`;

const files = {
  'sum/1/model.onnx': runningSum(),
  'sum/config.pbtxt': sumConfig('oldest { max_candidate_sequences: 64 }'),
  'direct_sum/1/model.onnx': runningSum(true),
  'direct_sum/config.pbtxt': sumConfig('direct { }', initialFile, warmup.replace('golden_check { name: "g" file: "one.json" }', '')),
  'direct_sum/initial_state/begin': new Uint8Array(Int32Array.of(1000).buffer),
  'checked_sum/1/model.onnx': runningSum(),
  'checked_sum/config.pbtxt': sumConfig('', initialFile, warmup),
  'checked_sum/initial_state/begin': new Uint8Array(Int32Array.of(1000).buffer),
  'checked_sum/golden/one.json': golden,
  'completed/1/model.onnx': correlationAdder(),
  'completed/config.pbtxt': `sequence_batching { max_sequence_idle_microseconds: 300000
    control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
    control_input { name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] } }
    control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] } }
    control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } } }`,
  'shown_state/1/model.onnx': runningSum(),
  'shown_state/config.pbtxt': sumConfig('').replace('output {', 'output { name: "STATE_OUT" data_type: TYPE_INT32 dims: 1 }\n  output {'),
  'wrong_type/1/model.onnx': correlationAdder(),
  'wrong_type/config.pbtxt': `sequence_batching {
    control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }
    control_input { name: "READI" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] } } }`,
  'wrong_file/1/model.onnx': runningSum(),
  'wrong_file/config.pbtxt': sumConfig('', initialFile),
  'wrong_file/initial_state/begin': new Uint8Array(3),
  'outside/1/model.onnx': runningSum(),
  'outside/config.pbtxt': sumConfig('', initialFile.replace('begin', '../../sum/config.pbtxt')),
};

let repository: { path: string; remove(): void };
let server: ServerProcess;
let doors: Doors;

beforeAll(async () => {
  repository = makeRepository(files);
  for (const name of ['simple_sequence', 'simple_dyna_sequence'])
    cpSync(join(exampleRepository, name), join(repository.path, name), { recursive: true });
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--strict-readiness=false']);
  doors = new Doors(server.http, new URL(server.grpc).host);
}, 60_000);

afterAll(async () => {
  doors?.close();
  await server?.stop();
  repository?.remove();
});

interface Turn {
  readonly id?: number | string;
  readonly start?: boolean;
  readonly end?: boolean;
  readonly value: number;
}

function send(model: string, { id, start, end, value }: Turn, door: DoorName = 'REST JSON'): Promise<DoorAnswer> {
  return doors.send(door, {
    model,
    inputs: [{ name: 'INPUT', datatype: 'INT32', shape: [1, 1], data: new Uint8Array(Int32Array.of(value).buffer) }],
    parameters: {
      ...(id === undefined ? {} : { sequence_id: id }),
      ...(start === undefined ? {} : { sequence_start: start }),
      ...(end === undefined ? {} : { sequence_end: end }),
    },
  });
}

const sumOf = ({ code, message, outputs }: DoorAnswer): number | string =>
  code === 'OK' ? new Int32Array(new Uint8Array(outputs.find(({ name }) => name === 'OUTPUT')!.data).buffer)[0]! : `${code} ${message}`;

/** Sends the values as one sequence, each after the answer to the one before. */
async function sequence(model: string, id: number | string, values: readonly number[], door?: DoorName): Promise<(number | string)[]> {
  const answers: (number | string)[] = [];
  for (const [index, value] of values.entries()) {
    answers.push(sumOf(await send(model, { id, value, start: index === 0, end: index === values.length - 1 }, door)));
  }
  return answers;
}

function totals(values: readonly number[], from: number): number[] {
  return values.map((_, index) => values.slice(0, index + 1).reduce((sum, value) => sum + value, from));
}

describe.each(doorNames)('through %s', (door) => {
  test('the example models see the start, and the id at the end', async () => {
    expect(await sequence('simple_sequence', 1001, [0, 11, 7, 5], door)).toEqual([1, 11, 7, 5]);
    expect(await sequence('simple_dyna_sequence', 1001, [0, 11, 7, 5], door)).toEqual([1, 11, 7, 1006]);
  });

  test('state is kept from one request to the next', async () => {
    expect(await sequence('sum', `state ${door}`, [5, 6, 7], door)).toEqual([5, 11, 18]);
    expect(await sequence('direct_sum', 7, [5, 6], door)).toEqual([1005, 1011]);
  });

  test('what is not of a sequence is refused', async () => {
    expect(await send('sum', { value: 1 }, door)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('must specify a non-zero or non-empty correlation ID'),
    });
    expect(await send('sum', { id: 77, value: 1 }, door)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('must specify the START flag on the first request of the sequence'),
    });
    expect(await send('simple_dyna_sequence', { id: 'text', start: true, value: 1 }, door)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("sequence batching control 'CORRID' data-type is"),
    });
  });
});

test('hundreds of sequences at once keep their states apart, in more sequences than there are slots', async () => {
  const sums = await Promise.all(
    Array.from({ length: 300 }, async (_, index) => {
      const values = Array.from({ length: 8 }, (_, at) => index * 10 + at);
      const answers = await sequence('sum', index + 1, values, index % 2 === 0 ? 'gRPC raw' : 'REST JSON');
      return JSON.stringify(answers) === JSON.stringify(totals(values, 0));
    }),
  );
  expect(sums.filter(Boolean)).toHaveLength(300);
  const batches = await server.get('/v2/models/sum/stats');
  const { batch_stats: sizes, inference_count: count } = batches.json.model_stats[0];
  expect(count).toBeGreaterThanOrEqual(2400);
  expect(sizes.some(({ batch_size: size }: { batch_size: number }) => size === 4)).toBe(true);
}, 30_000);

test('requests of a sequence that are sent without waiting are answered in order', async () => {
  const values = Array.from({ length: 50 }, (_, index) => index + 1);
  const socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
  const sums: number[] = [];
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.on('message', (data: Buffer) => {
      const { error, outputs } = JSON.parse(data.toString()) as { error?: string; outputs: { name: string; data: number[] }[] };
      if (error !== undefined) reject(new Error(error));
      else if (sums.push(outputs.find(({ name }) => name === 'OUTPUT')!.data[0]!) === values.length) resolve();
    });
    socket.once('open', () => {
      for (const [index, value] of values.entries()) {
        const inputs = [{ name: 'INPUT', datatype: 'INT32', shape: [1, 1], data: [value] }];
        const parameters = { sequence_id: 5, sequence_start: index === 0, sequence_end: index === 49 };
        socket.send(JSON.stringify({ model_name: 'direct_sum', id: String(value), parameters, inputs }));
      }
    });
  });
  socket.terminate();
  expect(sums).toEqual(totals(values, 1000));
});

test('a run that fails leaves the state as it was', async () => {
  expect(sumOf(await send('direct_sum', { id: 6, value: 5, start: true }))).toBe(1005);
  expect(await send('direct_sum', { id: 6, value: 5000 })).toMatchObject({ code: expect.not.stringContaining('OK') });
  expect(sumOf(await send('direct_sum', { id: 6, value: 2, end: true }))).toBe(1007);
});

test('what the server makes is not part of what clients see', async () => {
  const { json } = await server.get('/v2/models/completed');
  expect([json.inputs, json.outputs].map((tensors) => tensors.map(({ name }: { name: string }) => name))).toEqual([['INPUT'], ['OUTPUT']]);
  expect(await sequence('completed', 3, [0, 1])).toEqual([1, 4]);
  expect((await server.get('/v2/models/sum')).json.outputs.map(({ name }: { name: string }) => name)).toEqual(['OUTPUT']);
  const shown = await send('shown_state', { id: 1, value: 4, start: true, end: true });
  expect(shown.outputs.map(({ name }) => name).sort()).toEqual(['OUTPUT', 'STATE_OUT']);
});

test('a sequence ends when nothing came for so long', async () => {
  expect(sumOf(await send('completed', { id: 9, value: 0, start: true }))).toBe(1);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(sumOf(await send('completed', { id: 9, value: 0 }))).toMatch(/START flag/);
});

test('configurations that cannot be served are refused with the reason', async () => {
  const index = (await server.post('/v2/repository/index', {})).json as { name: string; state: string; reason: string }[];
  const reasonOf = (model: string): string => index.find(({ name }) => name === model)!.reason;
  expect(
    index
      .filter(({ state }) => state !== 'READY')
      .map(({ name }) => name)
      .sort(),
  ).toEqual(['outside', 'wrong_file', 'wrong_type']);
  expect(reasonOf('wrong_type')).toContain("the model says 'START' is TYPE_INT32, the configuration makes it TYPE_FP32");
  expect(reasonOf('wrong_type')).toContain("the model has no input 'READI'; did you mean 'READY'?");
  expect(reasonOf('wrong_file')).toContain("'initial_state/begin' has 3 bytes, expected 4 for shape [1], INT32");
  expect(reasonOf('outside')).toMatch(
    /data_file: the path '\.\.\/\.\.\/sum\/config\.pbtxt' .*expected a file below the model's directory 'initial_state'/,
  );
});

test('a host that dies costs the states that it had, and no others', async () => {
  expect(sumOf(await send('sum', { id: 1, value: 5, start: true }))).toBe(5);
  expect(sumOf(await send('simple_sequence', { id: 1, value: 5, start: true }))).toBe(6);
  for (const pid of server.hosts()) process.kill(pid, 'SIGKILL');
  await until(async () => (await server.get('/v2/models/simple_dyna_sequence/ready')).status === 200);
  expect(sumOf(await send('simple_sequence', { id: 1, value: 5 }))).toMatch(
    /^UNAVAILABLE sequence 1 is lost: .*begin it again with sequence_start$/,
  );
  let answer = await send('sum', { id: 1, value: 6 });
  for (let turn = 0; turn < 3 && answer.code === 'UNAVAILABLE'; turn++) answer = await send('sum', { id: 1, value: 6 });
  expect(sumOf(answer)).toBe(11);
}, 30_000);
