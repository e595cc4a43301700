/** Against a real server, over both of its HTTP engines. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { identity } from '../../../../bench/models/test-models.ts';
import { DATATYPES, type Datatype } from '../../../../proto/datatype.ts';
import { InferenceError } from '../../../../proto/inference-error.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from '../../../../server/e2e/serve.ts';
import { loadUws } from '../../../../server/transports/uws/uws-module.ts';
import type { InferenceClient } from '../client.ts';
import { connect } from '../index.ts';
import type { ModelInput } from '../infer-input.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
if (!('module' in uws)) console.warn(`the uws engine is not tested here: ${uws.reason}`);

const overWebSocket = (server: ServerProcess): string => server.http.replace('http', 'ws');

async function failureOf(work: Promise<unknown>): Promise<InferenceError> {
  const failure: unknown = await work.then(
    () => null,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(InferenceError);
  return failure as InferenceError;
}

const samples: Readonly<Record<Datatype, ModelInput>> = {
  BOOL: [true, false],
  UINT8: Uint8Array.of(0, 255),
  UINT16: Uint16Array.of(0, 65_535),
  UINT32: Uint32Array.of(0, 4_294_967_295),
  UINT64: BigUint64Array.of(0n, 18_446_744_073_709_551_615n),
  INT8: Int8Array.of(-128, 127),
  INT16: Int16Array.of(-32_768, 32_767),
  INT32: Int32Array.of(-(2 ** 31), 2 ** 31 - 1),
  INT64: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n),
  FP16: Uint16Array.of(0xfc00, 0x3c00),
  BF16: Uint16Array.of(0xff80, 0x3f80),
  FP32: Float32Array.of(Number.POSITIVE_INFINITY, -1.5),
  FP64: Float64Array.of(-0, 1e300),
  BYTES: ['', 'grüße'],
};

describe.each(engines)('over %s', (engine) => {
  const repository = makeRepository({
    ...Object.fromEntries(
      (Object.keys(DATATYPES) as Datatype[]).map((datatype) => [`id_${datatype}/1/model.onnx`, identity(datatype, ['batch', 'n'])]),
    ),
  });
  let server: ServerProcess;
  let client: InferenceClient;

  beforeAll(async () => {
    const repositories = [`--model-repository=${exampleRepository}`, `--model-repository=${repository.path}`];
    server = await ServerProcess.start([...repositories, `--http-engine=${engine}`]);
    client = await connect(overWebSocket(server));
  });

  afterAll(async () => {
    await client?.close();
    await server?.stop();
    repository.remove();
  });

  test.each(Object.keys(DATATYPES) as Datatype[])('%s there and back, as bytes and as JSON', async (datatype) => {
    const model = await client.model(`id_${datatype}`);
    const input = model.metadata.inputs[0]!.name;
    const wanted = datatype === 'BOOL' ? Uint8Array.of(1, 0) : samples[datatype];
    for (const json of [false, true]) {
      const { outputs, id } = await model.infer({ [input]: samples[datatype] }, { json, id: `of ${datatype}` });
      expect(Object.values(outputs)[0]!.data).toEqual(wanted);
      expect(id).toBe(`of ${datatype}`);
    }
  });

  test('a thousand at once on one connection', async () => {
    const simple = await client.model('simple');
    const results = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => simple.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: new Int32Array(16).fill(1) })),
    );
    for (const [i, { outputs }] of results.entries()) {
      expect(outputs['OUTPUT0']!.data[0]).toBe(i + 1);
      expect(outputs['OUTPUT1']!.data[15]).toBe(i - 1);
    }
  });

  test('more bytes at once than the server takes of one connection', async () => {
    const model = await client.model('id_FP32');
    const input = model.metadata.inputs[0]!.name;
    // The uws engine cannot stop reading, and refuses what comes while many answers wait to be sent.
    const count = engine === 'uws' ? 20_000 : 500_000;
    const results = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const { outputs } = await model.infer({ [input]: new Float32Array(count).fill(i) });
        const { data } = Object.values(outputs)[0]!;
        return data.length === count && data[0] === i && data[count - 1] === i;
      }),
    );
    expect(results).toEqual(Array<boolean>(40).fill(true));
  });

  const repeat = (count: number, delayMs = 0): Record<string, ModelInput> => ({
    IN: Int32Array.from({ length: count }, (_, i) => i * 2),
    DELAY: new Uint32Array(count).fill(delayMs),
    WAIT: Uint32Array.of(0),
  });

  test('a decoupled model: its responses in order, none, and a reader that leaves', async () => {
    const model = await client.model('repeat_int32');
    const seen: unknown[] = [];
    for await (const { outputs, id } of model.stream(repeat(50), { id: 'mine' })) seen.push([outputs['OUT']!.data[0], id]);
    expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => [i * 2, 'mine']));
    for await (const _ of model.stream(repeat(0))) expect.fail('no response was asked for');
    for await (const { outputs } of model.stream(repeat(1_000, 100))) {
      expect(outputs['IDX']!.data[0]).toBe(0);
      break;
    }
    await until(
      async () => (await server.metric('nv_inference_request_failure{model="repeat_int32",version="1",reason="CANCELED"}')) === 1,
    );
    expect(await failureOf(model.infer(repeat(2)))).toMatchObject({ code: 'UNIMPLEMENTED' });
  });

  test('a slow reader alone loses nothing; others are answered while a stream waits for its reader', async () => {
    const model = await client.model('repeat_int32');
    const simple = await client.model('simple');
    const stream = model.stream(repeat(5_000));
    await stream.next();
    const ones = new Int32Array(16).fill(1);
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    let next = 1;
    for await (const { outputs } of stream) {
      expect(outputs['IDX']!.data[0]).toBe(next++);
      // A reader that gives others a turn at every step.
      if (next % 100 === 0) await simple.infer({ INPUT0: ones, INPUT1: ones });
    }
    expect(next).toBe(5_000);
  });

  test('a deadline, a signal, and errors as over HTTP', async () => {
    const model = await client.model('repeat_int32');
    const slow = model.stream(repeat(2, 60_000), { timeoutMs: 150 });
    expect(await failureOf(slow.next().then(() => slow.next()))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const controller = new AbortController();
    const aborted = model.stream(repeat(2, 60_000), { signal: controller.signal });
    const waiting = failureOf(aborted.next().then(() => aborted.next()));
    setImmediate(() => controller.abort());
    expect(await waiting).toMatchObject({ code: 'CANCELLED' });

    const input = { name: 'INPUT0', datatype: 'INT32', data: new Int32Array(16), shape: [1, 16] } as const;
    expect(await failureOf(client.infer({ model: 'simpel', inputs: [input] }))).toMatchObject({ code: 'NOT_FOUND', status: 404 });
    expect(await failureOf(client.infer({ model: 'simple', version: 9, inputs: [input] }))).toMatchObject({ code: 'NOT_FOUND' });
    const overHttp = await server.post('/v2/models/simple/infer', {
      inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 16], data: Array<number>(16).fill(0) }],
    });
    const overSocket = await failureOf(client.infer({ model: 'simple', inputs: [input] }));
    expect(overSocket).toMatchObject({ code: 'INVALID_ARGUMENT', message: overHttp.json.error, status: overHttp.status });
  });

  test('a message that is too large closes the connection, and the next call has a new one', async () => {
    const small = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      `--http-engine=${engine}`,
      '--http-max-input-size=64KiB',
    ]);
    const own = await connect(overWebSocket(small));
    try {
      const large = { name: 'INPUT0', datatype: 'INT32', data: new Int32Array(100_000), shape: [1, 100_000] } as const;
      const failure = await failureOf(own.infer({ model: 'simple', inputs: [large] }));
      expect(['RESOURCE_EXHAUSTED', 'UNAVAILABLE']).toContain(failure.code);
      const simple = await own.model('simple');
      const ones = new Int32Array(16).fill(1);
      expect((await simple.infer({ INPUT0: ones, INPUT1: ones })).outputs['OUTPUT0']!.data[0]).toBe(2);
    } finally {
      await own.close();
      await small.stop();
    }
  });

  test('a server that shuts down answers what it took, and then nobody is there', async () => {
    const own = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--http-engine=${engine}`]);
    const ending = await connect(overWebSocket(own), { retry: false });
    try {
      const model = await ending.model('repeat_int32');
      const stream = model.stream(repeat(3, 200));
      await stream.next();
      const stopped = own.stop();
      let count = 1;
      for await (const _ of stream) count++;
      expect(count).toBe(3);
      await stopped;
      expect(await failureOf(model.stream(repeat(1)).next())).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
    } finally {
      await ending.close();
      await own.kill();
    }
  });
});

test('wss, with the certificate of an authority of one’s own', async () => {
  const fixture = (name: string): string => fileURLToPath(new URL(`../../../../server/transports/fixtures/${name}`, import.meta.url));
  const [cert, key] = [fixture('localhost.cert.pem'), fixture('localhost.key.pem')];
  const server = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--http-tls-cert=${cert}`, `--http-tls-key=${key}`]);
  const url = `wss://localhost:${new URL(server.http).port}`;
  const ones = { datatype: 'INT32', data: new Int32Array(16).fill(1), shape: [1, 16] } as const;
  const call = {
    model: 'simple',
    inputs: [
      { name: 'INPUT0', ...ones },
      { name: 'INPUT1', ...ones },
    ],
  };
  const trusting = await connect(url, { tls: { ca: readFileSync(cert) } });
  const strict = await connect(url, { retry: false });
  try {
    expect((await trusting.infer(call)).output('OUTPUT0').data[0]).toBe(2);
    expect(await failureOf(trusting.isServerLive())).toMatchObject({ code: 'UNIMPLEMENTED' });
    expect(await failureOf(strict.infer(call))).toMatchObject({ code: 'UNAVAILABLE', phase: 'refused' });
  } finally {
    await trusting.close();
    await strict.close();
    await server.stop();
  }
});
