import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../proto/tensor.ts';
import { failureOf, modelSpec, tensor } from '../api/backend.case.ts';
import { runDecoupledBackendCases } from '../api/decoupled-backend.case.ts';
import { createBackend } from './index.ts';

function inputs(values: readonly number[], delays: readonly number[], waitMs = 0): Tensor[] {
  return [
    tensor('IN', 'INT32', [values.length], Int32Array.from(values)),
    tensor('DELAY', 'UINT32', [delays.length], Uint32Array.from(delays)),
    tensor('WAIT', 'UINT32', [1], Uint32Array.of(waitMs)),
  ];
}

const spec = modelSpec('repeat_int32', '/nowhere', { backend: 'repeat' });
const signal = new AbortController().signal;

runDecoupledBackendCases('repeat', createBackend, {
  isDecoupledOnly: true,
  model: () => spec,
  request: (count, seed) =>
    inputs(
      Array.from({ length: count }, (_, i) => seed * 1000 + i),
      Array(count).fill(1),
    ),
  endless: () => inputs([1, 2], [0, 600_000]),
  failing: () => inputs([1, 2], [0]),
});

describe('repeat', () => {
  async function timed(given: readonly Tensor[]): Promise<{ responses: [number, number][]; ms: number }> {
    const model = await (await createBackend({ settings: {} })).load(spec);
    const instance = await model.createDecoupledInstance!();
    const startMs = performance.now();
    const responses: [number, number][] = [];
    for await (const [out, index] of instance.infer({ inputs: given, parameters: {}, signal })) {
      responses.push([new Int32Array(out!.data.buffer)[0]!, new Uint32Array(index!.data.buffer)[0]!]);
    }
    return { responses, ms: performance.now() - startMs };
  }

  it('gives each number with its position, after its delay', async () => {
    const { responses, ms } = await timed(inputs([7, -(2 ** 31), 9], [0, 30, 10]));
    expect(responses).toEqual([
      [7, 0],
      [-(2 ** 31), 1],
      [9, 2],
    ]);
    expect(ms).toBeGreaterThanOrEqual(36);
  });

  it('does not end before WAIT is over', async () => {
    const { responses, ms } = await timed(inputs([], [], 40));
    expect(responses).toEqual([]);
    expect(ms).toBeGreaterThanOrEqual(36);
  });

  it.each([
    ["'DELAY'", inputs([1, 2], [0])],
    ["'WAIT'", [...inputs([1], [0]).slice(0, 2), tensor('WAIT', 'UINT32', [2], Uint32Array.of(1, 2))]],
    ["'IN'", inputs([1], [0]).slice(1)],
    ["'IN'", [tensor('IN', 'UINT32', [1], Uint32Array.of(1)), ...inputs([1], [0]).slice(1)]],
    ["'IN'", [tensor('IN', 'INT32', [1, 1], Int32Array.of(1)), ...inputs([1], [0]).slice(1)]],
    ['2147483647', inputs([1], [2 ** 31])],
    ['2147483647', inputs([1], [0], 2 ** 32 - 1)],
  ])('refuses what it cannot do: %s', async (said, given) => {
    expect((await failureOf('INVALID_ARGUMENT', () => timed(given))).message).toContain(said);
  });

  it('does not batch', async () => {
    const backend = await createBackend({ settings: {} });
    const error = await failureOf('INVALID_ARGUMENT', () =>
      backend.load(modelSpec('r', '/nowhere', { backend: 'repeat', maxBatchSize: 4 })),
    );
    expect(error.message).toContain('max_batch_size');
  });
});
