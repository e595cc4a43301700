import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity } from '../../../bench/models/test-models.ts';
import { DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { exampleRepository, makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import { connect, type InferenceClient, type InferenceError, type ModelInput } from './index.ts';

const datatypes = Object.keys(DATATYPES) as Datatype[];
const repository = makeRepository(
  Object.fromEntries(datatypes.map((datatype) => [`id_${datatype}/1/model.onnx`, identity(datatype, ['batch', 'any'])])),
);
const ramp = Int32Array.from({ length: 16 }, (_, i) => i);
const ones = new Int32Array(16).fill(1);

function failure(call: Promise<unknown>): Promise<InferenceError> {
  return call.then(
    () => {
      throw new Error('the call succeeded');
    },
    (error: InferenceError) => error,
  );
}

function valuesOf(datatype: Datatype): ModelInput {
  if (datatype === 'BYTES') return [['', 'é😀', 'a\u0000b']];
  if (datatype === 'BOOL') return [[true, false, true]];
  return [[1, 0, 100]];
}

let server: ServerProcess;

beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--model-repository=${repository.path}`]);
});

afterAll(async () => {
  await server.stop();
  repository.remove();
});

describe.each(['http', 'grpc', 'ws'])('the same calls over %s', (scheme) => {
  let client: InferenceClient;

  beforeAll(async () => {
    client = await connect(scheme === 'grpc' ? server.grpc : server.http.replace('http', scheme), { timeoutMs: 20_000 });
  });

  afterAll(() => client.close());

  it.each(datatypes)('gives %s back', async (datatype) => {
    const model = await client.model(`id_${datatype}`);
    const output = (await model.infer({ INPUT0: valuesOf(datatype) })).output('OUTPUT0');
    expect([output.datatype, output.shape]).toEqual([datatype, [1, 3]]);
    if (datatype === 'BYTES') expect(output.data).toEqual(['', 'é😀', 'a\u0000b']);
    else if (datatype === 'BOOL') expect(output.booleans()).toEqual([true, false, true]);
    else if (datatype === 'INT64' || datatype === 'UINT64') expect([...output.data]).toEqual([1n, 0n, 100n]);
    else expect([...output.toFloat32()]).toEqual([1, 0, 100]);
  });

  it('refuses headers that cannot be sent, and no inputs at all, before anything is sent', async () => {
    const model = await client.model('simple');
    const inputs = { INPUT0: ramp, INPUT1: ones };
    expect(await failure(model.infer(inputs, { headers: { 'x-a': 'two\nlines' } }))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await failure(model.infer(inputs, { headers: { 'content-length': '3' } }))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await failure(model.infer(undefined as unknown as typeof inputs))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: "inputs: expected an object that has values by the names of 'simple': INPUT0, INPUT1; got undefined",
    });
  });

  it('many at once, each its own answer, with outputs as asked', async () => {
    const model = await client.model('simple');
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        model.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: ones }, { id: `n${i}`, outputs: ['OUTPUT1'] }),
      ),
    );
    answers.forEach((answer, i) => {
      expect([answer.id, answer.modelVersion, Object.keys(answer.outputs), answer.output('OUTPUT1').data[15]]).toEqual([
        `n${i}`,
        '1',
        ['OUTPUT1'],
        i - 1,
      ]);
    });
    expect((await model.infer({ INPUT0: ramp, INPUT1: ones })).id).toBe('');
  });

  it('the same errors', async () => {
    expect(await failure(client.model('nope'))).toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining("'nope' is not found"),
    });
    const call = { model: 'nope', inputs: [{ name: 'INPUT0', data: ramp, shape: [1, 16] }] };
    expect(await failure(client.infer(call))).toMatchObject({ code: 'NOT_FOUND', phase: 'answered' });
    expect(await failure(client.infer({ ...call, model: 'simple' }))).toMatchObject({ code: 'INVALID_ARGUMENT', phase: 'answered' });
    expect(await failure(client.infer({ ...call, model: 'repeat_int32' }))).toMatchObject({
      code: expect.stringMatching(/UNIMPLEMENTED|INVALID_ARGUMENT/),
    });
    expect(await failure(client.infer({ ...call, model: 'simple', signal: AbortSignal.abort() }))).toMatchObject({ code: 'CANCELLED' });
  });

  it('the same facts', async () => {
    expect([await client.isServerLive(), await client.isServerReady(), await client.isModelReady('simple')]).toEqual([true, true, true]);
    expect(await client.isModelReady('nope')).toBe(false);
    const overHttp = await connect(server.http);
    expect(await client.modelMetadata('digits')).toEqual(await overHttp.modelMetadata('digits'));
    expect(await client.modelConfig('digits')).toEqual(await overHttp.modelConfig('digits'));
    expect((await client.serverMetadata()).name).toBe('nereid');
    expect((await client.statistics('digits'))[0]).toEqual((await overHttp.statistics('digits'))[0]);
    expect(await client.repositoryIndex()).toEqual(await overHttp.repositoryIndex());
    await overHttp.close();
  });

  it.skipIf(scheme === 'http')('a decoupled model answers one by one, and stops when nobody reads on', async () => {
    const model = await client.model('repeat_int32');
    const inputs = (values: number[], delayMs: number): Record<string, ModelInput> => ({
      IN: values,
      DELAY: values.map(() => delayMs),
      WAIT: [0],
    });
    const seen: unknown[] = [];
    for await (const answer of model.stream(inputs([5, 6, 7], 1), { id: 's' })) {
      seen.push([answer.id, answer.output('OUT').data[0], answer.output('IDX').data[0]]);
    }
    expect(seen).toEqual([
      ['s', 5, 0],
      ['s', 6, 1],
      ['s', 7, 2],
    ]);
    for await (const answer of model.stream(inputs([], 0))) throw new Error(`an answer to nothing: ${answer.id}`);
    for await (const answer of model.stream(inputs(new Array<number>(1_000).fill(4), 20))) {
      expect(answer.output('OUT').data[0]).toBe(4);
      break;
    }
    const late = model.stream(inputs([1, 2], 60_000), { timeoutMs: 300 });
    expect(await failure(late.next())).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const controller = new AbortController();
    const cut = model.stream(inputs([1, 2], 50), { signal: controller.signal });
    expect((await cut.next()).value!.output('OUT').data[0]).toBe(1);
    controller.abort();
    expect(await failure(cut.next())).toMatchObject({ code: 'CANCELLED' });
  });
});
