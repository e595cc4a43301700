import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceResponse } from '../inference/inference-response.ts';
import { KeptOutputs } from '../inference/kept-outputs.ts';
import { KeptRegions } from './kept-regions.ts';
import { createPrivateMemory, type SharedMemory } from './shared-memory.ts';
import { TensorArena } from './tensor-arena.ts';

const KIB = 1024;
const MEMORY_BYTES = 64 * KIB;

/** The memory of a host without a host: batches are answered by hand. */
class Bench {
  readonly memory: SharedMemory = createPrivateMemory(MEMORY_BYTES);
  readonly arena: TensorArena = new TensorArena(0, MEMORY_BYTES);
  readonly regions: KeptRegions = new KeptRegions(this.memory, this.arena);

  /** One batch whose output is `bytes` of `value`; false when there is no room for it. */
  batch(bytes: number, value: number, onResponse: (response: InferenceResponse) => void): boolean {
    const region = this.arena.allocate(bytes);
    if (region < 0) return false;
    const data = new Uint8Array(this.memory.buffer, region, bytes).fill(value);
    const outer = this.regions.enter(region);
    onResponse(responseOf([{ name: 'OUT', datatype: 'UINT8', shape: [bytes], data }]));
    this.regions.leave(outer);
    this.regions.free(region);
    return true;
  }

  keep(bytes: number, value: number): KeptOutputs {
    let kept: KeptOutputs | null = null;
    this.batch(bytes, value, (response) => {
      kept = new KeptOutputs(response);
    });
    return kept!;
  }

  isHere(kept: KeptOutputs): boolean {
    return kept.tensors[0]!.data.buffer === this.memory.buffer;
  }
}

function responseOf(outputs: readonly Tensor[]): InferenceResponse {
  return new InferenceResponse('model', '1', outputs, null, { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 });
}

const contents = (kept: KeptOutputs): number[] => [...new Set(kept.tensors[0]!.data)];

describe('kept outputs', () => {
  it('stay where they lie, and their region is taken until they are released', () => {
    const bench = new Bench();
    const kept = bench.keep(8 * KIB, 7);
    expect(bench.isHere(kept)).toBe(true);
    expect(bench.arena.usedBytes).toBe(8 * KIB);
    expect(bench.regions.keptBytes).toBe(8 * KIB);
    for (let value = 10; value < 20; value++) bench.batch(8 * KIB, value, () => {});
    expect(contents(kept)).toEqual([7]);
    kept.release();
    expect(bench.arena.usedBytes).toBe(0);
    expect(bench.regions.keptBytes).toBe(0);
  });

  it('of one region are counted: the last to let go frees it, once, however often each is released', () => {
    const bench = new Bench();
    let first: KeptOutputs | null = null;
    let second: KeptOutputs | null = null;
    bench.batch(8 * KIB, 1, ({ outputs }) => {
      const half = { ...outputs[0]!, data: outputs[0]!.data.subarray(4 * KIB) };
      first = new KeptOutputs(responseOf([outputs[0]!, half]));
      second = new KeptOutputs(responseOf([half]));
    });
    first!.release();
    first!.release();
    expect(bench.arena.usedBytes).toBe(8 * KIB);
    const other = bench.keep(8 * KIB, 2);
    first!.release();
    second!.release();
    second!.release();
    expect(bench.arena.usedBytes).toBe(8 * KIB);
    expect(contents(other)).toEqual([2]);
    other.release();
    expect(bench.arena.usedBytes).toBe(0);
  });

  it('may be released before their batch is through', () => {
    const bench = new Bench();
    bench.batch(8 * KIB, 1, (response) => new KeptOutputs(response).release());
    expect(bench.arena.usedBytes).toBe(0);
  });

  it('are copied once half of the memory is kept: what nobody releases costs no more than that', () => {
    const bench = new Bench();
    const kept = Array.from({ length: 20 }, (_, i) => bench.keep(4 * KIB, i));
    expect(kept.map((one) => bench.isHere(one))).toEqual(kept.map((_, i) => i < 8));
    expect(bench.arena.usedBytes).toBe(MEMORY_BYTES / 2);
    expect(bench.batch(MEMORY_BYTES / 2, 99, () => {})).toBe(true);
    expect(kept.map(contents)).toEqual(kept.map((_, i) => [i]));
    for (const one of kept) one.release();
    expect(bench.arena.usedBytes).toBe(0);
  });

  it('can be kept once more by whoever gets them next', () => {
    const bench = new Bench();
    const first = bench.keep(8 * KIB, 3);
    const second = new KeptOutputs(responseOf(first.tensors));
    first.release();
    expect(bench.isHere(second)).toBe(true);
    expect(contents(second)).toEqual([3]);
    second.release();
    expect(bench.arena.usedBytes).toBe(0);
  });

  it('are copied where the memory is not a batch in its answer: nobody would know how long they are valid', () => {
    const bench = new Bench();
    const region = bench.arena.allocate(KIB);
    const kept = new KeptOutputs(
      responseOf([{ name: 'OUT', datatype: 'UINT8', shape: [1], data: new Uint8Array(bench.memory.buffer, region, 1) }]),
    );
    expect(bench.isHere(kept)).toBe(false);
    const buffered = new KeptOutputs(responseOf([{ name: 'OUT', datatype: 'UINT8', shape: [2], data: Buffer.from([5, 6]) }]));
    expect(buffered.tensors[0]!.data).toEqual(Uint8Array.of(5, 6));
  });

  it('stay readable when the host has gone, and take its memory along when they are released', () => {
    const bench = new Bench();
    const first = bench.keep(8 * KIB, 4);
    const second = bench.keep(8 * KIB, 5);
    bench.regions.close();
    expect([contents(first), contents(second)]).toEqual([[4], [5]]);
    first.release();
    expect(contents(second)).toEqual([5]);
    second.release();
    expect(bench.memory.buffer.byteLength).toBe(0);
  });

  it('may be made while the host goes: by a receiver that stopped it', () => {
    const bench = new Bench();
    let kept: KeptOutputs | null = null;
    bench.batch(8 * KIB, 6, (response) => {
      bench.regions.close();
      kept = new KeptOutputs(response);
    });
    expect(contents(kept!)).toEqual([6]);
    kept!.release();
    expect(bench.memory.buffer.byteLength).toBe(0);
  });

  it('are never overwritten, whatever is kept and released in whatever order, and nothing stays behind', () => {
    const step = fc.record({
      bytes: fc.integer({ min: 1, max: 12 * KIB }),
      keepers: fc.integer({ min: 0, max: 3 }),
      /** Of those that are kept, counted round. */
      releases: fc.array(fc.nat(50), { maxLength: 3 }),
      nested: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const bench = new Bench();
        const live: { kept: KeptOutputs; value: number }[] = [];
        steps.forEach(({ bytes, keepers, releases, nested }, i) => {
          const value = (i % 250) + 1;
          bench.batch(bytes, value, (response) => {
            if (nested) bench.batch(bytes, 255, (inner) => live.push({ kept: new KeptOutputs(inner), value: 255 }));
            for (let k = 0; k < keepers; k++) live.push({ kept: new KeptOutputs(response), value });
            if (releases.length > 2) live.splice(releases[0]! % Math.max(1, live.length), 1)[0]?.kept.release();
          });
          for (const at of releases) live.splice(at % Math.max(1, live.length), 1)[0]?.kept.release();
          expect(bench.regions.keptBytes).toBeLessThanOrEqual(MEMORY_BYTES / 2);
          expect(bench.arena.usedBytes).toBe(bench.regions.keptBytes);
          for (const { kept, value: expected } of live) expect(contents(kept)).toEqual([expected]);
        });
        for (const { kept } of live) kept.release();
        expect(bench.arena.usedBytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
