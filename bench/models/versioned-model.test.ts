import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { versionedModel } from './versioned-model.ts';

test.each([0, 4, 2 ** 20])('gives back its input and says its version, with %d bytes of padding', async (padding) => {
  const bytes = versionedModel(7, padding);
  expect(bytes.length).toBeGreaterThan(padding);
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const INPUT0 = new Tensor('int64', BigInt64Array.of(3n, -1n, 2n ** 62n), [3, 1]);
  const { OUTPUT0, OUTPUT1 } = await session.run({ INPUT0 });
  expect(OUTPUT0!.data).toEqual(INPUT0.data);
  expect([OUTPUT1!.dims, OUTPUT1!.data]).toEqual([[3, 1], BigInt64Array.of(7n, 7n, 7n)]);
  await session.release();
});
