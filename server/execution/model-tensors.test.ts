import { expect, it } from 'vitest';
import type { Datatype } from '../../proto/datatype.ts';
import { ModelTensors } from './model-tensors.ts';

function tensors(...outputs: [Datatype, number[]][]): ModelTensors {
  return new ModelTensors('m:1', {
    inputs: [
      { name: 'A', datatype: 'FP32', shape: [-1, 4], optional: false },
      { name: 'B', datatype: 'INT64', shape: [-1], optional: true },
    ],
    outputs: outputs.map(([datatype, shape], index) => ({ name: `OUT${index}`, datatype, shape, optional: false })),
  });
}

function batch(rows: number): { name: string; datatype: Datatype; shape: number[]; byteLength: number }[] {
  return [{ name: 'A', datatype: 'FP32', shape: [rows, 4], byteLength: rows * 16 }];
}

it('reckons outputs from the rows of the batch where only they are open', () => {
  expect(tensors(['FP32', [-1, 16]]).outputBytes({ inputs: batch(1) })).toBe(64);
  expect(tensors(['FP32', [-1, 16]]).outputBytes({ inputs: batch(8) })).toBe(512);
  expect(tensors(['FP32', [-1, 16]], ['INT64', [3]]).outputBytes({ inputs: batch(8) })).toBe(512 + 64);
  expect(tensors(['FP64', []]).outputBytes({ inputs: batch(8) })).toBe(64);
});

it('learns the size of outputs that had no room', () => {
  const learning = tensors(['BYTES', [-1]], ['FP32', [-1, -1]]);
  expect(learning.outputBytes({ inputs: batch(1) })).toBe(2 * 4096);
  const output = { name: 'OUT0', datatype: 'BYTES' as const, shape: [1], data: new Uint8Array(10_000) };
  learning.learn([output, { ...output, data: new Uint8Array(8) }]);
  expect(learning.outputBytes({ inputs: batch(1) })).toBe(10_048 + 4096);
});

it('finds inputs by place and by name, and says which it does not have', () => {
  const model = tensors(['FP32', [-1]]);
  expect([model.inputIndex('A', 0), model.inputIndex('B', 0), model.inputIndex('A', 1), model.inputIndex('C', 0)]).toEqual([0, 1, 0, -1]);
  expect(model.inputError(batch(1))).toBeNull();
  expect(model.inputError([{ ...batch(1)[0]!, name: 'C' }])).toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(model.inputError([{ ...batch(1)[0]!, datatype: 'FP64' }])?.message).toBe("input 'A' of model 'm:1' is FP32, got FP64");
});
