import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { digitPixels, digitTrainingRows, readDigits } from './digits-data.ts';
import { digitsModel } from './digits-model.ts';
import { digitsModelPath, exampleFiles } from './example-models.ts';
import { modelsFolder } from './models-folder.ts';
import { trainDigits } from './train-digits.ts';

const options: InferenceSession.SessionOptions = { intraOpNumThreads: 1 };
const checkedIn = (path: string): string => fileURLToPath(new URL(`../../${path}`, modelsFolder));

interface InferRequest {
  readonly inputs: readonly { readonly name: string; readonly shape: number[]; readonly datatype: string; readonly data: number[] }[];
}

function readRequest(name: string): InferRequest['inputs'] {
  return (JSON.parse(readFileSync(checkedIn(`bench/models/requests/${name}.json`), 'utf8')) as InferRequest).inputs;
}

async function runFile(path: string, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await InferenceSession.create(checkedIn(path), options);
  return (await session.run(feeds)) as Record<string, Tensor>;
}

describe('the files checked in', () => {
  test.each([...exampleFiles()])('%s is what the script writes', (path, content) => {
    expect(readFileSync(checkedIn(path)).equals(content)).toBe(true);
  });

  test('together stay under 2 MB', () => {
    const paths = [...exampleFiles().keys(), digitsModelPath, 'bench/models/data/digits.csv.gz'];
    expect(paths.reduce((sum, path) => sum + readFileSync(checkedIn(path)).length, 0)).toBeLessThan(2_000_000);
  });
});

describe('simple models', () => {
  test('simple answers the request body that goes with it', async () => {
    const inputs = readRequest('simple');
    const feeds = Object.fromEntries(inputs.map(({ name, shape, data }) => [name, new Tensor('int32', data, shape)]));
    const { OUTPUT0, OUTPUT1 } = await runFile('model-repository/simple/1/model.onnx', feeds);
    const counting = Array.from({ length: 16 }, (_, index) => index);
    expect(OUTPUT0!.dims).toEqual([1, 16]);
    expect(OUTPUT0!.data).toEqual(Int32Array.from(counting, (value) => value + 1));
    expect(OUTPUT1!.data).toEqual(Int32Array.from(counting, (value) => value - 1));
  });

  test('simple_string does the same with text', async () => {
    const text = (value: (index: number) => number): Tensor =>
      new Tensor(
        'string',
        Array.from({ length: 32 }, (_, index) => String(value(index))),
        [2, 16],
      );
    const feeds = { INPUT0: text((index) => index * 1000), INPUT1: text(() => 12) };
    const { OUTPUT0, OUTPUT1 } = await runFile('model-repository/simple_string/1/model.onnx', feeds);
    expect(OUTPUT0!.dims).toEqual([2, 16]);
    expect(OUTPUT0!.data).toEqual(text((index) => index * 1000 + 12).data);
    expect(OUTPUT1!.data).toEqual(text((index) => index * 1000 - 12).data);
  });

  test('simple_identity gives its strings back', async () => {
    const texts = Array.from({ length: 16 }, (_, index) => 'ä'.repeat(index));
    const { OUTPUT0 } = await runFile('model-repository/simple_identity/1/model.onnx', { INPUT0: new Tensor('string', texts, [1, 16]) });
    expect(OUTPUT0!.data).toEqual(texts);
  });
});

describe('digits', () => {
  const { training, test: kept } = readDigits();

  async function classify(
    model: string | Uint8Array,
    pixels: Float32Array,
  ): Promise<{ labels: number[]; probabilities: Tensor; label: Tensor }> {
    const session =
      typeof model === 'string' ? await InferenceSession.create(checkedIn(model), options) : await InferenceSession.create(model, options);
    const outputs = await session.run({ image: new Tensor('float32', pixels, [pixels.length / digitPixels, 1, 8, 8]) });
    return {
      labels: Array.from(outputs['label']!.data as BigInt64Array, Number),
      label: outputs['label']!,
      probabilities: outputs['probabilities']!,
    };
  }

  const share = (labels: readonly number[], right: Uint8Array): number =>
    labels.filter((label, index) => label === right[index]).length / right.length;

  test('the data are 1,500 images to train on and 297 to test with', () => {
    expect(training.labels.length).toBe(digitTrainingRows);
    expect(kept.labels.length).toBe(297);
    expect(Math.max(...kept.pixels)).toBe(16);
    expect(new Set(kept.labels)).toEqual(new Set(Array(10).keys()));
  });

  test('the model checked in reads at least 97 % of the images it was not trained on', async () => {
    const { labels } = await classify(digitsModelPath, kept.pixels);
    expect(share(labels, kept.labels)).toBeGreaterThanOrEqual(0.97);
  });

  test('its outputs are a label of rank 1 and ten probabilities that agree with it', async () => {
    const { labels, label, probabilities } = await classify(digitsModelPath, kept.pixels.subarray(0, 5 * digitPixels));
    expect(label.type).toBe('int64');
    expect(label.dims).toEqual([5]);
    expect(probabilities.dims).toEqual([5, 10]);
    for (const [row, digit] of labels.entries()) {
      const values = (probabilities.data as Float32Array).subarray(row * 10, row * 10 + 10);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
      expect(values.indexOf(Math.max(...values))).toBe(digit);
    }
  });

  test('the request body shows an image that the model reads rightly', async () => {
    const [input] = readRequest('digit');
    expect(input).toMatchObject({ name: 'image', datatype: 'FP32', shape: [1, 1, 8, 8] });
    const { labels } = await classify(digitsModelPath, Float32Array.from(input!.data.flat(3)));
    expect(labels).toEqual([3]);
  });

  test('the configuration names the tensors of the model and its labels file', () => {
    const config: unknown = parse(readFileSync(checkedIn('model-repository/digits/config.yaml'), 'utf8'));
    expect(config).toMatchObject({
      name: 'digits',
      input: [{ name: 'image', dims: [1, 8, 8] }],
      output: [
        { name: 'label', dims: [] },
        { name: 'probabilities', dims: [10], label_filename: 'labels.txt' },
      ],
    });
    expect(readFileSync(checkedIn('model-repository/digits/labels.txt'), 'utf8').trimEnd().split('\n')).toHaveLength(10);
  });

  test('training is repeatable, and the ONNX file computes what was trained', async () => {
    const few = { pixels: training.pixels.subarray(0, 200 * digitPixels), labels: training.labels.subarray(0, 200) };
    const network = trainDigits(few, { epochs: 8, seed: 3 });
    const model = digitsModel(network);
    expect(Buffer.from(model).equals(digitsModel(trainDigits(few, { epochs: 8, seed: 3 })))).toBe(true);

    const { labels, probabilities } = await classify(model, few.pixels);
    expect(share(labels, few.labels)).toBeGreaterThan(0.8);
    const image = few.pixels.subarray(0, digitPixels).map((pixel) => pixel / 16);
    const { strokes, shapes, pooled, hidden, scores } = network;
    let values: Float32Array = image;
    for (const stage of [strokes, shapes, pooled, hidden, scores]) {
      stage.forward(values);
      values = stage.outputs;
    }
    const powers = Array.from(values, Math.exp);
    const sum = powers.reduce((total, power) => total + power, 0);
    for (const [digit, power] of powers.entries()) expect((probabilities.data as Float32Array)[digit]).toBeCloseTo(power / sum, 4);
  });
});
