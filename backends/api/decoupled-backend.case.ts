/**
 * The suite that every backend with decoupled models must pass, beside that of `backend.case.ts` where it has others too. A backend's test file calls
 * `runDecoupledBackendCases`, then adds what is its own.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countBytesElements } from '../../proto/bytes.ts';
import { byteSizeOf, elementCount } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { failureOf } from './backend.case.ts';
import type { Backend, BackendModule, DecoupledModelInstance, DecoupledRequest, ModelMetadata, ModelSpec } from './backend.ts';

/** What a backend brings to the suite. */
export interface DecoupledBackendFixtures {
  model(): ModelSpec;
  /** A request that gets `count` responses, soon. `seed` makes those of different requests different. */
  request(count: number, seed: number): readonly Tensor[];
  /** A request that gets a first response soon, and goes on for minutes. */
  endless(): readonly Tensor[];
  /** A request that fails; null when there is none. */
  failing(): readonly Tensor[] | null;
  /** The backend has decoupled models only. */
  readonly isDecoupledOnly: boolean;
}

/** Copies what one response had: its bytes may change with the next. */
function checked(outputs: readonly Tensor[], metadata: ModelMetadata): Tensor[] {
  expect(outputs.map(({ name, datatype }) => [name, datatype])).toEqual(metadata.outputs.map(({ name, datatype }) => [name, datatype]));
  return outputs.map((output, index) => {
    const { shape, data, name, datatype } = output;
    const expected = metadata.outputs[index]!.shape;
    expect(shape.length).toBe(expected.length);
    expect(shape.every((dim, at) => expected[at] === -1 || expected[at] === dim)).toBe(true);
    if (datatype === 'BYTES') expect(countBytesElements(data, name)).toBe(elementCount(shape));
    else expect(data.length).toBe(elementCount(shape) * byteSizeOf(datatype));
    return { ...output, data: new Uint8Array(data) };
  });
}

export function runDecoupledBackendCases(
  name: string,
  createBackend: BackendModule['createBackend'],
  fixtures: DecoupledBackendFixtures,
): void {
  describe(`${name} as a backend of decoupled models`, () => {
    let backend: Backend;

    beforeAll(async () => {
      backend = await createBackend({ settings: {} });
    });
    afterAll(async () => {
      await backend.close();
    });

    async function withInstance(use: (instance: DecoupledModelInstance, metadata: ModelMetadata) => Promise<unknown>): Promise<void> {
      const model = await backend.load(fixtures.model());
      const instance = await model.createDecoupledInstance!();
      await use(instance, model.metadata);
      await instance.dispose();
      await model.unload();
    }

    const request = (inputs: readonly Tensor[], signal = new AbortController().signal): DecoupledRequest => ({
      inputs,
      parameters: {},
      signal,
    });

    async function responsesTo(instance: DecoupledModelInstance, inputs: readonly Tensor[], metadata: ModelMetadata): Promise<Tensor[][]> {
      const responses: Tensor[][] = [];
      for await (const outputs of instance.infer(request(inputs))) responses.push(checked(outputs, metadata));
      return responses;
    }

    it('has the name of its folder, and says how much it takes at once', async () => {
      expect(backend.name).toBe(name);
      await withInstance(async ({ maxRequests }) => expect(maxRequests ?? 1).toBeGreaterThanOrEqual(1));
    });

    it.each([0, 1, 2, 40])('gives %i responses, each with every output of the model, and ends', async (count) => {
      await withInstance(async (instance, metadata) => {
        const inputs = fixtures.request(count, 1);
        const before = inputs.map(({ data }) => new Uint8Array(data));
        expect(await responsesTo(instance, inputs, metadata)).toHaveLength(count);
        expect(inputs.map(({ data }) => new Uint8Array(data))).toEqual(before);
      });
    });

    it('keeps requests that run at once apart', async () => {
      await withInstance(async (instance, metadata) => {
        const count = Math.min(8, instance.maxRequests ?? 8);
        const seeds = Array.from({ length: count }, (_, seed) => seed);
        const alone: Tensor[][][] = [];
        for (const seed of seeds) alone.push(await responsesTo(instance, fixtures.request(5, seed), metadata));
        expect(await Promise.all(seeds.map((seed) => responsesTo(instance, fixtures.request(5, seed), metadata)))).toEqual(alone);
      });
    });

    it('ends soon when nobody waits any more, and goes on with others', async () => {
      await withInstance(async (instance, metadata) => {
        const controller = new AbortController();
        const iterator = instance.infer(request(fixtures.endless(), controller.signal))[Symbol.asyncIterator]();
        expect((await iterator.next()).done).toBe(false);
        const next = iterator.next().then(
          () => 'stopped',
          () => 'stopped',
        );
        controller.abort();
        // Minutes, if it does not listen: the test's own time limit says so.
        expect(await next).toBe('stopped');
        await iterator.return?.();
        expect(await responsesTo(instance, fixtures.request(3, 2), metadata)).toHaveLength(3);
      });
    });

    it('can be left in the middle, and before the start', async () => {
      await withInstance(async (instance, metadata) => {
        for await (const outputs of instance.infer(request(fixtures.endless()))) {
          checked(outputs, metadata);
          break;
        }
        const controller = new AbortController();
        controller.abort();
        const iterator = instance.infer(request(fixtures.endless(), controller.signal))[Symbol.asyncIterator]();
        await iterator.return?.();
        expect(await responsesTo(instance, fixtures.request(2, 3), metadata)).toHaveLength(2);
      });
    });

    it('fails a request with a reason, and no other', async ({ skip }) => {
      const failing = fixtures.failing();
      if (failing === null) return skip();
      await withInstance(async (instance, metadata) => {
        const other = responsesTo(instance, fixtures.request(4, 4), metadata);
        const error = await failureOf('INVALID_ARGUMENT', () => responsesTo(instance, failing, metadata));
        expect(error.message.length).toBeGreaterThan(20);
        expect(await other).toHaveLength(4);
      });
    });

    it('refuses to run what was disposed of', async () => {
      const model = await backend.load(fixtures.model());
      const instance = await model.createDecoupledInstance!();
      await instance.dispose();
      await failureOf('UNAVAILABLE', () => responsesTo(instance, fixtures.request(1, 1), model.metadata));
      await model.unload();
      await model.unload();
      await failureOf('UNAVAILABLE', () => model.createDecoupledInstance!());
    });

    it('says so when it is to answer once and cannot', async ({ skip }) => {
      if (!fixtures.isDecoupledOnly) return skip();
      const model = await backend.load(fixtures.model());
      const error = await failureOf('INVALID_ARGUMENT', () => model.createInstance());
      expect(error.message).toContain('model_transaction_policy { decoupled: true }');
      await model.unload();
    });
  });
}
