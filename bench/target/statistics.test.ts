import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeStatistics } from '../../clients/typescript/src/http/decode-statistics.ts';
import { splitOf, sumStatistics } from './statistics.ts';
import type { StatisticsSample } from './target.ts';

const zero: StatisticsSample = {
  requests: 0,
  executions: 0,
  inferences: 0,
  successNs: 0,
  queueNs: 0,
  computeInputNs: 0,
  computeInferNs: 0,
  computeOutputNs: 0,
};
const ten: StatisticsSample = {
  requests: 10,
  executions: 4,
  inferences: 20,
  successNs: 10_000_000,
  queueNs: 3_000_000,
  computeInputNs: 1_000_000,
  computeInferNs: 4_000_000,
  computeOutputNs: 500_000,
};

describe('splitOf', () => {
  it('divides among the requests in between', () => {
    const expected = { queue: 300, computeInput: 100, computeInfer: 400, computeOutput: 50, overhead: 150, network: 234, batchSize: 2.5 };
    expect(splitOf(zero, ten, 1234)).toEqual(expected);
    const later = Object.fromEntries(Object.entries(ten).map(([field, value]) => [field, value * 3])) as unknown as StatisticsSample;
    expect(splitOf(ten, later, 1234)).toEqual(expected);
  });

  it('knows nothing when nothing succeeded, or a counter went back', () => {
    expect(splitOf(ten, ten, 1)).toBeNull();
    expect(splitOf(ten, zero, 1)).toBeNull();
    expect(splitOf({ ...zero, executions: 5 }, ten, 1)).toBeNull();
  });

  it('has no times below zero, and no division by zero', () => {
    const field = fc.nat(1e9);
    const sample = fc.record(
      Object.fromEntries(Object.keys(zero).map((name) => [name, field])),
    ) as unknown as fc.Arbitrary<StatisticsSample>;
    fc.assert(
      fc.property(sample, fc.nat(1e6), (after, clientMeanUs) => {
        const split = splitOf(zero, after, clientMeanUs);
        if (after.requests === 0) expect(split).toBeNull();
        else for (const value of Object.values(split!)) expect(value).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe('sumStatistics', () => {
  it('adds the versions', () => {
    const one = (version: string, n: number) => ({
      name: 'm',
      version,
      inference_count: 2 * n,
      execution_count: n,
      inference_stats: { success: { count: n, ns: 10 * n }, queue: { count: n, ns: 3 * n }, compute_infer: { count: n, ns: 5 * n } },
    });
    expect(sumStatistics(decodeStatistics({ model_stats: [one('1', 1), one('3', 4)] }))).toEqual({
      ...zero,
      requests: 5,
      executions: 5,
      inferences: 10,
      successNs: 50,
      queueNs: 15,
      computeInferNs: 25,
    });
  });

  it('has none of no version', () => {
    expect(sumStatistics([])).toBeNull();
  });
});
