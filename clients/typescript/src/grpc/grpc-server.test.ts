/** Against a real server; what HTTP says of it is what gRPC has to say. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { identity } from '../../../../bench/models/test-models.ts';
import { DATATYPES, type Datatype } from '../../../../proto/datatype.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from '../../../../server/e2e/serve.ts';
import type { CallError } from '../call-error.ts';
import type { InferenceClient } from '../client.ts';
import { connect } from '../index.ts';
import type { ModelInput } from '../infer-input.ts';
import type { ModelStatistics } from '../server-facts.ts';

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

const ones = new Int32Array(16).fill(1);
const twos = new Int32Array(16).fill(2);

const repeat = (count: number, delayMs = 0): Record<string, ModelInput> => ({
  IN: Int32Array.from({ length: count }, (_, i) => i * 2),
  DELAY: new Uint32Array(count).fill(delayMs),
  WAIT: Uint32Array.of(0),
});

async function failureOf(work: Promise<unknown>): Promise<CallError> {
  return work.then(
    () => {
      throw new Error('the call went well');
    },
    (error: CallError) => error,
  );
}

describe('the gRPC transport and the server', () => {
  const repository = makeRepository(
    Object.fromEntries(
      (Object.keys(DATATYPES) as Datatype[]).map((datatype) => [`id_${datatype}/1/model.onnx`, identity(datatype, ['batch', 'n'])]),
    ),
  );
  let server: ServerProcess;
  let grpc: InferenceClient;
  let http: InferenceClient;

  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--model-repository=${repository.path}`]);
    grpc = await connect(`grpc://${new URL(server.grpc).host}`);
    http = await connect(server.http);
  });

  afterAll(async () => {
    await grpc?.close();
    await http?.close();
    await server?.stop();
    repository.remove();
  });

  test.each(Object.keys(DATATYPES) as Datatype[])('%s there and back', async (datatype) => {
    const model = await grpc.model(`id_${datatype}`);
    const input = model.metadata.inputs[0]!.name;
    const { outputs, id, modelVersion } = await model.infer({ [input]: samples[datatype] }, { id: `of ${datatype}` });
    expect(Object.values(outputs)[0]!.data).toEqual(datatype === 'BOOL' ? Uint8Array.of(1, 0) : samples[datatype]);
    expect([id, modelVersion]).toEqual([`of ${datatype}`, '1']);
  });

  test('health, metadata and the index are those of HTTP', async () => {
    expect(await Promise.all([grpc.isServerLive(), grpc.isServerReady(), grpc.isModelReady('simple')])).toEqual([true, true, true]);
    expect(await grpc.isModelReady('simple', { version: 9 })).toBe(false);
    expect(await grpc.isModelReady('no_such_model')).toBe(false);
    expect(await grpc.serverMetadata()).toMatchObject({
      name: (await http.serverMetadata()).name,
      version: (await http.serverMetadata()).version,
    });
    for (const model of ['digits', 'simple_string', 'repeat_int32', 'id_BF16']) {
      expect(await grpc.modelMetadata(model)).toEqual(await http.modelMetadata(model));
    }
    const sorted = async (client: InferenceClient): Promise<string[]> =>
      (await client.repositoryIndex()).map((entry) => JSON.stringify(entry)).sort();
    expect(await sorted(grpc)).toEqual(await sorted(http));
  });

  test('a model’s configuration is, to the letter, that of HTTP', async () => {
    for (const model of ['digits', 'simple', 'simple_identity', 'repeat_int32', 'id_FP32']) {
      expect(await grpc.modelConfig(model)).toEqual(await http.modelConfig(model));
    }
  });

  test('statistics are those of HTTP', async () => {
    const model = await grpc.model('simple');
    await model.infer({ INPUT0: ones, INPUT1: twos });
    const counted = (list: readonly ModelStatistics[]): unknown => list.map((one) => ({ ...one, memoryUsage: [] }));
    const overGrpc = await grpc.statistics('simple');
    expect(overGrpc[0]!.inferenceStats.success.count).toBe(1);
    expect(overGrpc[0]!.lastInference).toBeGreaterThan(Date.now() - 60_000);
    expect(counted(overGrpc)).toEqual(counted(await http.statistics('simple')));
    expect((await grpc.statistics()).length).toBe((await http.statistics()).length);
  });

  test('chosen outputs, classification, parameters, a thousand at once', async () => {
    const simple = await grpc.model('simple');
    const { outputs } = await simple.infer({ INPUT0: ones, INPUT1: twos }, { outputs: ['OUTPUT1'] });
    expect(Object.keys(outputs)).toEqual(['OUTPUT1']);
    expect(outputs['OUTPUT1']!.data[0]).toBe(-1);
    const results = await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => simple.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: ones }, { id: String(i) })),
    );
    for (const [i, result] of results.entries()) expect([result.outputs['OUTPUT0']!.data[0], result.id]).toEqual([i + 1, String(i)]);
  });

  test('errors are those of HTTP', async () => {
    const wrong = { model: 'simple', inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 3], data: [1, 2, 3] }] } as const;
    const [overGrpc, overHttp] = [await failureOf(grpc.infer(wrong)), await failureOf(http.infer(wrong))];
    expect(overGrpc).toMatchObject({ code: 'INVALID_ARGUMENT', status: 3, phase: 'answered', message: overHttp.message });
    expect(await failureOf(grpc.model('no_such_model'))).toMatchObject({ code: 'NOT_FOUND', status: 5 });
    expect(await failureOf(grpc.loadModel('simple'))).toMatchObject({ code: (await failureOf(http.loadModel('simple'))).code });
  });

  test('compressed both ways', async () => {
    const client = await connect(`grpc://${new URL(server.grpc).host}`, { compression: 'gzip' });
    const model = await client.model('id_FP32');
    const input = Float32Array.from({ length: 100_000 }, (_, i) => i % 7);
    const { outputs } = await model.infer({ [model.metadata.inputs[0]!.name]: input });
    expect(Object.values(outputs)[0]!.data).toEqual(input);
    await client.close();
  });

  test('a decoupled model: its responses in order, none, one, and a reader that leaves', async () => {
    const model = await grpc.model('repeat_int32');
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
    expect(await failureOf(model.infer(repeat(2)))).toMatchObject({ code: 'UNIMPLEMENTED', status: 12 });
    const simple = await grpc.model('simple');
    const answers: unknown[] = [];
    for await (const { outputs } of simple.stream({ INPUT0: ones, INPUT1: twos })) answers.push(outputs['OUTPUT0']!.data[0]);
    expect(answers).toEqual([3]);
  });

  test('streams side by side, and a slow reader that loses nothing', async () => {
    const model = await grpc.model('repeat_int32');
    const simple = await grpc.model('simple');
    const count = async (): Promise<number> => {
      let next = 0;
      for await (const { outputs } of model.stream(repeat(2_000))) {
        expect(outputs['IDX']!.data[0]).toBe(next++);
        if (next % 200 === 0) await simple.infer({ INPUT0: ones, INPUT1: ones });
      }
      return next;
    };
    expect(await Promise.all([count(), count(), count()])).toEqual([2_000, 2_000, 2_000]);
  });

  test('a deadline, a signal, and a request that is wrong, on a stream', async () => {
    const model = await grpc.model('repeat_int32');
    const slow = model.stream(repeat(2, 60_000), { timeoutMs: 200 });
    expect(await failureOf(slow.next().then(() => slow.next()))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const controller = new AbortController();
    const aborted = model.stream(repeat(2, 60_000), { signal: controller.signal });
    const waiting = failureOf(aborted.next().then(() => aborted.next()));
    setImmediate(() => controller.abort());
    expect(await waiting).toMatchObject({ code: 'CANCELLED' });
    const wrong = grpc.stream({ model: 'repeat_int32', inputs: [{ name: 'IN', datatype: 'INT32', shape: [1], data: [1] }] });
    expect((await failureOf(wrong.next())).message).toMatch(/DELAY|WAIT|inputs/);
  });

  test.each([
    ['grpc-infer', /^sums {9}10 11 12.*\ndifferences {2}-10 -9 .*\nan error {5}NOT_FOUND: /],
    ['grpc-stream', /response 0 is 4\n.*response 1 is 2\n.*response 2 is 0\n.*response 3 is 1\nof another request: 7/],
  ])('the example %s runs', async (name, printed) => {
    const script = fileURLToPath(new URL(`../../../../dist/clients/typescript/examples/${name}.js`, import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [script, `grpc://${new URL(server.grpc).host}`], { timeout: 20_000 });
    expect(stdout).toMatch(printed);
  });

  test('a server that stops: calls end, and a new one on the port is found', async () => {
    const port = (url: string): string => new URL(url).port;
    const arguments_ = [`--model-repository=${exampleRepository}`, '--exit-timeout-secs=1'];
    const first = await ServerProcess.start(arguments_);
    const grpcPort = port(first.grpc);
    const client = await connect(`grpc://127.0.0.1:${grpcPort}`, { retry: false });
    const simple = await client.model('simple');
    await simple.infer({ INPUT0: ones, INPUT1: twos });
    await first.kill();
    const gone = await failureOf(simple.infer({ INPUT0: ones, INPUT1: twos }));
    expect(gone).toMatchObject({ code: 'UNAVAILABLE', status: 0 });
    const second = await ServerProcess.start([...arguments_, `--grpc-port=${grpcPort}`]);
    await until(() => client.isServerReady().catch(() => false));
    const { outputs } = await simple.infer({ INPUT0: ones, INPUT1: twos });
    expect(outputs['OUTPUT0']!.data[0]).toBe(3);
    await client.close();
    await second.stop();
  });
});
