/** Batches of models with ragged inputs, inputs that the server makes, and scattered outputs. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest } from '../inference/inference-request.ts';
import type { InputSpec, MadeInput, MadeInputKind, ModelSignature } from '../inference/model-signature.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { Batch, type BatchContext } from './batch.ts';
import { ManualClock } from './manual-clock.ts';
import { Ledger } from './scheduling-fixtures.ts';

const KINDS: readonly MadeInputKind[] = [
  'ELEMENT_COUNT',
  'ACCUMULATED_ELEMENT_COUNT',
  'ACCUMULATED_ELEMENT_COUNT_WITH_ZERO',
  'MAX_ELEMENT_COUNT_AS_SHAPE',
  'ITEM_SHAPE',
  'ITEM_SHAPE_FLATTEN',
];
const byteSize: Partial<Record<Datatype, number>> = { UINT8: 1, BYTES: 0 };
const noTiming = { inferNs: 0, outputNs: 0 };

interface Shape {
  readonly datatype?: Datatype;
  readonly dims?: readonly number[];
  readonly reshape?: readonly number[] | null;
  readonly maxBatchSize?: number;
  readonly optional?: boolean;
}

/** IN is ragged and OUT is cut by its shape; ROWS and ROWS_OUT are as usual, one byte a row. */
function raggedSignature({
  datatype = 'UINT8',
  dims = [-1, -1],
  reshape = null,
  maxBatchSize = 100,
  optional = false,
}: Shape): ModelSignature {
  const ragged: InputSpec = { name: 'IN', datatype, byteSize: byteSize[datatype]!, dims, optional, reshape };
  const rows: InputSpec = { name: 'ROWS', datatype: 'UINT8', byteSize: 1, dims: [1], optional: false, reshape: null };
  const made = (['INT32', 'FP32'] as const).flatMap((type) =>
    KINDS.map((kind): MadeInput => ({ name: `${kind}_${type}`, kind, datatype: type, source: 0 })),
  );
  return {
    modelName: 'ragged',
    modelVersion: '1',
    maxBatchSize,
    inputs: [ragged, rows],
    outputs: [
      { name: 'OUT', datatype, byteSize: byteSize[datatype]!, dims, reshape, labels: null },
      { name: 'ROWS_OUT', datatype: 'UINT8', byteSize: 1, dims: [1], reshape: null, labels: null },
    ],
    inputIndex: new Map([
      ['IN', 0],
      ['ROWS', 1],
    ]),
    outputIndex: new Map([
      ['OUT', 0],
      ['ROWS_OUT', 1],
    ]),
    requiredInputs: 2,
    batchTensors: { ragged: [true, false], made, scatterBy: [0, -1] },
  };
}

function contextOf(signature: ModelSignature): BatchContext & { readonly faults: unknown[] } {
  const faults: unknown[] = [];
  return {
    signature,
    reporter: new ModelReporter('ragged', '1', {}),
    clock: new ManualClock(),
    responder: null,
    onBatchEnd: () => {},
    onBatchDivided: () => {
      throw new Error('nothing here may be divided');
    },
    faults,
    onFault: (error) => faults.push(error),
  };
}

function requestOf(id: string, caller: Ledger, shape: readonly number[], ragged: Tensor | null, isBatched = true): InferenceRequest {
  const rows = isBatched ? shape[0]! : 1;
  const rowShape = isBatched ? [rows, 1] : [1];
  const inputs = [ragged, { name: 'ROWS', datatype: 'UINT8' as const, shape: rowShape, data: new Uint8Array(rows).fill(Number(id)) }];
  const request = new InferenceRequest({
    modelName: 'ragged',
    modelVersion: '',
    id,
    inputs: inputs.filter((tensor) => tensor !== null),
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
  request.boundInputs = inputs;
  request.batchSize = rows;
  return request;
}

/** A batch's inputs, as a host reads them: memory that was used before. */
function written(batch: Batch): Map<string, { shape: readonly number[]; data: Uint8Array; datatype: Datatype }> {
  return new Map(
    batch.inputs.map(({ name, shape, byteLength, datatype }, i) => {
      const memory = new Uint8Array(byteLength + 4).fill(0xee);
      const data = memory.subarray(4);
      batch.writeInput(i, data);
      return [name, { shape, data, datatype }];
    }),
  );
}

const numbers = ({ data, datatype }: { data: Uint8Array; datatype: Datatype }): number[] =>
  datatype === 'FP32' ? [...new Float32Array(data.slice().buffer)] : [...new Int32Array(data.slice().buffer)];
const product = (shape: readonly number[]): number => shape.reduce((all, dim) => all * dim, 1);

describe('a ragged batch', () => {
  it('tells the model of every request, and gives each its own back', () => {
    const shape = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 3 }));
    fc.assert(
      fc.property(fc.array(shape, { minLength: 1, maxLength: 8 }), (shapes) => {
        const context = contextOf(raggedSignature({}));
        const ledger = new Ledger();
        const requests = shapes.map((one, i) =>
          requestOf(String(i), ledger, one, { name: 'IN', datatype: 'UINT8', shape: one, data: new Uint8Array(product(one)).fill(i + 1) }),
        );
        const batch = new Batch(requests, context);
        const inputs = written(batch);
        const elements = shapes.map(product);
        const totals = elements.map((_, i) => elements.slice(0, i + 1).reduce((a, b) => a + b, 0));
        const items = shapes.flatMap(([rows, ...item]) => Array.from({ length: rows }, () => item));
        const total = totals.at(-1)!;
        expect(inputs.get('IN')).toMatchObject({
          shape: [total],
          data: Uint8Array.from(shapes.flatMap((one, i) => Array(product(one)).fill(i + 1))),
        });
        expect(inputs.get('ROWS')!.shape).toEqual([batch.batchSize, 1]);
        for (const type of ['INT32', 'FP32']) {
          const made = (kind: MadeInputKind): { shape: readonly number[]; values: number[] } => {
            const input = inputs.get(`${kind}_${type}`)!;
            expect(input.datatype).toBe(type);
            return { shape: input.shape, values: numbers(input) };
          };
          expect(made('ELEMENT_COUNT')).toEqual({ shape: [shapes.length], values: elements });
          expect(made('ACCUMULATED_ELEMENT_COUNT')).toEqual({ shape: [shapes.length], values: totals });
          expect(made('ACCUMULATED_ELEMENT_COUNT_WITH_ZERO')).toEqual({ shape: [shapes.length + 1], values: [0, ...totals] });
          // The length is what it says; what others left in the memory is not shown.
          const most = Math.max(...elements);
          expect(made('MAX_ELEMENT_COUNT_AS_SHAPE')).toEqual({ shape: [most], values: Array(most).fill(0) });
          expect(made('ITEM_SHAPE')).toEqual({ shape: [items.length, 2], values: items.flat() });
          expect(made('ITEM_SHAPE_FLATTEN')).toEqual({ shape: [items.length * 2], values: items.flat() });
        }

        batch.complete(
          [
            { name: 'OUT', datatype: 'UINT8', shape: [total], data: inputs.get('IN')!.data },
            { name: 'ROWS_OUT', datatype: 'UINT8', shape: [batch.batchSize, 1], data: inputs.get('ROWS')!.data },
          ],
          noTiming,
        );
        expect(context.faults).toEqual([]);
        expect(ledger.endings.map(({ id, outputs }) => [id, ...outputs.map((output) => [output.shape, [...output.data]])])).toEqual(
          shapes.map((one, i) => [String(i), [[...one], Array(product(one)).fill(i + 1)], [[one[0], 1], Array(one[0]).fill(i)]]),
        );
      }),
    );
  });

  it('has the shapes of the model where they are reshaped, and gives the client its own', () => {
    const context = contextOf(raggedSignature({ dims: [-1, 2], reshape: [1, -1, 2, 1] }));
    const ledger = new Ledger();
    const data = Uint8Array.from({ length: 6 }, (_, i) => i);
    const batch = new Batch([requestOf('0', ledger, [1, 3, 2], { name: 'IN', datatype: 'UINT8', shape: [1, 3, 2], data })], context);
    const inputs = written(batch);
    expect(numbers(inputs.get('ITEM_SHAPE_INT32')!)).toEqual([1, 3, 2, 1]);
    // The output is open in its second dimension, which it takes from the input at the same place.
    batch.complete([{ name: 'OUT', datatype: 'UINT8', shape: [6], data }, rowsOut(1)], noTiming);
    expect(ledger.endings[0]!.outputs[0]).toMatchObject({ shape: [1, 3, 2], data });
  });

  it('cuts text by elements', () => {
    const context = contextOf(raggedSignature({ datatype: 'BYTES', dims: [-1] }));
    const ledger = new Ledger();
    const texts = [['a', 'bcd'], [], ['', 'é', 'x'.repeat(300)]];
    const requests = texts.map((text, i) =>
      requestOf(String(i), ledger, [1, text.length], { name: 'IN', datatype: 'BYTES', shape: [1, text.length], data: encodeBytes(text) }),
    );
    const batch = new Batch(requests, context);
    const { data } = written(batch).get('IN')!;
    batch.complete([{ name: 'OUT', datatype: 'BYTES', shape: [5, 1], data }, rowsOut(3)], noTiming);
    expect(ledger.endings.map(({ outputs }) => decodeBytes(outputs[0]!.data, '').map((one) => Buffer.from(one).toString()))).toEqual(texts);
    expect(ledger.endings.map(({ outputs }) => outputs[0]!.shape)).toEqual([
      [1, 2],
      [1, 0],
      [1, 3],
    ]);
  });

  it('is formed of one request without a batch dimension too', () => {
    const context = contextOf(raggedSignature({ maxBatchSize: 0 }));
    const ledger = new Ledger();
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6);
    const batch = new Batch([requestOf('0', ledger, [2, 3], { name: 'IN', datatype: 'UINT8', shape: [2, 3], data }, false)], context);
    const inputs = written(batch);
    expect(inputs.get('IN')!.shape).toEqual([6]);
    expect(inputs.get('ITEM_SHAPE_INT32')).toMatchObject({ shape: [1, 2] });
    expect(numbers(inputs.get('ITEM_SHAPE_INT32')!)).toEqual([2, 3]);
    batch.complete(
      [
        { name: 'OUT', datatype: 'UINT8', shape: [6], data },
        { name: 'ROWS_OUT', datatype: 'UINT8', shape: [1], data: Uint8Array.of(9) },
      ],
      noTiming,
    );
    expect(ledger.endings[0]!.outputs).toMatchObject([{ shape: [2, 3], data }, { shape: [1] }]);
  });

  it('counts nothing of an input that its requests leave out', () => {
    const context = contextOf(raggedSignature({ optional: true }));
    const requests = ['0', '1'].map((id) => requestOf(id, new Ledger(), [1], null));
    const inputs = written(new Batch(requests, context));
    expect(inputs.has('IN')).toBe(false);
    expect(numbers(inputs.get('ACCUMULATED_ELEMENT_COUNT_WITH_ZERO_INT32')!)).toEqual([0, 0, 0]);
    expect(inputs.get('MAX_ELEMENT_COUNT_AS_SHAPE_INT32')!.shape).toEqual([0]);
    expect(inputs.get('ITEM_SHAPE_INT32')!.shape).toEqual([0, 2]);
  });

  it('fails when the model gives other elements than the shapes ask for, and says what it lacks when rows are missing', () => {
    const ledger = new Ledger();
    const complete = (outputs: readonly Tensor[]): string => {
      const requests = [1, 2].map((n) =>
        requestOf(String(n), ledger, [1, n, 1], { name: 'IN', datatype: 'UINT8', shape: [1, n, 1], data: new Uint8Array(n) }),
      );
      new Batch(requests, contextOf(raggedSignature({}))).complete(outputs, noTiming);
      const ended = ledger.endings.splice(0);
      expect(ended.map(({ error }) => error?.code)).toEqual(['INTERNAL', 'INTERNAL']);
      return ended[0]!.error!.message;
    };
    expect(complete([{ name: 'OUT', datatype: 'UINT8', shape: [4], data: new Uint8Array(4) }, rowsOut(2)])).toContain(
      "gave 4 elements of output 'OUT', but by the shapes of input 'IN' its requests have 3 together",
    );
    expect(complete([rowsOut(3)])).toContain('batch_output');
  });
});

function rowsOut(rows: number): Tensor {
  return { name: 'ROWS_OUT', datatype: 'UINT8', shape: [rows, 1], data: new Uint8Array(rows) };
}
