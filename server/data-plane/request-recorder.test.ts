import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addSub, identity } from '../../bench/models/test-models.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { systemClock } from '../inference/clock.ts';
import { InferenceRequest } from '../inference/inference-request.ts';
import { encodeRequest } from '../protocols/oip-json/encode-request.ts';
import type { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { prepareModel } from '../repository/preparation/prepare-model.ts';
import { PreparedModels, prepareOptions } from '../repository/preparation/prepared-models.case.ts';
import { Admission } from './admission.ts';
import { InferenceDoor } from './infer.ts';
import { RequestRecorder } from './request-recorder.ts';

const ints = (name: string, values: readonly number[], rows = 1): Tensor => ({
  name,
  datatype: 'INT32',
  shape: [rows, values.length / rows],
  data: new Uint8Array(Int32Array.from(values).buffer),
});

let directory: string;
let models: PreparedModels;
let warnings: string[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nereid-recorder-'));
  models = new PreparedModels({ kind: 'inline' });
  warnings = [];
});

afterEach(async () => {
  await models.stop();
  rmSync(directory, { recursive: true });
});

function record(count: number): { recorder: RequestRecorder; door: InferenceDoor } {
  const recorder = new RequestRecorder({ directory, count, encode: encodeRequest, warn: (message) => warnings.push(message) });
  return {
    recorder,
    door: new InferenceDoor(null as unknown as ModelRepository, new Admission(100, 2 ** 30), systemClock, null, recorder),
  };
}

/** Resolves with the request's error, or null. */
function infer(door: InferenceDoor, model: Model, inputs: readonly Tensor[]): Promise<InferenceError | null> {
  return new Promise((resolve) => {
    const caller = {
      onResponse: () => resolve(null),
      onComplete: () => resolve(null),
      onError: (_: unknown, error: InferenceError) => resolve(error),
    };
    const request = {
      modelName: 'm',
      modelVersion: '',
      id: 'secret',
      inputs,
      outputs: [],
      parameters: { mode: 'fast' },
      priority: 0,
      timeoutUs: 0,
    };
    door.infer(new InferenceRequest({ ...request, caller }), model);
    // What a transport does with a body once its request is answered must not matter.
  });
}

const file = (version = '1'): string => join(directory, 'm', `requests-${version}.jsonl`);
const lines = (): string[] => readFileSync(file(), 'utf8').split('\n').slice(0, -1);

describe('the recorder of requests', () => {
  it('writes the first ones down, as warm-up requests that the model takes', async () => {
    const { recorder, door } = record(3);
    const { model, source } = await models.load({
      'config.pbtxt': 'backend: "onnxruntime" warmup_requests: "r"',
      'warmup/r': '',
      '1/model.onnx': addSub('INT32', ['batch', 4]),
    });
    for (let i = 0; i < 5; i++) {
      const inputs = [ints('INPUT0', [i, 2, 3, 4]), ints('INPUT1', [5, 6, 7, 8])];
      expect(await infer(door, model, inputs)).toBeNull();
      for (const { data } of inputs) data.fill(99);
    }
    await recorder.stop();
    expect(lines()).toEqual(
      [0, 1, 2].map((i) => {
        const input = (name: string, data: number[]): object => ({ name, datatype: 'INT32', shape: [1, 4], data });
        return JSON.stringify({ parameters: { mode: 'fast' }, inputs: [input('INPUT0', [i, 2, 3, 4]), input('INPUT1', [5, 6, 7, 8])] });
      }),
    );
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    writeFileSync(join(source.path, 'warmup', 'r'), readFileSync(file()));
    await prepareModel(model, source, prepareOptions);
    expect(warnings).toEqual([]);
  });

  it('goes on in a file that an earlier run left, behind its last whole line', async () => {
    const { model } = await models.load({ 'config.pbtxt': 'backend: "onnxruntime"', '1/model.onnx': identity('INT32', ['batch', 1]) });
    mkdirSync(join(directory, 'm'));
    writeFileSync(file(), 'first\nsecond\nthi');
    const { recorder, door } = record(3);
    await infer(door, model, [ints('INPUT0', [1])]);
    await infer(door, model, [ints('INPUT0', [2])]);
    await recorder.stop();
    expect(lines()).toEqual(['first', 'second', expect.stringContaining('"data":[1]')]);
    const again = record(3);
    await infer(again.door, model, [ints('INPUT0', [3])]);
    await again.recorder.stop();
    expect(lines()).toHaveLength(3);
  });

  it('leaves out what failed, what JSON cannot carry and what is too large', async () => {
    const { model } = await models.load({ 'config.pbtxt': 'backend: "onnxruntime"', '1/model.onnx': identity('BYTES', ['batch', 1]) });
    const { recorder, door } = record(4);
    const bytes = (element: string | Uint8Array): Tensor => ({
      name: 'INPUT0',
      datatype: 'BYTES',
      shape: [1, 1],
      data: encodeBytes([element]),
    });
    await infer(door, model, [bytes(Uint8Array.of(0xff, 0xfe))]);
    await infer(door, model, [bytes('x'.repeat(1024 * 1024))]);
    await infer(door, model, [bytes('héllo')]);
    await recorder.stop();
    expect(lines()).toEqual([expect.stringContaining('"data":["héllo"]')]);

    const failing = record(4);
    const request = new InferenceRequest({
      ...{ modelName: 'm', modelVersion: '', id: '', inputs: [bytes('no')], outputs: [], parameters: {}, priority: 0, timeoutUs: 0 },
      caller: { onResponse: () => {}, onComplete: () => {}, onError: () => {} },
    });
    failing.door.infer(request, model);
    request.cancel();
    await expect.poll(() => request.isDone).toBe(true);
    await failing.recorder.stop();
    expect(lines()).toHaveLength(1);
  });

  it('gives a model up that it cannot write for, and says so once; requests do not notice', async () => {
    const { model } = await models.load({ 'config.pbtxt': 'backend: "onnxruntime"', '1/model.onnx': identity('INT32', ['batch', 1]) });
    writeFileSync(join(directory, 'm'), 'a file where the directory should be');
    const { recorder, door } = record(3);
    for (let i = 0; i < 3; i++) expect(await infer(door, model, [ints('INPUT0', [1])])).toBeNull();
    await recorder.stop();
    expect(warnings).toEqual([expect.stringMatching(/^requests of model 'm:1' cannot be recorded: EEXIST|ENOTDIR/)]);
  });

  it('follows no link, and takes no name for a path', async () => {
    const { model } = await models.load({ 'config.pbtxt': 'backend: "onnxruntime"', '1/model.onnx': identity('INT32', ['batch', 1]) });
    mkdirSync(join(directory, 'm'));
    symlinkSync(join(directory, 'target'), file());
    const { recorder, door } = record(3);
    await infer(door, model, [ints('INPUT0', [1])]);
    for (const name of ['..', '.hidden', 'a/b', 'a\\b', 'x'.repeat(300), 'new\nline', '']) {
      const request = new InferenceRequest({
        ...{ modelName: name, modelVersion: '', id: '', inputs: [], outputs: [], parameters: {}, priority: 0, timeoutUs: 0 },
        caller: { onResponse: () => {}, onComplete: () => {}, onError: () => {} },
      });
      request.model = { name, version: '1' };
      recorder.record(request);
    }
    await recorder.stop();
    expect(existsSync(join(directory, 'target'))).toBe(false);
    expect(warnings).toHaveLength(8);
    expect(warnings.filter((warning) => warning.includes('its name is not one for a directory'))).toHaveLength(7);
  });

  it('bounds what waits to be written', async () => {
    const { recorder } = record(1_000);
    const inputs = [ints('INPUT0', new Array<number>(250_000).fill(7))];
    const request = new InferenceRequest({
      ...{ modelName: 'm', modelVersion: '', id: '', inputs, outputs: [], parameters: {}, priority: 0, timeoutUs: 0 },
      caller: { onResponse: () => {}, onComplete: () => {}, onError: () => {} },
    });
    request.inputBytes = 1_000_000;
    request.model = { name: 'm', version: '1' };
    // In one turn, so that nothing is written meanwhile: 16 MiB have room for 16 of them.
    for (let i = 0; i < 20; i++) recorder.record(request);
    await recorder.stop();
    expect(lines()).toHaveLength(16);
  });
});
