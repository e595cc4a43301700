import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest } from '../inference/inference-request.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { Batch, type BatchContext, type BatchResponder } from './batch.ts';
import { ManualClock } from './manual-clock.ts';
import { identitySignature, int32Request, Ledger, ManualInstance } from './scheduling-fixtures.ts';

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

/** One row each, with its number in it. */
function rowsOf(caller: Ledger, count: number): InferenceRequest[] {
  return Array.from({ length: count }, (_, i) => int32Request(String(i), caller, [{ shape: [1, 1], values: [i] }]));
}

const codes = (ledger: Ledger): (string | undefined)[] => ledger.endings.map(({ error }) => error?.code);

describe('a batch in an instance', () => {
  it('hears of a request that ends meanwhile, tells the instance which one, and counts what was run for nobody', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const ledger = new Ledger();
    const requests = rowsOf(ledger, 4);
    const batch = new Batch(requests, context);
    const abandoned: [unknown, number][] = [];
    const instance = Object.assign(new ManualInstance(), {
      abandon: (of: unknown, index: number) => {
        abandoned.push([of, index]);
      },
    });
    expect(batch.start(instance)).toBe(true);
    requests[2]!.cancel();
    requests[0]!.expire();
    expect(abandoned).toEqual([
      [batch, 2],
      [batch, 0],
    ]);
    expect(codes(ledger)).toEqual(['CANCELLED', 'DEADLINE_EXCEEDED']);
    const before = context.reporter.wastedWork.ns;
    batch.complete(merged(batch), { inferNs: 1000, outputNs: 0 });
    expect(context.reporter.wastedWork.ns - before).toBe(500);
    expect(ledger.endings.slice(2).map(({ id, outputs }) => [id, ...int32s(outputs[0]!.data)])).toEqual([
      ['1', 1],
      ['3', 3],
    ]);
    expect(requests.map(({ holder }) => holder)).toEqual([null, null, null, null]);
    expect(context.ended).toBe(4);
  });

  it('lets go of its requests when the instance has no memory for it', () => {
    const requests = rowsOf(new Ledger(), 2);
    const instance = new ManualInstance();
    instance.isOutOfMemory = true;
    expect(new Batch(requests, contextOf(identitySignature(8, [[1]]))).start(instance)).toBe(false);
    expect(requests.map(({ holder }) => holder)).toEqual([null, null]);
  });

  it('counts wasted time as a number where no request has a row', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const requests = ['a', 'b'].map((id) => int32Request(id, new Ledger(), [{ shape: [0, 1], values: [] }]));
    const batch = new Batch(requests, context);
    requests[0]!.cancel();
    batch.complete(merged(batch), { inferNs: 1000, outputNs: 0 });
    expect(context.reporter.wastedWork.ns).toBe(500);
  });

  it('tells how long it took, from its making to its end, before any request is answered', () => {
    const clock = new ManualClock();
    const ledger = new Ledger();
    const heard: [number, number][] = [];
    const context: BatchContext = {
      ...contextOf(identitySignature(8, [[1]])),
      clock,
      onExecuted: (batch, durationNs) => heard.push([batch.batchSize, durationNs + ledger.endings.length]),
    };
    const batches = [new Batch(rowsOf(ledger, 2), context), new Batch(rowsOf(ledger, 3), context), new Batch(rowsOf(ledger, 1), context)];
    clock.advance(5000);
    batches[0]!.complete(merged(batches[0]!), { inferNs: 10, outputNs: 0 });
    ledger.endings.length = 0;
    batches[1]!.completeEach(
      [0, 1, 2].map(() => []),
      { inferNs: 10, outputNs: 0 },
    );
    batches[2]!.fail(new InferenceError('INTERNAL', 'broken'));
    expect(heard).toEqual([
      [2, 5000],
      [3, 5000],
    ]);
  });
});

describe('a batch whose host keeps requests apart', () => {
  it('answers each with its own, or with its own error, and with the outputs that it wants', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const ledger = new Ledger();
    const requests = rowsOf(ledger, 3);
    const picky = new InferenceRequest({ ...requests[2]!, outputs: [{ name: 'OUT1', classification: 0, binaryData: false }] });
    picky.boundInputs = requests[2]!.boundInputs;
    const outputs = (value: number): Tensor[] =>
      ['OUT0', 'OUT1'].map((name) => ({ name, datatype: 'INT32', shape: [value], data: new Uint8Array(4 * value) }));
    const failure = new InferenceError('NOT_FOUND', 'no such word');
    new Batch([requests[0]!, requests[1]!, picky], context).completeEach([outputs(1), failure, outputs(3)], { inferNs: 30, outputNs: 0 });
    expect(ledger.endings.map(({ id, error, outputs: given }) => [id, error ?? given.map(({ name, shape }) => [name, ...shape])])).toEqual([
      [
        '0',
        [
          ['OUT0', 1],
          ['OUT1', 1],
        ],
      ],
      ['1', failure],
      ['2', [['OUT1', 3]]],
    ]);
    expect(context.ended).toBe(3);
    expect(context.faults).toEqual([]);
  });

  it('ends every request, also when the host forgot some and a caller throws', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const ledger = new Ledger();
    const thrower = new Ledger();
    thrower.onResponse = () => {
      throw new Error('encoder bug');
    };
    const requests = [...rowsOf(thrower, 1), ...rowsOf(ledger, 2)];
    new Batch(requests, context).completeEach([[], []], { inferNs: 0, outputNs: 0 });
    expect(codes(ledger)).toEqual([undefined, 'INTERNAL']);
    expect(context.faults).toHaveLength(1);
    expect(context.ended).toBe(3);
  });
});

describe('a responder', () => {
  class Responder implements BatchResponder {
    readonly heard: [string, readonly string[] | string][] = [];

    respond(request: InferenceRequest, outputs: readonly Tensor[]): void {
      this.heard.push([request.id, outputs.map(({ name, data }) => `${name} ${int32s(data).join()}`)]);
    }

    fail(request: InferenceRequest, error: InferenceError): void {
      this.heard.push([request.id, error.code]);
    }
  }

  it('answers in the place of the batch, with all outputs, whatever a request wants and whether it has ended', () => {
    const responder = new Responder();
    const context = { ...contextOf(identitySignature(8, [[1]])), responder };
    const ledger = new Ledger();
    const [first, second] = rowsOf(ledger, 2) as [InferenceRequest, InferenceRequest];
    const picky = new InferenceRequest({ ...first, outputs: [{ name: 'NONE', classification: 0, binaryData: false }] });
    picky.boundInputs = first.boundInputs;
    const batch = new Batch([picky, second], context);
    second.cancel();
    batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
    expect(responder.heard).toEqual([
      ['0', ['OUT0 0']],
      ['1', ['OUT0 1']],
    ]);
    expect(codes(ledger)).toEqual(['CANCELLED']);
  });

  it('hears of failures: of the whole batch, of one request, of outputs that can not be', () => {
    const responder = new Responder();
    const context = { ...contextOf(identitySignature(8, [[1]])), responder };
    new Batch(rowsOf(new Ledger(), 2), context).fail(new InferenceError('UNAVAILABLE', 'gone'));
    new Batch(rowsOf(new Ledger(), 2), context).completeEach([[], new InferenceError('NOT_FOUND', 'x')], { inferNs: 0, outputNs: 0 });
    new Batch(rowsOf(new Ledger(), 1), context).complete([], { inferNs: 0, outputNs: 0 });
    const unknown = { name: 'WHAT', datatype: 'INT32' as const, shape: [1, 1], data: new Uint8Array(4) };
    new Batch(rowsOf(new Ledger(), 1), context).complete([unknown], { inferNs: 0, outputNs: 0 });
    expect(responder.heard).toEqual([
      ['0', 'UNAVAILABLE'],
      ['1', 'UNAVAILABLE'],
      ['0', []],
      ['1', 'NOT_FOUND'],
      ['0', []],
      ['0', 'INTERNAL'],
    ]);
  });

  it('that throws costs the other requests nothing', () => {
    const context = contextOf(identitySignature(8, [[1]]));
    const heard: string[] = [];
    const responder: BatchResponder = {
      respond: (request) => {
        if (request.id === '0') throw new Error('responder bug');
        heard.push(request.id);
      },
      fail: () => {},
    };
    const batch = new Batch(rowsOf(new Ledger(), 3), { ...context, onBatchEnd: (count) => context.onBatchEnd(count), responder });
    batch.complete(merged(batch), { inferNs: 0, outputNs: 0 });
    expect(heard).toEqual(['1', '2']);
    expect(context.faults).toHaveLength(1);
  });
});
