import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { Batch, type BatchContext } from './batch.ts';
import { ManualClock } from './manual-clock.ts';
import { identitySignature, int32Request, Ledger } from './scheduling-fixtures.ts';

function contextOf(signature: ModelSignature): BatchContext & { ended: number; faults: unknown[] } {
  const faults: unknown[] = [];
  return {
    signature,
    reporter: new ModelReporter('identity', '1', {}),
    clock: new ManualClock(),
    ended: 0,
    faults,
    responder: null,
    onBatchEnd(count) {
      this.ended += count;
    },
    onBatchDivided: () => {
      throw new Error('nothing here may be divided');
    },
    onFault: (error) => faults.push(error),
  };
}

function merged(batch: Batch): Tensor[] {
  return batch.inputs.map((input, i) => {
    const data = new Uint8Array(input.byteLength);
    batch.writeInput(i, data);
    return { name: input.name.replace('IN', 'OUT'), datatype: input.datatype, shape: input.shape, data };
  });
}

const int32s = (data: Uint8Array): number[] => [...new Int32Array(data.slice().buffer)];

describe('Batch', () => {
  it('gives every request its own rows back, whatever they bring', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 3 }), (rows, width, inputs) => {
        const context = contextOf(identitySignature(100, Array(inputs).fill([width])));
        const ledger = new Ledger();
        let value = 0;
        const requests = rows.map((size, i) =>
          int32Request(
            String(i),
            ledger,
            Array.from({ length: inputs }, () => ({ shape: [size, width], values: Array.from({ length: size * width }, () => value++) })),
          ),
        );
        const batch = new Batch(requests, context);
        expect(batch.batchSize).toBe(rows.reduce((a, b) => a + b, 0));
        for (const input of batch.inputs) expect(input.shape).toEqual([batch.batchSize, width]);
        batch.complete(merged(batch), { inferNs: 1, outputNs: 1 });

        expect(ledger.endings.map((ending) => ending.id)).toEqual(rows.map((_, i) => String(i)));
        ledger.endings.forEach((ending, i) => {
          ending.outputs.forEach((output, o) => {
            expect(output.shape).toEqual([rows[i], width]);
            expect(int32s(output.data)).toEqual(int32s(requests[i]!.inputs[o]!.data));
          });
        });
        expect(context.ended).toBe(rows.length);
        expect(context.faults).toEqual([]);
      }),
    );
  });

  it('splits BYTES by elements, not by bytes', () => {
    const signature: ModelSignature = {
      ...identitySignature(8, [[2]]),
      inputs: [{ name: 'IN0', datatype: 'BYTES', byteSize: 0, dims: [2], optional: false, reshape: null }],
      outputs: [{ name: 'OUT0', datatype: 'BYTES', byteSize: 0, dims: [2], reshape: null, labels: null }],
    };
    const words = fc.array(fc.uint8Array({ maxLength: 9 }), { minLength: 2, maxLength: 2 });
    fc.assert(
      fc.property(fc.array(words, { minLength: 1, maxLength: 6 }), (rows) => {
        const context = contextOf(signature);
        const ledger = new Ledger();
        const requests = rows.map((row, i): InferenceRequest => {
          const request = int32Request(String(i), ledger, []);
          request.boundInputs = [{ name: 'IN0', datatype: 'BYTES', shape: [1, 2], data: encodeBytes(row) }];
          return request;
        });
        const batch = new Batch(requests, context);
        batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
        expect(ledger.endings.map((ending) => decodeBytes(ending.outputs[0]!.data, '').map((element) => [...element]))).toEqual(
          rows.map((row) => row.map((element) => [...element])),
        );
      }),
    );
  });

  it('answers only the outputs a request names', () => {
    const context = contextOf(identitySignature(8, [[1], [1]]));
    const ledger = new Ledger();
    const all = int32Request('all', ledger, [
      { shape: [1, 1], values: [1] },
      { shape: [1, 1], values: [2] },
    ]);
    const one = Object.assign(Object.create(Object.getPrototypeOf(all)), all, {
      id: 'one',
      outputs: [{ name: 'OUT1', classification: 0, binaryData: false }],
    });
    const batch = new Batch([all, one], context);
    batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
    expect(ledger.endings.map((ending) => ending.outputs.map((output) => output.name))).toEqual([['OUT0', 'OUT1'], ['OUT1']]);
  });

  it('carries shapes over a reshape, both ways', () => {
    const signature: ModelSignature = {
      ...identitySignature(8, [[-1, 2]]),
      inputs: [{ name: 'IN0', datatype: 'INT32', byteSize: 4, dims: [-1, 2], optional: false, reshape: [-1, 1, 2] }],
      outputs: [{ name: 'OUT0', datatype: 'INT32', byteSize: 4, dims: [-1, 2], reshape: [-1, 1, 2], labels: null }],
    };
    const context = contextOf(signature);
    const ledger = new Ledger();
    const batch = new Batch([int32Request('a', ledger, [{ shape: [1, 3, 2], values: [1, 2, 3, 4, 5, 6] }])], context);
    expect(batch.inputs[0]!.shape).toEqual([1, 3, 1, 2]);
    batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
    expect(ledger.endings[0]!.outputs[0]!.shape).toEqual([1, 3, 2]);
  });

  it('fails the batch when the model gives another number of rows, or an output nobody knows', () => {
    for (const output of [
      { name: 'OUT0', datatype: 'INT32' as const, shape: [3, 1], data: new Uint8Array(12) },
      { name: 'OTHER', datatype: 'INT32' as const, shape: [2, 1], data: new Uint8Array(8) },
    ]) {
      const context = contextOf(identitySignature(8, [[1]]));
      const ledger = new Ledger();
      const rows = ['a', 'b'].map((id) => int32Request(id, ledger, [{ shape: [1, 1], values: [1] }]));
      new Batch(rows, context).complete([output], { inferNs: 0, outputNs: 0 });
      expect(ledger.endings.map((ending) => ending.error?.code)).toEqual(['INTERNAL', 'INTERNAL']);
      expect(ledger.endings[0]!.error!.message).toContain(output.name);
      expect(context.ended).toBe(2);
    }
  });

  it('a caller that throws on its answer costs the others nothing', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const ledger = new Ledger();
    const thrower = new Ledger();
    thrower.onResponse = () => {
      throw new Error('encoder bug');
    };
    const requests = [thrower, ledger, ledger].map((caller, i) => int32Request(String(i), caller, [{ shape: [1, 1], values: [i] }]));
    const batch = new Batch(requests, context);
    batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
    expect(ledger.endings.map((ending) => int32s(ending.outputs[0]!.data))).toEqual([[1], [2]]);
    expect(context.faults).toHaveLength(1);
    expect(context.ended).toBe(3);
  });
});
