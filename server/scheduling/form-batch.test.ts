import { describe, expect, it } from 'vitest';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { type BatchDecision, type BatchPolicy, directPolicy, formBatch } from './form-batch.ts';
import { int32Request, Ledger } from './scheduling-fixtures.ts';

const policy: BatchPolicy = { maxBatchSize: 8, preferredBatchSizes: [8], maxQueueDelayNs: 0, variableInputs: [], hasOptionalInputs: false };

/** Requests that arrived at time 0, each with so many rows. */
function queue(sizes: readonly number[], shapes?: readonly number[]): { length: number; at(i: number): InferenceRequest } {
  const ledger = new Ledger();
  const requests = sizes.map((size, i) => int32Request(String(i), ledger, [{ shape: [size, shapes?.[i] ?? 1], values: [] }]));
  return { length: requests.length, at: (i) => requests[i]! };
}

function decide(sizes: readonly number[], changes: Partial<BatchPolicy> = {}, nowNs = 0, shapes?: readonly number[]): BatchDecision {
  const decision = { take: -1, waitNs: -1, isComplete: true, requests: -1, rows: -1 };
  formBatch(queue(sizes, shapes), { ...policy, ...changes }, nowNs, decision);
  return decision;
}

describe('formBatch', () => {
  it('takes nothing from an empty queue', () =>
    expect(decide([])).toEqual({ take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 }));

  it('without delay sends what is there', () =>
    expect(decide([1, 1, 1])).toEqual({ take: 3, waitNs: 0, isComplete: false, requests: 0, rows: 0 }));

  it('stops at max_batch_size, never splitting a request', () => {
    expect(decide([3, 3, 3]).take).toBe(2);
    expect(decide([1, 1, 1, 1, 1, 1, 1, 1, 1]).take).toBe(8);
    expect(decide([8, 1]).take).toBe(1);
  });

  it('sends a preferred size that was met and leaves the rest', () => {
    expect(decide([1, 1, 1, 1, 1, 1], { preferredBatchSizes: [2, 4] }).take).toBe(4);
    expect(decide([3, 3], { preferredBatchSizes: [4] }).take).toBe(1);
  });

  it('with a delay waits for the rest of it, from the oldest arrival', () => {
    expect(decide([1, 1], { maxQueueDelayNs: 1000 }, 400)).toEqual({ take: 0, waitNs: 600, isComplete: false, requests: 2, rows: 2 });
    expect(decide([1, 1], { maxQueueDelayNs: 1000 }, 1000)).toEqual({ take: 2, waitNs: 0, isComplete: false, requests: 0, rows: 0 });
  });

  it('with a delay does not wait once a preferred size, or a full batch, is there', () => {
    expect(decide([1, 1, 1], { maxQueueDelayNs: 1000, preferredBatchSizes: [2] }, 0).take).toBe(2);
    expect(decide([4, 4], { maxQueueDelayNs: 1000 }, 0).take).toBe(2);
  });

  it('with a delay waits for the oldest of those it would take, wherever priorities have put it', () => {
    const [late, early] = [queue([1]).at(0), queue([1]).at(0)];
    late.queuedNs = 900;
    early.queuedNs = 100;
    const decision = { take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 };
    formBatch({ length: 2, at: (i) => (i === 0 ? late : early) }, { ...policy, maxQueueDelayNs: 1000 }, 1000, decision);
    expect(decision.waitNs).toBe(100);
  });

  it('a request that does not fit closes the batch, so waiting would not help', () => {
    expect(decide([5, 5], { maxQueueDelayNs: 1000 }, 0).take).toBe(1);
  });

  it('once the delay is over sends everything that fits rather than the preferred size', () => {
    expect(decide([1, 1, 1], { maxQueueDelayNs: 1000, preferredBatchSizes: [2] }, 1000).take).toBe(3);
  });

  it('a different shape in an open dimension closes the batch', () => {
    expect(decide([1, 1, 1], { variableInputs: [0] }, 0, [5, 5, 7]).take).toBe(2);
    expect(decide([1, 1, 1], { variableInputs: [] }, 0, [5, 5, 7]).take).toBe(3);
  });

  it('different sets of optional inputs close the batch', () => {
    const ledger = new Ledger();
    const requests = [0, 1, 2].map((i) => int32Request(String(i), ledger, [{ shape: [1, 1], values: [1] }]));
    requests[2]!.boundInputs = [null];
    const decision = { take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 };
    formBatch({ length: 3, at: (i) => requests[i]! }, { ...policy, hasOptionalInputs: true }, 0, decision);
    expect(decision.take).toBe(2);
  });

  it('says whether what comes later could still join', () => {
    expect(decide([1, 1]).isComplete).toBe(false);
    expect(decide([5, 5]).isComplete).toBe(true);
    expect(decide([4, 4]).isComplete).toBe(true);
    expect(decide([1, 1, 1], { preferredBatchSizes: [2] }).isComplete).toBe(true);
    expect(decide([1], directPolicy).isComplete).toBe(true);
  });

  it('the direct policy runs every request alone', () => {
    expect(decide([1, 1, 1], directPolicy).take).toBe(1);
  });
});
