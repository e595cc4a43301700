import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity } from '../../../bench/models/test-models.ts';
import { DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { exampleRepository, makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import {
  connect,
  type InferenceClient,
  type InferenceError,
  InferInput,
  type InferOutput,
  InferRequestedOutput,
  type ModelInput,
  toBf16,
  toFp16,
} from './index.ts';

const datatypes = Object.keys(DATATYPES) as Datatype[];
const repository = makeRepository(
  Object.fromEntries(datatypes.map((datatype) => [`id_${datatype}/1/model.onnx`, identity(datatype, ['batch', 'any'])])),
);

/** Two rows of three, with what is at the edge of each datatype, and what `data` gives for them. */
const samples: { readonly [D in Datatype]: { values: ModelInput<D>; data: unknown } } = {
  BOOL: {
    values: [
      [true, false, true],
      [false, true, false],
    ],
    data: Uint8Array.of(1, 0, 1, 0, 1, 0),
  },
  UINT8: { values: Uint8Array.of(0, 1, 2, 253, 254, 255), data: Uint8Array.of(0, 1, 2, 253, 254, 255) },
  UINT16: { values: [0, 1, 2, 3, 4, 65535], data: Uint16Array.of(0, 1, 2, 3, 4, 65535) },
  UINT32: { values: [0, 1, 2, 3, 4, 4294967295], data: Uint32Array.of(0, 1, 2, 3, 4, 4294967295) },
  UINT64: { values: [0, 1n, 2, 3, 2n ** 63n, 2n ** 64n - 1n], data: BigUint64Array.of(0n, 1n, 2n, 3n, 2n ** 63n, 2n ** 64n - 1n) },
  INT8: { values: [-128, 127, 0, 1, 2, 3], data: Int8Array.of(-128, 127, 0, 1, 2, 3) },
  INT16: { values: [-32768, 32767, 0, 1, 2, 3], data: Int16Array.of(-32768, 32767, 0, 1, 2, 3) },
  INT32: {
    values: [
      [-2147483648, 2147483647, 0],
      [1, 2, 3],
    ],
    data: Int32Array.of(-2147483648, 2147483647, 0, 1, 2, 3),
  },
  INT64: {
    values: [-(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n, 1, 2, 3],
    data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n, 1n, 2n, 3n),
  },
  FP16: {
    values: [-0, 1.5, 65504, Number.NaN, Number.POSITIVE_INFINITY, 7],
    data: Uint16Array.from([-0, 1.5, 65504, Number.NaN, Number.POSITIVE_INFINITY, 7], toFp16),
  },
  BF16: {
    values: [-0, 1.5, 3e38, Number.NaN, Number.NEGATIVE_INFINITY, 7],
    data: Uint16Array.from([-0, 1.5, 3e38, Number.NaN, Number.NEGATIVE_INFINITY, 7], toBf16),
  },
  FP32: {
    values: Float32Array.of(-0, 0.1, 3.4e38, Number.NaN, Number.NEGATIVE_INFINITY, 7),
    data: Float32Array.of(-0, 0.1, 3.4e38, Number.NaN, Number.NEGATIVE_INFINITY, 7),
  },
  FP64: {
    values: [-0, 0.1, 1.7e308, Number.NaN, Number.POSITIVE_INFINITY, 7],
    data: Float64Array.of(-0, 0.1, 1.7e308, Number.NaN, Number.POSITIVE_INFINITY, 7),
  },
  BYTES: {
    values: [
      ['', 'é', '😀'],
      ['a\u0000b', '"', 'x'.repeat(100)],
    ],
    data: ['', 'é', '😀', 'a\u0000b', '"', 'x'.repeat(100)],
  },
};

const ramp = Int32Array.from({ length: 16 }, (_, i) => i);
const ones = new Int32Array(16).fill(1);

describe('the client over HTTP, against a server', () => {
  let server: ServerProcess;
  let client: InferenceClient;

  beforeAll(async () => {
    server = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      `--model-repository=${repository.path}`,
      '--grpc-port=0',
    ]);
    client = await connect(server.http);
  });

  afterAll(async () => {
    await client.close();
    await server.stop();
    repository.remove();
  });

  const failure = (call: Promise<unknown>): Promise<InferenceError> =>
    call.then(
      () => {
        throw new Error('the call succeeded');
      },
      (error: InferenceError) => error,
    );

  it.each(datatypes.flatMap((datatype) => [false, true].map((json) => ({ datatype, json }))))(
    'gives $datatype back, json: $json',
    async ({ datatype, json }) => {
      const model = await client.model(`id_${datatype}`);
      const { values, data } = samples[datatype];
      const result = await model.infer(
        { INPUT0: isNested(values) ? values : { data: values, shape: [2, 3] } } as Record<string, ModelInput>,
        { json },
      );
      const output = result.output('OUTPUT0');
      expect([output.datatype, output.shape]).toEqual([datatype, [2, 3]]);
      expect(output.data).toEqual(data);
    },
  );

  it('carries bytes that are no text, and says so when they are read as text', async () => {
    const model = await client.model('id_BYTES');
    const { outputs } = await model.infer({ INPUT0: { data: [Uint8Array.of(0xff, 0), 'ok'], shape: [1, 2] } });
    expect(outputs['OUTPUT0']!.bytes().map((one) => [...one])).toEqual([
      [0xff, 0],
      [0x6f, 0x6b],
    ]);
    expect(() => outputs['OUTPUT0']!.strings()).toThrow('outputs.OUTPUT0[0]: expected UTF-8');
    expect(await failure(model.infer({ INPUT0: { data: [Uint8Array.of(0xff), 'ok'], shape: [1, 2] } }, { json: true }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/^inputs\.INPUT0\[0\]: expected UTF-8.*leave out \{ json: true \}$/),
    });
  });

  it('knows a model by its metadata: values alone are enough', async () => {
    interface Digits {
      readonly inputs: { readonly image: ModelInput<'FP32'> };
      readonly outputs: { readonly label: InferOutput<'INT64'>; readonly probabilities: InferOutput<'FP32'> };
    }
    const digits = await client.model<Digits>('digits');
    const { outputs } = await digits.infer({ image: new Float32Array(64) });
    const label: BigInt64Array = outputs.label.data;
    const probabilities: Float32Array = outputs.probabilities.data;
    expect([label.length, outputs.probabilities.shape]).toEqual([1, [1, 10]]);
    expect(probabilities.reduce((sum, one) => sum + one, 0)).toBeCloseTo(1, 5);
    const one = await digits.infer({ image: new Float32Array(128) }, { outputs: ['label'], id: 'n7' });
    expect([Object.keys(one.outputs), one.outputs.label.shape, one.id, one.modelVersion]).toEqual([['label'], [2], 'n7', '1']);
    const rows = Array.from({ length: 8 }, () => new Array<number>(8).fill(1));
    expect((await digits.infer({ image: [rows] })).outputs.label.shape).toEqual([1]);
    expect((await digits.infer({ image: [[rows], [rows], [rows]] })).outputs.label.shape).toEqual([3]);
  });

  it('asks for classes', async () => {
    const digits = await client.model('digits');
    const { outputs } = await digits.infer(
      { image: new Float32Array(64) },
      { outputs: [new InferRequestedOutput('probabilities', { classification: 3 })] },
    );
    expect(outputs['probabilities']!.strings()).toHaveLength(3);
    expect(outputs['probabilities']!.strings()[0]).toMatch(/^0\.\d{6}:\d:/);
  });

  it('infers without metadata, by InferInput or plain objects', async () => {
    const inputs = [new InferInput('INPUT0', [1, 16], 'INT32').setData(ramp), { name: 'INPUT1', data: ones, shape: [1, 16] }];
    const result = await client.infer({
      model: 'simple',
      version: 1,
      inputs,
      outputs: ['OUTPUT0', { name: 'OUTPUT1', binaryData: false }],
    });
    expect(result.output('OUTPUT0').data).toEqual(ramp.map((x) => x + 1));
    expect(result.output('OUTPUT1').data).toEqual(ramp.map((x) => x - 1));
    expect(result.output('OUTPUT1').raw).toHaveLength(64);
  });

  it('sends gzip and takes it', async () => {
    const zipped = await connect(server.http, { compression: 'gzip' });
    const model = await zipped.model('simple');
    expect((await model.infer({ INPUT0: ramp, INPUT1: ones })).output('OUTPUT0').data).toEqual(ramp.map((x) => x + 1));
    expect((await model.infer({ INPUT0: ramp, INPUT1: ones }, { json: true })).output('OUTPUT0').data).toEqual(ramp.map((x) => x + 1));
  });

  it('gives each of many calls its own answer', async () => {
    const model = await client.model('simple');
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => model.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: ones }, { id: String(i) })),
    );
    answers.forEach((answer, i) => {
      expect([answer.id, answer.output('OUTPUT0').data[5]]).toEqual([String(i), i + 1]);
    });
  });

  it('names what is wrong before anything is sent', async () => {
    const model = await client.model('simple');
    const call = (inputs: Record<string, ModelInput>, options = {}): Promise<InferenceError> => failure(model.infer(inputs, options));
    expect(await call({ INPUT2: ramp })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("model 'simple' has no such input: it has INPUT0, INPUT1"),
    });
    expect((await call({ INPUT0: [...ramp.subarray(1), 0.5] })).message).toBe(
      'inputs.INPUT0[15]: expected an integer from -2147483648 to 2147483647 for INT32, got 0.5',
    );
    expect((await call({ INPUT0: ramp }, { outputs: ['OUTPUT'] })).message).toContain("did you mean 'OUTPUT0'?");
    expect((await call({ INPUT0: ramp }, { priority: -1 })).message).toBe('priority: expected a whole number >= 0, got -1');
    expect((await call({ INPUT0: ramp }, { sequence: { id: 0 } })).message).toContain(
      'sequence.id: expected a text or a whole number above 0',
    );
    expect((await call({ INPUT0: ramp }, { timeoutMs: -5 })).message).toContain('timeoutMs: expected milliseconds >= 0');
    expect((await failure(client.model('simple', { version: 'x' }))).message).toBe("version: expected a whole number, got 'x'");
  });

  it("rebuilds the server's errors", async () => {
    expect(await failure(client.model('simpel'))).toMatchObject({
      code: 'NOT_FOUND',
      status: 404,
      phase: 'answered',
      message: expect.stringContaining("'simpel' is not found"),
    });
    const model = await client.model('simple');
    expect(await failure(model.infer({ INPUT0: ramp }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      status: 400,
      message: expect.stringContaining('INPUT1'),
    });
    expect(await failure(client.loadModel('simple'))).toMatchObject({ code: 'UNAVAILABLE', status: 503 });
    expect(await failure(client.traceSettings())).toMatchObject({ code: 'UNIMPLEMENTED' });
    expect(await failure(client.statistics('nope'))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('says over which transports a model can stream', async () => {
    const model = await client.model('simple');
    const stream = model.stream({ INPUT0: ramp, INPUT1: ones });
    expect(await failure(stream.next())).toMatchObject({ code: 'UNIMPLEMENTED', message: expect.stringContaining('grpc://') });
  });

  it('health, metadata, configuration, statistics, index', async () => {
    expect([await client.isServerLive(), await client.isServerReady()]).toEqual([true, true]);
    expect([
      await client.isModelReady('simple'),
      await client.isModelReady('simple', { version: 9 }),
      await client.isModelReady('nope'),
    ]).toEqual([true, false, false]);
    expect(await client.serverMetadata()).toMatchObject({ name: 'nereid', extensions: expect.arrayContaining(['binary_tensor_data']) });
    expect(await client.modelMetadata('simple')).toMatchObject({
      name: 'simple',
      versions: ['1'],
      inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [-1, 16] }, {}],
    });
    expect(await client.modelConfig('simple')).toMatchObject({ name: 'simple', max_batch_size: 8 });
    const [stats] = await client.statistics('simple');
    expect(stats).toMatchObject({ name: 'simple', version: '1', batchStats: expect.any(Array) });
    expect(stats!.inferenceStats.success.count).toBeGreaterThan(0);
    expect((await client.statistics()).length).toBeGreaterThan(datatypes.length);
    const index = await client.repositoryIndex({ readyOnly: true });
    expect(index.find((one) => one.name === 'simple')).toEqual({ name: 'simple', version: '1', state: 'READY', reason: '' });
    expect(await client.systemSharedMemoryStatus()).toEqual([]);
    expect(await client.cudaSharedMemoryStatus()).toEqual([]);
  });

  it('keeps to the path of its URL, and refuses URLs that it cannot use', async () => {
    expect(await failure((await connect(`${server.http}/gateway/`)).serverMetadata())).toMatchObject({ code: 'NOT_FOUND' });
    expect((await failure(connect('htp://127.0.0.1'))).message).toContain("did you mean 'http'?");
    expect((await failure(connect('127.0.0.1:8000'))).code).toBe('INVALID_ARGUMENT');
    expect((await failure(connect('http://me:secret@127.0.0.1'))).message).not.toContain('secret');
  });

  it('a closed client answers CANCELLED, and can be closed by leaving its block', async () => {
    const own = await connect(server.http);
    await own[Symbol.asyncDispose]();
    expect(await failure(own.isServerLive())).toMatchObject({ code: 'CANCELLED' });
  });
});

function isNested(values: unknown): boolean {
  return Array.isArray(values) && Array.isArray(values[0]);
}
