import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ModelEnsemblingStep } from '../../../backends/api/model-config.ts';
import { FakeEnsemble, type FakeModel, orElse, scalarOf, step, watchKept } from './fake-models.case.ts';

afterEach(() => vi.restoreAllMocks());

interface RandomEnsemble {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly steps: readonly ModelEnsemblingStep[];
  readonly models: Readonly<Record<string, FakeModel>>;
  readonly failing: ReadonlySet<string>;
}

const randomStep = fc.record({
  from: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
  gives: fc.integer({ min: 1, max: 2 }),
  condition: fc.option(fc.record({ tensor: fc.nat(), not: fc.boolean(), equals: fc.constantFrom<string[]>([], ['1'], ['0', '2']) })),
  fails: fc.boolean(),
  fallback: fc.option(fc.boolean()),
  optional: fc.boolean(),
  /** Makes its first tensor in the place of the step before, whose condition is the opposite. */
  joins: fc.boolean(),
});

/** Steps in an order in which they could run; every tensor that none needs is an output, and every third of the others. */
const randomEnsemble = fc
  .record({ inputs: fc.integer({ min: 1, max: 3 }), steps: fc.array(randomStep, { minLength: 1, maxLength: 7 }), rate: fc.nat(3) })
  .map(({ inputs: count, steps: drafts, rate }): RandomEnsemble => {
    const inputs = Array.from({ length: count }, (_, at) => `in${at}`);
    const tensors = [...inputs];
    const models: Record<string, FakeModel> = {};
    const failing = new Set<string>();
    const steps: ModelEnsemblingStep[] = [];
    const used = new Set<string>();
    let hasJoined = false;
    for (const [at, draft] of drafts.entries()) {
      const from = [...new Set(draft.from.map((index) => tensors[index % tensors.length]!))];
      const name = `m${at}`;
      const names = from.map((_, index) => `X${index}`);
      const outputs = Array.from({ length: draft.gives }, (_, index) => `Y${index}`);
      const optional = draft.optional ? names.slice(-1) : [];
      models[name] = { inputs: names.filter((one) => !optional.includes(one)), optional, outputs };
      models[`${name}f`] = models[name];
      // Few fail: most of what follows would never run.
      if (draft.fails && at % 4 === rate) failing.add(name);
      if (draft.fallback === false) failing.add(`${name}f`);
      const last = steps.at(-1);
      const joined: ModelEnsemblingStep | null = draft.joins && !hasJoined && last !== undefined && last.when.length === 1 ? last : null;
      hasJoined = joined !== null;
      const condition = joined === null ? draft.condition : { ...joined.when[0]!, not: !joined.when[0]!.not };
      const chosen = condition === null ? '' : condition.tensor;
      const tensor = typeof chosen === 'number' ? tensors[chosen % tensors.length]! : chosen;
      // What the joined step makes must not be needed to make it.
      const isLoop = joined !== null && from.some((one) => Object.values(joined.outputMap).includes(one));
      const outputMap: Record<string, string> = {};
      for (const [index, output] of outputs.entries()) {
        const target = joined !== null && !isLoop && index === 0 ? Object.values(joined.outputMap)[0]! : `t${at}_${index}`;
        outputMap[output] = target;
      }
      for (const one of from) used.add(one);
      if (condition !== null) used.add(tensor);
      steps.push(
        step(name, Object.fromEntries(from.map((one, index) => [`X${index}`, one])), outputMap, {
          when: condition === null ? [] : [{ tensor, not: condition.not, equals: condition.equals }],
          fallback: draft.fallback === null ? null : orElse(`${name}f`),
        }),
      );
      for (const target of Object.values(outputMap)) if (!tensors.includes(target)) tensors.push(target);
    }
    const made = tensors.slice(count);
    const outputs = made.filter((name, at) => !used.has(name) || at % 3 === 0);
    return { inputs, outputs: outputs.length > 0 ? outputs : made.slice(-1), steps, models, failing };
  });

/** What a model makes of its inputs: small numbers, so that conditions hold and fail. */
function compute(modelName: string, inputs: readonly number[]): Record<string, number> {
  const id = Number(/\d+/.exec(modelName)![0]) + (modelName.endsWith('f') ? 1 : 0);
  const sum = inputs.reduce((total, value) => total + value, id);
  return { Y0: sum % 3, Y1: (sum + 1) % 3 };
}

interface Reading {
  /** What a request is answered; null: it fails. */
  readonly answer: Record<string, number> | null;
  /** Some step fails, but what was wanted can be there before: which of the two comes first decides. Null: it cannot. */
  readonly before: Record<string, number> | null;
}

/** The same by reading the configuration from top to bottom. */
function interpret(
  { outputs, steps, failing }: RandomEnsemble,
  values: Readonly<Record<string, number>>,
  wanted: readonly string[],
): Reading {
  const needed = new Set(wanted.length > 0 ? wanted : outputs);
  const active = new Set<ModelEnsemblingStep>();
  for (const one of [...steps].reverse()) {
    if (!Object.values(one.outputMap).some((tensor) => needed.has(tensor))) continue;
    active.add(one);
    for (const tensor of [...Object.values(one.inputMap), ...one.when.map(({ tensor }) => tensor)]) needed.add(tensor);
  }
  const tensors = new Map(Object.entries(values));
  /** Of a step that fails, or that waits for such a one. */
  const blocked = new Set<string>();
  let fails = false;
  const block = (step: ModelEnsemblingStep): void => {
    for (const tensor of Object.values(step.outputMap)) if (!tensors.has(tensor)) blocked.add(tensor);
  };
  for (const one of steps.filter((candidate) => active.has(candidate))) {
    if ([...Object.values(one.inputMap), ...one.when.map(({ tensor }) => tensor)].some((tensor) => blocked.has(tensor))) {
      block(one);
      continue;
    }
    const holds = one.when.every(({ tensor, not, equals }) => {
      const value = tensors.get(tensor);
      return (value !== undefined && (equals.length === 0 ? value !== 0 : equals.includes(String(value)))) !== not;
    });
    const inputs = Object.entries(one.inputMap).map(([name, tensor]) => ({ name, value: tensors.get(tensor) }));
    const isOptional = (name: string): boolean => optionalOf(one.modelName, name);
    if (!holds || inputs.some(({ name, value }) => value === undefined && !isOptional(name))) continue;
    let name = one.modelName;
    if (failing.has(name)) {
      if (one.fallback === null || failing.has(one.fallback.modelName)) {
        fails = true;
        block(one);
        continue;
      }
      name = one.fallback.modelName;
    }
    const made = compute(
      name,
      inputs.map(({ value }) => value).filter((value) => value !== undefined),
    );
    for (const [output, tensor] of Object.entries(one.outputMap)) {
      if (!tensors.has(tensor)) tensors.set(tensor, made[output]!);
      blocked.delete(tensor);
    }
  }
  const answer: Record<string, number> = {};
  let isWhole = true;
  for (const name of wanted.length > 0 ? wanted : outputs) {
    if (tensors.has(name)) answer[name] = tensors.get(name)!;
    else if (wanted.length > 0 || blocked.has(name)) isWhole = false;
  }
  const all = isWhole && Object.keys(answer).length > 0 ? answer : null;
  return fails ? { answer: null, before: all } : { answer: all, before: null };
  function optionalOf(modelName: string, input: string): boolean {
    return modelsNow[modelName]!.optional?.includes(input) ?? false;
  }
}
let modelsNow: Readonly<Record<string, FakeModel>> = {};

function settle(ensemble: FakeEnsemble, failing: ReadonlySet<string>, next: () => number): void {
  const { models, clock } = ensemble;
  clock.tick();
  while (models.pending.length > 0) {
    const request = models.pending[next() % models.pending.length]!;
    if (failing.has(request.modelName)) models.fail(request, 'it fails');
    else models.answer(request, compute(request.modelName, request.inputs.map(scalarOf)));
    clock.tick();
  }
}

describe('any ensemble', () => {
  const choices = fc.infiniteStream(fc.nat(100));

  it('gives what its configuration says, in whatever order its models answer', () => {
    fc.assert(
      fc.property(
        randomEnsemble,
        fc.array(fc.tuple(fc.array(fc.option(fc.nat(2)), { minLength: 3, maxLength: 3 }), fc.array(fc.nat(), { maxLength: 2 })), {
          minLength: 1,
          maxLength: 3,
        }),
        fc.nat(2),
        choices,
        (random, requests, limit, stream) => {
          vi.restoreAllMocks();
          const kept = watchKept();
          modelsNow = random.models;
          const { inputs, outputs, steps, models, failing } = random;
          const ensemble = new FakeEnsemble(inputs, outputs, steps, models, limit);
          const expected = new Map<string, Reading>();
          for (const [at, [sent, asked]] of requests.entries()) {
            const values = Object.fromEntries(inputs.flatMap((name, index) => (sent[index] == null ? [] : [[name, sent[index]]])));
            const wanted = [...new Set(asked.map((index) => outputs[index % outputs.length]!))];
            expected.set(String(at), interpret(random, values, wanted));
            ensemble.send(String(at), values, wanted);
          }
          settle(ensemble, failing, () => stream.next().value!);
          expect(ensemble.faults).toEqual([]);
          const ends = new Map(ensemble.ledger.endings.map(({ id }, at) => [id, ensemble.ends[at]]));
          expect(ensemble.ledger.endings).toHaveLength(requests.length);
          for (const [id, { answer, before }] of expected) {
            const end = ends.get(id);
            const got = typeof end === 'string' ? null : end;
            expect(got, String(end)).toEqual(before !== null && got !== null ? before : answer);
          }
          expect(kept.balance().every((count) => count === 1)).toBe(true);
          expect([ensemble.scheduler.inflightCount, ensemble.scheduler.pendingCount]).toEqual([0, 0]);
        },
      ),
      { numRuns: 400 },
    );
  });

  it('leaves nothing running, and nothing kept, of a request that is cancelled at any time', () => {
    fc.assert(
      fc.property(randomEnsemble, fc.nat(6), choices, (random, answers, stream) => {
        vi.restoreAllMocks();
        const kept = watchKept();
        const { inputs, outputs, steps, models } = random;
        const ensemble = new FakeEnsemble(inputs, outputs, steps, models, 1);
        const values = Object.fromEntries(inputs.map((name) => [name, 1]));
        const request = ensemble.send('r', values);
        for (let i = 0; i < answers && ensemble.models.pending.length > 0; i++) {
          const next = ensemble.models.pending[stream.next().value! % ensemble.models.pending.length]!;
          ensemble.models.answer(next, compute(next.modelName, next.inputs.map(scalarOf)));
        }
        request.cancel();
        ensemble.clock.tick();
        expect(ensemble.ledger.endings).toHaveLength(1);
        expect(ensemble.models.asked.every(({ isDone }) => isDone)).toBe(true);
        expect(kept.balance().every((count) => count === 1)).toBe(true);
        // The place of a step is free again.
        ensemble.models.pending.length = 0;
        ensemble.send('next', values);
        settle(ensemble, new Set(), () => 0);
        expect(ensemble.ledger.endings).toHaveLength(2);
      }),
      { numRuns: 200 },
    );
  });
});
