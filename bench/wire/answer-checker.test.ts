import { describe, expect, test } from 'vitest';
import { encodeValues } from '../../clients/typescript/src/encode-values.ts';
import type { OutputTensor } from '../../clients/typescript/src/transport.ts';
import type { Datatype } from '../../proto/datatype.ts';
import { toFp16 } from '../../proto/float16.ts';
import { AnswerChecker } from './answer-checker.ts';
import { expecting, inferOf, outputOf, planOf, targetOf } from './plans.case.ts';

const target = targetOf('http://127.0.0.1:1');

function tensor(name: string, datatype: Datatype, shape: readonly number[], values: unknown): OutputTensor {
  return { name, datatype, shape, data: encodeValues(datatype, values, name).data };
}

function checkerOf(
  outputs: readonly { name: string; datatype: string }[],
  isDeterministic = false,
  request = inferOf('m', []),
): AnswerChecker {
  return new AnswerChecker(planOf('http-binary', target, [request, request], { validation: { every: 1, outputs, isDeterministic } }));
}

describe('names, datatypes and sizes', () => {
  const checker = checkerOf([
    { name: 'OUTPUT0', datatype: 'FP32' },
    { name: 'OUTPUT1', datatype: 'BYTES' },
  ]);
  const right = [tensor('OUTPUT0', 'FP32', [1, 2], [1, 2]), tensor('OUTPUT1', 'BYTES', [2], ['a', ''])];

  test('of an answer that is right', () => {
    expect(checker.check(0, right)).toBe('');
    expect(checker.check(0, [...right].reverse())).toBe('');
    expect(checker.check(0, [...right, tensor('MORE', 'INT8', [1], [1])])).toBe('');
    expect(checker.check(0, [{ ...right[0]!, data: null }, right[1]!])).toBe('');
  });

  test('of answers that are not', () => {
    expect(checker.check(0, [right[0]!])).toBe("outputs.OUTPUT1 is missing: the answer has OUTPUT0; did you mean 'OUTPUT0'?");
    expect(checker.check(0, [])).toBe('outputs.OUTPUT0 is missing: the answer has no outputs');
    expect(checker.check(0, [tensor('OUTPUT0', 'FP64', [2], [1, 2]), right[1]!])).toBe('outputs.OUTPUT0: expected datatype FP32, got FP64');
    expect(checker.check(0, [{ ...right[0]!, shape: [1, 3] }, right[1]!])).toBe(
      'outputs.OUTPUT0: expected 3 elements for shape [1, 3], got 2 elements',
    );
    expect(checker.check(0, [right[0]!, { ...right[1]!, data: Uint8Array.of(9, 0, 0, 0) }])).toBe(
      'outputs.OUTPUT1: expected 2 elements for shape [2], got 4 bytes, which end within an element',
    );
    expect(checker.check(0, [{ ...right[0]!, data: new Uint8Array(7) }, right[1]!])).toContain('got 7 bytes, which end within an element');
    expect(checker.check(0, [{ ...right[0]!, shape: [-1, 2] }, right[1]!])).toBe(
      'outputs.OUTPUT0: expected a shape of integers from 0 on, got [-1, 2]',
    );
    expect(checkerOf([]).check(0, [{ ...right[0]!, datatype: 'FP8' as Datatype }])).toBe(
      "outputs.OUTPUT0: expected a datatype of the protocol, got 'FP8'",
    );
  });

  test('a request that names its outputs gets these alone, and a classification is BYTES', () => {
    const outputs = [
      { name: 'A', datatype: 'FP32' },
      { name: 'B', datatype: 'FP32' },
    ];
    const checkerOfB = checkerOf(outputs, false, inferOf('m', [], { outputs: [outputOf('B', { classification: 3 })] }));
    expect(checkerOfB.check(0, [tensor('B', 'BYTES', [1], ['0.5:1'])])).toBe('');
    expect(checkerOfB.check(0, [tensor('B', 'FP32', [1], [1])])).toBe('outputs.B: expected datatype BYTES, got FP32');
  });
});

describe('expected values', () => {
  const check = (datatype: Datatype, expected: unknown, got: unknown, tolerance = 0, shape?: readonly number[]): string => {
    const request = expecting(inferOf('m', []), { Y: [datatype, expected] }, tolerance);
    const count = encodeValues(datatype, got, 'Y').count;
    return checkerOf([], false, request).check(0, [tensor('Y', datatype, shape ?? [count], got)]);
  };

  test('the first element that differs is named by its place', () => {
    expect(check('INT32', [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 50, 60], 0, [2, 3])).toBe('outputs.Y[1][1]: expected 5, got 50');
    expect(check('UINT64', [1n, 2n ** 64n - 1n], [1n, 2n ** 64n - 2n])).toBe(
      'outputs.Y[1]: expected 18446744073709551615, got 18446744073709551614',
    );
    expect(check('BOOL', [true, false], [true, true])).toBe('outputs.Y[1]: expected 0, got 1');
    expect(check('BYTES', ['a', 'b"', ''], ['a', 'b', ''])).toBe('outputs.Y[1]: expected "b\\"", got "b"');
    expect(check('BYTES', ['x'.repeat(100)], ['x'])).toContain(' and 40 bytes more, got "x"');
    expect(check('INT32', [1, 2], [1])).toBe('outputs.Y: expected 2 elements, got 1 elements');
    expect(check('INT32', [1, 2], [1, 2])).toBe('');
  });

  test('floats: bit for bit without a tolerance, and NaN is NaN', () => {
    const nan = new Uint8Array(Uint32Array.of(0x7fc00001, 0x3f800000).buffer);
    const request = expecting(inferOf('m', []), { Y: ['FP32', [Number.NaN, 1]] });
    expect(checkerOf([], false, request).check(0, [{ name: 'Y', datatype: 'FP32', shape: [2], data: nan }])).toBe('');
    expect(check('FP32', [0], [-0])).toBe('outputs.Y[0]: expected 0, got -0');
    expect(check('FP64', [1], [1 + 2 ** -52])).toBe('outputs.Y[0]: expected 1, got 1.0000000000000002');
    expect(check('FP32', [Number.NaN], [1])).toBe('outputs.Y[0]: expected NaN, got 1');
  });

  test.each(['FP32', 'FP64', 'FP16', 'BF16'] as const)('%s within a tolerance, absolute and relative', (datatype) => {
    expect(check(datatype, [1, 100, 0], [1.0625, 106, -0.03125], 0.0625)).toBe('');
    expect(check(datatype, [1, 100, 0], [1, 108, 0], 0.0625)).toBe('outputs.Y[1]: expected 100 (tolerance 0.0625), got 108');
    expect(check(datatype, [Number.POSITIVE_INFINITY, 1], [Number.POSITIVE_INFINITY, 1], 0.0625)).toBe('');
    expect(check(datatype, [1], [Number.NaN], 0.0625)).toContain('got NaN');
    expect(check(datatype, [Number.POSITIVE_INFINITY], [1], 0.0625)).toContain('expected Infinity');
  });

  test('bytes that lie anywhere', () => {
    const whole = Buffer.from([0, ...new Uint8Array(Uint16Array.of(toFp16(1)!, toFp16(3)!).buffer)]);
    const request = expecting(inferOf('m', []), { Y: ['FP16', [1, 2]] });
    expect(checkerOf([], false, request).check(0, [{ name: 'Y', datatype: 'FP16', shape: [2], data: whole.subarray(1) }])).toBe(
      'outputs.Y[1]: expected 2, got 3',
    );
  });

  test('an output that is not there, or not in the answer', () => {
    const checker = checkerOf([], false, expecting(inferOf('m', []), { Y: ['INT8', [1]] }));
    expect(checker.check(0, [])).toContain('outputs.Y is missing');
    expect(checker.check(0, [{ name: 'Y', datatype: 'INT8', shape: [1], data: null }])).toContain('written to shared memory');
  });
});

describe('the same answer each time', () => {
  test('of each request on its own', () => {
    const checker = checkerOf([], true);
    const bytes = Buffer.from(Float32Array.of(1, 2, Number.NaN).buffer);
    const answer: OutputTensor = { name: 'Y', datatype: 'FP32', shape: [3], data: bytes };
    expect(checker.check(0, [answer])).toBe('');
    expect(checker.check(1, [tensor('Y', 'FP32', [3], [4, 5, 6])])).toBe('');
    bytes.fill(0);
    expect(checker.check(0, [tensor('Y', 'FP32', [3], [1, 2, Number.NaN])])).toBe('');
    expect(checker.check(0, [tensor('Y', 'FP32', [3], [1, 2.5, Number.NaN])])).toBe(
      'not the answer that the same request had before: outputs.Y[1]: expected 2, got 2.5',
    );
    expect(checker.check(0, [tensor('Y', 'FP32', [1, 3], [1, 2, Number.NaN])])).toContain('outputs.Y: expected shape [3], got [1, 3]');
    expect(checker.check(0, [tensor('Y', 'INT32', [3], [1, 2, 3])])).toContain('outputs.Y: expected datatype FP32, got INT32');
    expect(checker.check(0, [])).toContain('outputs.Y is missing');
    expect(checker.check(1, [tensor('Y', 'FP32', [3], [4, 5, 6])])).toBe('');
  });

  test('of large answers a digest tells', () => {
    const checker = checkerOf([], true);
    const values = new Float32Array(3 * 1024 * 1024);
    expect(checker.check(0, [tensor('Y', 'FP32', [values.length], values)])).toBe('');
    expect(checker.check(0, [tensor('Y', 'FP32', [values.length], values)])).toBe('');
    values[5] = 1;
    expect(checker.check(0, [tensor('Y', 'FP32', [values.length], values)])).toContain('outputs.Y: expected the same 12582912 bytes');
  });

  test('values that are held to a tolerance may differ', () => {
    const checker = checkerOf([], true, expecting(inferOf('m', []), { Y: ['FP32', [1]] }, 0.5));
    const rest = tensor('Z', 'INT8', [1], [1]);
    expect(checker.check(0, [tensor('Y', 'FP32', [1], [1.25]), rest])).toBe('');
    expect(checker.check(0, [tensor('Y', 'FP32', [1], [0.75]), rest])).toBe('');
    expect(checker.check(0, [tensor('Y', 'FP32', [1], [0.75]), tensor('Z', 'INT8', [1], [2])])).toContain(
      'outputs.Z[0]: expected 1, got 2',
    );
  });
});
