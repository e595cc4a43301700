import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { BERT_SMALL, bertGraph } from './bert-model.ts';
import { IMAGE_SHAPE, imageModel } from './image-model.ts';
import { MLP_WIDTHS, mlpModel, mlpParameters } from './mlp-model.ts';
import { encodeOnnxModel } from './onnx-model.ts';
import { graphParameters, RESNET50, resnetGraph } from './resnet50-model.ts';

const options: InferenceSession.SessionOptions = { intraOpNumThreads: 1 };

const random = (dims: readonly number[], seed = 1): Tensor =>
  new Tensor(
    'float32',
    new SeededRandom(seed).symmetric(
      dims.reduce((a, b) => a * b, 1),
      1,
    ),
    dims,
  );

async function run(model: Uint8Array, feeds: Record<string, Tensor>): Promise<Tensor> {
  const session = await InferenceSession.create(model, options);
  const outputs = Object.values(await session.run(feeds));
  await session.release();
  return outputs[0] as Tensor;
}

const valuesOf = (tensor: Tensor): number[] => Array.from(tensor.data as Float32Array);
/** Random weights that let values vanish or grow past bounds would be quicker, or slower, to compute with than real ones. */
function expectLively(values: readonly number[]): void {
  expect(values.every(Number.isFinite)).toBe(true);
  const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  expect(size).toBeGreaterThan(0.01);
  expect(size).toBeLessThan(100);
}

test('the fully connected network has 3.7 million parameters, and rows of a batch are answered as by themselves', async () => {
  expect(mlpParameters(MLP_WIDTHS)).toBe(3_681_680);
  const model = mlpModel([12, 40, 24, 5]);
  const two = await run(model, { INPUT0: random([2, 12]) });
  expect(two.dims).toEqual([2, 5]);
  expectLively(valuesOf(two));
  const second = (random([2, 12]).data as Float32Array).slice(12);
  const one = await run(model, { INPUT0: new Tensor('float32', second, [1, 12]) });
  for (const [i, value] of valuesOf(one).entries()) expect(value).toBeCloseTo(valuesOf(two)[5 + i]!, 4);
});

test('the whole fully connected network runs', async () => {
  const output = await run(mlpModel(), { INPUT0: random([1, 512]) });
  expect(output.dims).toEqual([1, 16]);
  expectLively(valuesOf(output));
});

test('the residual network has the parameters of ResNet-50 without those of its batch norms', () => {
  const graph = resnetGraph();
  // 25,557,032, with two of a batch norm for each of 26,560 channels, which are one bias here.
  expect(graphParameters(graph)).toBe(25_557_032 - 26_560);
  const ops = graph.nodes.map(({ op }) => op);
  expect(ops.filter((op) => op === 'Conv')).toHaveLength(53);
  expect(ops.filter((op) => op === 'Add')).toHaveLength(16);
});

test('a narrow residual network of the same depth runs', async () => {
  const small = { ...RESNET50, width: 8, side: 64, classes: 7 };
  const output = await run(encodeOnnxModel(resnetGraph(small)), { INPUT0: random([2, 3, 64, 64]) });
  expect(output.dims).toEqual([2, 7]);
  expectLively(valuesOf(output));
});

const smallEncoder = { layers: 2, hidden: 16, heads: 2, inner: 32, vocabulary: 50, maxTokens: 12 };

function texts(ids: readonly (readonly number[])[], mask: readonly (readonly number[])[]): Record<string, Tensor> {
  const tensor = (rows: readonly (readonly number[])[]): Tensor =>
    new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);
  return { input_ids: tensor(ids), attention_mask: tensor(mask) };
}

test('the encoder has the parameters of its shape', () => {
  const { layers, hidden, inner, vocabulary, maxTokens } = BERT_SMALL;
  const norm = 2 * hidden;
  const layer = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 2 * norm;
  const constants = 5;
  expect(graphParameters(bertGraph())).toBe((vocabulary + maxTokens) * hidden + norm + layers * layer + constants);
});

test('padding does not change what the encoder makes of a text, and its words do', async () => {
  const model = encodeOnnxModel(bertGraph(smallEncoder));
  const alone = await run(model, texts([[3, 1, 4, 1, 5]], [[1, 1, 1, 1, 1]]));
  expect(alone.dims).toEqual([1, 16]);
  expectLively(valuesOf(alone));
  const padded = await run(
    model,
    texts(
      [
        [3, 1, 4, 1, 5, 0, 0, 0],
        [2, 7, 1, 8, 2, 8, 1, 8],
      ],
      [
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
      ],
    ),
  );
  const [first, second] = [valuesOf(padded).slice(0, 16), valuesOf(padded).slice(16)];
  for (const [i, value] of valuesOf(alone).entries()) expect(first[i]).toBeCloseTo(value, 4);
  expect(Math.max(...first.map((value, i) => Math.abs(value - second[i]!)))).toBeGreaterThan(0.01);
  const swapped = await run(model, texts([[1, 3, 4, 1, 5]], [[1, 1, 1, 1, 1]]));
  expect(Math.max(...valuesOf(swapped).map((value, i) => Math.abs(value - first[i]!)))).toBeGreaterThan(0.001);
});

test('the whole encoder runs', async () => {
  const ids = Array.from({ length: 30 }, (_, i) => (i * 271) % BERT_SMALL.vocabulary);
  const output = await run(encodeOnnxModel(bertGraph()), texts([ids], [ids.map(() => 1)]));
  expect(output.dims).toEqual([1, 256]);
  expectLively(valuesOf(output));
});

test('the small network for pictures runs', async () => {
  const output = await run(imageModel(), { INPUT0: random(IMAGE_SHAPE) });
  expect(output.dims).toEqual([1, 10]);
  expectLively(valuesOf(output));
});
