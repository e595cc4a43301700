import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addSub, endlessLoop, failAtRun, identity } from '../../../bench/models/test-models.ts';
import { encodeBytes } from '../../../proto/bytes.ts';
import { makeRepository } from '../../e2e/serve.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { Model } from '../model.ts';
import { prepareModel } from './prepare-model.ts';
import { PreparedModels, prepareOptions } from './prepared-models.case.ts';

const addSubModel = addSub('INT32', ['batch', 4]);
const base = 'backend: "onnxruntime" ';
const input = (name: string, type: string, dims: string, data: string): string =>
  `inputs { key: "${name}" value { data_type: ${type} dims: [${dims}] ${data} } }`;
const bothInputs = (data: string): string => input('INPUT0', 'TYPE_INT32', '4', data) + input('INPUT1', 'TYPE_INT32', '4', data);
const request = (...values: number[]): string =>
  JSON.stringify({ inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, shape: [1, 4], datatype: 'INT32', data: values })) });

function wasCounted({ reporter }: Model): boolean {
  return reporter.executionCount + reporter.success.count + reporter.fail.count + reporter.batches.size + reporter.responses.length > 0;
}

/** Counts what each instance is given to execute. */
function countExecutions(model: Model): { sizes: number[][] } {
  const sizes: number[][] = [];
  for (const channel of model.instances.channels as InstanceChannel[]) {
    const own: number[] = [];
    sizes.push(own);
    const execute = channel.execute.bind(channel);
    channel.execute = (batch) => {
      own.push(batch.inputs[0]!.shape[0]!);
      return execute(batch);
    };
  }
  return { sizes };
}

describe.each(['process', 'inline'] as const)('preparing a model in a host of kind %s', (kind) => {
  let models: PreparedModels;

  beforeAll(() => {
    models = new PreparedModels({ kind });
  });

  afterAll(() => models.stop());

  it('runs each sample on each instance as often as it says, in batches of its size, and counts nothing', async () => {
    const config = `${base} max_batch_size: 8 instance_group { kind: KIND_CPU count: 2 }
      model_warmup { name: "one" batch_size: 1 ${bothInputs('zero_data: true')} }
      model_warmup { name: "full" batch_size: 8 count: 3 ${bothInputs('random_data: true')} }
      model_warmup { name: "none" ${bothInputs('zero_data: true')} }
      warmup_requests: ["some.jsonl", "pretty.json"]`;
    const { model, source } = await models.load({
      'config.pbtxt': config,
      '1/model.onnx': addSubModel,
      'warmup/some.jsonl': `${request(1, 2, 3, 4)}\n${request(5, 6, 7, 8)}\n`,
      'warmup/pretty.json': `\n${JSON.stringify(JSON.parse(request(1, 2, 3, 4)), null, 2)}\n`,
    });
    const { sizes } = countExecutions(model);
    const stages: string[] = [];
    await prepareModel(model, source, { ...prepareOptions, onStage: (stage) => stages.push(stage) });
    expect(sizes).toEqual([
      [1, 8, 8, 8, 1, 1, 1],
      [1, 8, 8, 8, 1, 1, 1],
    ]);
    expect(stages).toEqual(['warm_up']);
    expect(wasCounted(model)).toBe(false);
  });

  it('does nothing for a model that asks for nothing', async () => {
    expect((await models.prepare({ 'config.pbtxt': base, '1/model.onnx': addSubModel })).stages).toEqual([]);
  });

  it.each([
    ['BOOL', 'TYPE_BOOL'],
    ['UINT8', 'TYPE_UINT8'],
    ['INT64', 'TYPE_INT64'],
    ['FP16', 'TYPE_FP16'],
    ['BF16', 'TYPE_BF16'],
    ['FP64', 'TYPE_FP64'],
    ['BYTES', 'TYPE_STRING'],
  ] as const)('makes random and zero data of %s', async (datatype, type) => {
    const config = `${base} ${['random_data', 'zero_data']
      .map((data) => `model_warmup { name: "${data}" batch_size: 2 ${input('INPUT0', type, '70000', `${data}: true`)} }`)
      .join(' ')}`;
    expect((await models.prepare({ 'config.pbtxt': config, '1/model.onnx': identity(datatype, ['batch', 70000]) })).stages).toEqual([
      'warm_up',
    ]);
  });

  it('takes raw data from files, and repeats it over the batch', async () => {
    const config = `${base} model_warmup { name: "text" batch_size: 3 ${input('INPUT0', 'TYPE_STRING', '2', 'input_data_file: "a/words"')} }`;
    const files = { 'config.pbtxt': config, '1/model.onnx': identity('BYTES', ['batch', 2]) };
    await models.prepare({ ...files, 'warmup/a/words': encodeBytes(['two', 'words']) });
    const refusal = await models.refusal({ ...files, 'warmup/a/words': encodeBytes(['one']) });
    expect(refusal).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(refusal.message).toBe(
      "failed to run warm-up sample 'text' of model 'm' version 1: 'warmup/a/words' has 1 string elements, expected 2 for input 'INPUT0' of shape [2], BYTES",
    );
    expect((await models.refusal({ ...files, 'warmup/a/words': Uint8Array.of(9, 0, 0) })).message).toContain('incomplete string length');
  });

  it.each([
    [
      'a sample that the model fails on',
      `model_warmup { name: "s" batch_size: 1 ${input('INPUT0', 'TYPE_INT64', '1', 'input_data_file: "f"')} }`,
      /sample 's' of model 'm' version 1: .*(out of|indices)/s,
    ],
    [
      'another size',
      `model_warmup { name: "s" batch_size: 1 ${input('INPUT0', 'TYPE_INT64', '1', 'input_data_file: "ff"')} }`,
      /'warmup\/ff' has 16 bytes, expected 8 for input 'INPUT0' of shape \[1\], INT64/,
    ],
    [
      'an unknown input',
      `model_warmup { name: "s" batch_size: 1 ${input('INPUTO', 'TYPE_INT64', '1', 'zero_data: true')} }`,
      /model_warmup\[0\].inputs\["INPUTO"\]: the model has no input 'INPUTO'; did you mean 'INPUT0'\?/,
    ],
    [
      'another datatype',
      `model_warmup { name: "s" batch_size: 1 ${input('INPUT0', 'TYPE_FP32', '1', 'zero_data: true')} }`,
      /inputs\["INPUT0"\].data_type: expected TYPE_INT64, as the input has, got TYPE_FP32/,
    ],
    [
      'too large a batch',
      `model_warmup { name: "s" batch_size: 5 ${input('INPUT0', 'TYPE_INT64', '1', 'zero_data: true')} }`,
      /batch_size: expected at most max_batch_size \(4\), got 5/,
    ],
    [
      'a request that the model fails on',
      'warmup_requests: "requests"',
      /warm-up requests 'requests' of model 'm' version 1: request 2: .*(out of|indices)/s,
    ],
    ['text that is no request', 'warmup_requests: "text"', /warm-up requests 'text' of model 'm' version 1: request 1: /],
    ['an empty file', 'warmup_requests: "empty"', /expected an inference request in JSON, got an empty file/],
  ])('refuses %s', async (_what, config, message) => {
    const index = (value: number): string =>
      JSON.stringify({ inputs: [{ name: 'INPUT0', shape: [1, 1], datatype: 'INT64', data: [value] }] });
    const refusal = await models.refusal({
      'config.pbtxt': `${base} ${config}`,
      '1/model.onnx': failAtRun(),
      'warmup/f': new Uint8Array(BigInt64Array.of(99n).buffer),
      'warmup/ff': new Uint8Array(16),
      'warmup/requests': `${index(3)}\n${index(99)}`,
      'warmup/text': 'no request',
      'warmup/empty': ' \n',
    });
    expect(refusal.message).toMatch(message);
    expect(refusal.code).not.toBe('UNKNOWN');
  });

  it('reads what is there when it is prepared: follows links inside the repository alone', async () => {
    const { model, source } = await models.load({
      'config.pbtxt': `${base} warmup_requests: "link"`,
      '1/model.onnx': addSubModel,
      'warmup/link': '',
      'warmup/..data/real': request(1, 2, 3, 4),
    });
    const link = join(source.path, 'warmup', 'link');
    const put = (target: string): void => {
      rmSync(link, { recursive: true });
      symlinkSync(target, link);
    };
    put(join('..data', 'real'));
    await prepareModel(model, source, prepareOptions);
    const outside = makeRepository({ requests: request(1, 2, 3, 4) });
    put(join(outside.path, 'requests'));
    await expect(prepareModel(model, source, prepareOptions)).rejects.toThrow(/'warmup\/link' is a link that leads out of the repository/);
    await prepareModel(model, source, { ...prepareOptions, allowOutsideLinks: true });
    outside.remove();
    await expect(prepareModel(model, source, prepareOptions)).rejects.toThrow(/cannot read 'warmup\/link': it is not there/);
    rmSync(link);
    mkdirSync(link);
    await expect(prepareModel(model, source, prepareOptions)).rejects.toThrow(/'warmup\/link': expected a file, found a directory/);
    rmSync(link, { recursive: true });
    writeFileSync(link, '');
    truncateSync(link, 64 * 1024 * 1024 + 1);
    await expect(prepareModel(model, source, prepareOptions)).rejects.toThrow(
      /'warmup\/link' has 67108865 bytes, expected at most 67108864/,
    );
    const alone = { ...source, kind: 'file' } as const;
    await expect(prepareModel(model, alone, prepareOptions)).rejects.toThrow(/a model that is a single file has no directory for it/);
  });

  it('bounds what a sample may have', async () => {
    const config = `${base} model_warmup { name: "s" batch_size: 1 ${input('INPUT0', 'TYPE_INT64', '1000000000', 'zero_data: true')} }`;
    const refusal = await models.refusal({ 'config.pbtxt': config, '1/model.onnx': identity('INT64', ['batch', 'any']) });
    expect(refusal.message).toContain('dims [1000000000] of TYPE_INT64 pass the 268435456 bytes that an input of a sample may have');
  });

  it('runs a model without a batch dimension alone, and says why it takes no larger batch', async () => {
    const files = (size: number): Record<string, string | Uint8Array> => ({
      'config.pbtxt': `${base} model_warmup { name: "s" batch_size: ${size} ${input('INPUT0', 'TYPE_FP32', '4', 'random_data: true')} }`,
      '1/model.onnx': identity('FP32', [4]),
    });
    expect((await models.prepare(files(1))).stages).toEqual(['warm_up']);
    expect((await models.refusal(files(2))).message).toContain(
      'batch_size: expected at most 1, as the model has no batch dimension (max_batch_size 0), got 2',
    );
  });

  it('gives a model the shape of its file where the configuration has another', async () => {
    const config = `${base} max_batch_size: 4 input { name: "INPUT0" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: 4 } }
      output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: 4 } }
      model_warmup { name: "s" batch_size: 2 ${input('INPUT0', 'TYPE_FP32', '2, 2', 'random_data: true')} }
      golden_check { file: "g" }`;
    const data = [1, 2, 3, 4];
    const golden = {
      request: { inputs: [{ name: 'INPUT0', shape: [1, 2, 2], datatype: 'FP32', data }] },
      response: { outputs: [{ name: 'OUTPUT0', shape: [1, 2, 2], datatype: 'FP32', data }] },
    };
    const { stages } = await models.prepare({
      'config.pbtxt': config,
      '1/model.onnx': identity('FP32', ['batch', 4]),
      'golden/g': JSON.stringify(golden),
    });
    expect(stages).toEqual(['warm_up', 'golden_check']);
  });

  it('reads the responses of a decoupled model to their end', async () => {
    const config = (dims: number, more = ''): string => `backend: "repeat" model_transaction_policy { decoupled: true }
      model_warmup { name: "s" batch_size: 1 count: 2 ${input('IN', 'TYPE_INT32', String(dims), 'random_data: true')}
        ${input('DELAY', 'TYPE_UINT32', String(dims), 'zero_data: true')} ${input('WAIT', 'TYPE_UINT32', '1', 'zero_data: true')} } ${more}`;
    const asked = (values: number[]): object => ({
      inputs: [
        { name: 'IN', shape: [values.length], datatype: 'INT32', data: values },
        { name: 'DELAY', shape: [values.length], datatype: 'UINT32', data: values.map(() => 0) },
        { name: 'WAIT', shape: [1], datatype: 'UINT32', data: [0] },
      ],
    });
    const golden = (values: number[]): string =>
      JSON.stringify({ request: asked(values), response: { outputs: [{ name: 'OUT', shape: [1], datatype: 'INT32', data: [7] }] } });
    const check = 'golden_check { name: "seven" file: "g" }';
    const { model, stages } = await models.prepare({ 'config.pbtxt': config(100, check), '1/.keep': '', 'golden/g': golden([7]) });
    expect(stages).toEqual(['warm_up', 'golden_check']);
    expect([wasCounted(model), model.scheduler.inflightCount, model.instances.channels[0]!.inflightCount]).toEqual([false, 0, 0]);
    const three = await models.refusal({ 'config.pbtxt': config(1, check), '1/.keep': '', 'golden/g': golden([7, 8, 9]) });
    expect(three.message).toBe("golden check 'seven' of model 'm' version 1 failed: expected one response, the model gave 3");
    const many = await models.refusal({ 'config.pbtxt': config(20_000), '1/.keep': '' });
    expect(many.message).toMatch(/sample 's' of model 'm' version 1: the model gave more than 10000 responses/);
  });
});

describe('a model that does not come to an end', () => {
  it('fails when its time is over, a decoupled one too', async () => {
    const models = new PreparedModels({ kind: 'process', executionTimeoutMs: 2_000 });
    const sample = (inputs: string): string => `model_warmup { name: "long" batch_size: 1 ${inputs} }`;
    const late = await models.refusal(
      { 'config.pbtxt': `${base} ${sample(input('INPUT0', 'TYPE_FP32', '1', 'zero_data: true'))}`, '1/model.onnx': endlessLoop() },
      { timeoutMs: 200 },
    );
    expect(late).toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringContaining('took longer than 200 ms') });
    const decoupled = `backend: "repeat" model_transaction_policy { decoupled: true } ${sample(
      input('IN', 'TYPE_INT32', '0', '').replace('dims: [0]', 'dims: [1] zero_data: true') +
        input('DELAY', 'TYPE_UINT32', '1', 'input_data_file: "minute"') +
        input('WAIT', 'TYPE_UINT32', '1', 'zero_data: true'),
    )}`;
    const minute = new Uint8Array(Uint32Array.of(60_000).buffer);
    const slow = await models.refusal({ 'config.pbtxt': decoupled, '1/.keep': '', 'warmup/minute': minute }, { timeoutMs: 200 });
    expect(slow).toMatchObject({ code: 'DEADLINE_EXCEEDED', message: expect.stringContaining("sample 'long'") });
    await models.stop();
  });

  it("fails with its host's reason when the host ends it", async () => {
    const models = new PreparedModels({ kind: 'process', executionTimeoutMs: 300 });
    const config = `${base} model_warmup { name: "hang" batch_size: 1 ${input('INPUT0', 'TYPE_FP32', '1', 'zero_data: true')} }`;
    const refusal = await models.refusal({ 'config.pbtxt': config, '1/model.onnx': endlessLoop() });
    expect(refusal.message).toMatch(/^failed to run warm-up sample 'hang' of model 'm' version 1: /);
    expect(['UNAVAILABLE', 'DEADLINE_EXCEEDED']).toContain(refusal.code);
    await models.stop();
  });
});
