/** Requests of the scenarios: the same values in every run and on every protocol. */

import type { InferRequest, InputTensor } from '../../clients/typescript/src/transport.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { ExpectedOutput, PlannedRequest } from '../load/load-plan.ts';
import { BERT_SMALL } from '../models/bert-model.ts';
import { IMAGE_SHAPE } from '../models/image-model.ts';
import { MLP_WIDTHS } from '../models/mlp-model.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';

const PICTURE_VALUES = IMAGE_SHAPE.reduce((product, dim) => product * dim, 1);

export type Form = 'json' | 'binary';

/** Two vectors of 16 INT32, and their sum and difference. */
export function tinyRequests(form: Form, model = 'tiny'): PlannedRequest[] {
  const left = Int32Array.from({ length: 16 }, (_, i) => i);
  const right = new Int32Array(16).fill(1);
  const inputs = [tensor('INPUT0', 'INT32', [1, 16], left), tensor('INPUT1', 'INT32', [1, 16], right)];
  const expected = [
    output(
      'OUTPUT0',
      left.map((value) => value + 1),
    ),
    output(
      'OUTPUT1',
      left.map((value) => value - 1),
    ),
  ];
  return [planned(model, inputs, form, expected)];
}

export function mlpRequests(form: Form): PlannedRequest[] {
  return several(8, (random) => planned('mlp', [tensor('INPUT0', 'FP32', [1, MLP_WIDTHS[0]!], random.symmetric(MLP_WIDTHS[0]!, 1))], form));
}

/** A picture for `image` or `resnet50`. */
export function pictureRequests(model: string, form: Form): PlannedRequest[] {
  return several(2, (random) => planned(model, [tensor('INPUT0', 'FP32', IMAGE_SHAPE, random.symmetric(PICTURE_VALUES, 1))], form));
}

/** Texts of 8 to 256 tokens, the lengths spread evenly over the doublings between. */
export function bertRequests(count = 32): PlannedRequest[] {
  const random = new SeededRandom(7);
  return Array.from({ length: count }, () => {
    const length = Math.round(8 * 2 ** (5 * random.next()));
    const ids = BigInt64Array.from({ length }, () => BigInt(random.below(BERT_SMALL.vocabulary)));
    const mask = new BigInt64Array(length).fill(1n);
    const shape = [1, length];
    return planned('bert', [tensor('input_ids', 'INT64', shape, ids), tensor('attention_mask', 'INT64', shape, mask)], 'binary');
  });
}

/** So many strings of 8 bytes. */
export function bytesRequests(count: number): PlannedRequest[] {
  const data = encodeBytes(Array.from({ length: count }, (_, i) => String(i).padStart(8, '0')));
  return [
    planned('bytes', [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, count], data }], 'binary', [{ name: 'OUTPUT0', data, tolerance: 0 }]),
  ];
}

/** 16 FP32 for `model`, which gives them back: a stage of the ensemble, or the ensemble. */
export function vectorRequests(model: string): PlannedRequest[] {
  const values = new SeededRandom(3).symmetric(16, 1);
  return [planned(model, [tensor('INPUT0', 'FP32', [1, 16], values)], 'binary', [output('OUTPUT0', values)])];
}

/** A step of the running sum. */
export function sumRequests(): PlannedRequest[] {
  return [planned('sum', [tensor('INPUT', 'INT32', [1, 1], Int32Array.of(1))], 'binary')];
}

function several(count: number, make: (random: SeededRandom) => PlannedRequest): PlannedRequest[] {
  return Array.from({ length: count }, (_, i) => make(new SeededRandom(i + 1)));
}

function planned(
  modelName: string,
  inputs: readonly InputTensor[],
  form: Form,
  expected: readonly ExpectedOutput[] | null = null,
): PlannedRequest {
  const infer: InferRequest = { modelName, modelVersion: '', id: '', parameters: {}, inputs, outputs: [], json: form === 'json' };
  return { infer, text: null, expected };
}

function tensor(name: string, datatype: Datatype, shape: readonly number[], values: ArrayBufferView): InputTensor {
  return { name, datatype, shape, data: bytesOf(values) };
}

function output(name: string, values: ArrayBufferView): ExpectedOutput {
  return { name, data: bytesOf(values), tolerance: 0 };
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
