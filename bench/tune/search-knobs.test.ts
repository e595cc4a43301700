import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareFinalists, type FinalResult } from './compare-finalists.ts';
import { allKnobs, type CostModel, pointOfModel, SyntheticTrial } from './cost-model.case.ts';
import { type KnobLists, type KnobSpace, knobSpace } from './knob-space.ts';
import { type Knobs, keyOf } from './knobs.ts';
import { MeteredTrial, type TrialReport } from './metered-trial.ts';
import { type SearchResult, searchKnobs } from './search-knobs.ts';
import { TimeBudget } from './time-budget.ts';
import { objectionTo, type TuneGoal, worthOf } from './tune-goal.ts';

const LISTS: KnobLists = { maxBatch: null, delaysUs: null, instances: null, threads: null, hosts: ['process'] };
const LEVELS = [1, 4, 16, 64];
const PRESENT: Knobs = { maxBatchSize: 8, queueDelayUs: 0, instances: 1, threads: 1, host: 'process' };

function spaceOf(cores: number, present: Knobs = PRESENT): KnobSpace {
  return knobSpace({
    config: { backend: 'onnxruntime', instance_group: [{ count: 1 }] },
    present,
    threads: { name: 'intra_op_thread_count', whenUnset: 1 },
    lists: LISTS,
    cores,
    rowsInFlight: 64,
    rowsOfRequest: 1,
    latencyLimitUs: Number.POSITIVE_INFINITY,
  });
}

interface Ways {
  readonly model: CostModel;
  readonly space: KnobSpace;
  readonly limitUs?: number | null;
  readonly objective?: 'throughput' | 'latency';
  readonly noise?: number;
  readonly trials?: number;
  readonly random?: () => number;
  readonly fails?: (knobs: Knobs) => boolean;
  readonly signal?: AbortSignal;
  readonly onTrial?: (report: TrialReport) => void;
}

const COST_MS = 1000;

async function tune(ways: Ways): Promise<SearchResult & { final: FinalResult; trial: SyntheticTrial }> {
  const { model, space, limitUs = null, objective = 'throughput', noise = 0, trials = 1000, random = Math.random, fails } = ways;
  const trial = new SyntheticTrial({ model, noise, random, costMs: COST_MS, ...(fails === undefined ? {} : { fails }) });
  const budget = new TimeBudget(trials * COST_MS, () => trial.nowMs);
  const signal = ways.signal ?? new AbortController().signal;
  const metered = new MeteredTrial({ trial, budget, signal, onTrial: ways.onTrial ?? (() => {}) });
  const levels = objective === 'latency' ? [64] : LEVELS;
  const found = await searchKnobs({
    space,
    latencyLimitUs: limitUs,
    goal: { objective, percentile: '99', memoryLimitMiB: Number.POSITIVE_INFINITY, ratePerSecond: null },
    levels,
    trial: metered,
    keepMs: trials * COST_MS * 0.4,
  });
  const [present, ...candidates] = found.candidates;
  const final = await compareFinalists({ goal: found.goal, levels, present: present!, candidates, trial: metered });
  return { ...found, final, trial };
}

/** What the chosen one is worth, by the formula. */
function worthOfChosen({ final, goal }: { final: FinalResult; goal: TuneGoal }, model: CostModel): number {
  return worthOf(goal, pointOfModel(model, final.chosen.candidate.knobs, final.chosen.level));
}

function bestWorth(model: CostModel, space: KnobSpace, goal: TuneGoal, levels: readonly number[]): number {
  const points = allKnobs(space).flatMap((knobs) => levels.map((level) => pointOfModel(model, knobs, level)));
  return Math.max(0, ...points.filter((point) => objectionTo(goal, point) === '').map((point) => worthOf(goal, point)));
}

const models = fc.record({
  fixedUs: fc.integer({ min: 20, max: 20_000 }),
  rowUs: fc.integer({ min: 1, max: 5_000 }),
  parallel: fc.double({ min: 0, max: 0.95, noNaN: true }),
  scaling: fc.double({ min: 0.3, max: 1, noNaN: true }),
  gatewayUs: fc.integer({ min: 5, max: 50 }),
});

describe('the search, on servers that are formulas', () => {
  test('comes within 5 % of the best of the whole grid, with a fraction of its measurements', async () => {
    await fc.assert(
      fc.asyncProperty(models, fc.constantFrom(2, 4, 8), async (model, cores) => {
        const space = spaceOf(cores);
        const result = await tune({ model, space, limitUs: Number.POSITIVE_INFINITY });
        const best = bestWorth(model, space, result.goal, LEVELS);
        expect(worthOfChosen(result, model)).toBeGreaterThanOrEqual(best * 0.95);
        const distinct = new Set(result.candidates.map(({ knobs }) => keyOf(knobs)));
        expect(distinct.size).toBe(result.candidates.length);
        expect(distinct.size).toBeLessThan(allKnobs(space).length);
      }),
      { numRuns: 200 },
    );
  });

  test('the lowest latency as well', async () => {
    await fc.assert(
      fc.asyncProperty(models, async (model) => {
        const space = spaceOf(4);
        const result = await tune({ model, space, objective: 'latency' });
        expect(worthOfChosen(result, model)).toBeGreaterThanOrEqual(bestWorth(model, space, result.goal, [64]) * 0.95);
      }),
      { numRuns: 100 },
    );
  });

  test('never chooses what is over the limit, when something else is within it', async () => {
    await fc.assert(
      fc.asyncProperty(models, fc.integer({ min: 100, max: 100_000 }), async (model, limitUs) => {
        const space = spaceOf(4);
        const result = await tune({ model, space, limitUs });
        const { candidate, level } = result.final.chosen;
        const objection = objectionTo(result.goal, pointOfModel(model, candidate.knobs, level));
        if (bestWorth(model, space, result.goal, LEVELS) > 0 && candidate.knobs !== space.present) expect(objection).toBe('');
        const presentWorth = bestWorth(model, { ...space, axes: [] }, result.goal, LEVELS);
        if (presentWorth > 0) {
          expect(objection).toBe('');
          expect(worthOfChosen(result, model)).toBeGreaterThanOrEqual(presentWorth * 0.999);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('never measures more than there is time for, and always the present configuration', async () => {
    await fc.assert(
      fc.asyncProperty(models, fc.integer({ min: 1, max: 60 }), async (model, trials) => {
        const { trial, candidates } = await tune({ model, space: spaceOf(4), trials });
        expect(trial.calls.length).toBeLessThanOrEqual(trials);
        expect(trial.calls[0]!.knobs).toEqual(PRESENT);
        expect(candidates[0]!.knobs).toEqual(PRESENT);
      }),
      { numRuns: 200 },
    );
  });

  test('keeps limits of instances and threads in all that it tries', async () => {
    await fc.assert(
      fc.asyncProperty(models, fc.constantFrom(1, 2, 4, 6), async (model, cores) => {
        const { trial } = await tune({ model, space: spaceOf(cores) });
        for (const { knobs } of trial.calls) expect(knobs.instances * knobs.threads).toBeLessThanOrEqual(cores);
      }),
      { numRuns: 50 },
    );
  });
});

describe('noise', () => {
  /** Nothing that can be tuned makes a difference. */
  const flat: CostModel = { fixedUs: 0.1, rowUs: 0.1, parallel: 0, scaling: 0, gatewayUs: 200 };
  const steep: CostModel = { fixedUs: 5_000, rowUs: 20, parallel: 0.9, scaling: 0.9, gatewayUs: 10 };

  test('where nothing is better, the present configuration nearly always stays', async () => {
    let kept = 0;
    for (let i = 0; i < 100; i++) {
      const { final } = await tune({ model: flat, space: spaceOf(4), noise: 0.05, random: sequence(i), trials: 80 });
      if (final.chosen === final.present) kept++;
    }
    expect(kept).toBeGreaterThanOrEqual(88);
  });

  test('a difference that is large is found through it', async () => {
    for (let i = 0; i < 30; i++) {
      const space = spaceOf(4);
      const result = await tune({ model: steep, space, noise: 0.05, random: sequence(i), trials: 80 });
      expect(worthOfChosen(result, steep)).toBeGreaterThan(1.5 * worthOf(result.goal, pointOfModel(steep, PRESENT, 16)));
    }
  });

  /** [0, 1), the same each time. */
  function sequence(seed: number): () => number {
    let state = seed * 2_654_435_761 + 1;
    return () => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
      let mixed = state;
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b);
      return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
    };
  }
});

describe('what goes wrong', () => {
  const model: CostModel = { fixedUs: 2_000, rowUs: 100, parallel: 0.5, scaling: 0.8, gatewayUs: 10 };

  test('a configuration that cannot be loaded is listed with its reason, and is not chosen', async () => {
    const { candidates, final } = await tune({ model, space: spaceOf(4), fails: ({ instances }) => instances > 1 });
    expect(candidates.filter(({ failure }) => failure === 'not enough memory').length).toBeGreaterThan(0);
    expect(final.chosen.candidate.knobs.instances).toBe(1);
    expect(final.arms.every((arm) => arm.candidate.failure === '')).toBe(true);
  });

  test('a present configuration that cannot be loaded ends the search with its reason', async () => {
    await expect(tune({ model, space: spaceOf(4), fails: () => true })).rejects.toThrow(/cannot be loaded as it is: not enough memory/);
  });

  test('a present configuration over the limit gives way to one within it', async () => {
    const space = spaceOf(4);
    const lowest = Math.min(...allKnobs(space).map((knobs) => pointOfModel(model, knobs, 1).latencyUs));
    const present = pointOfModel(model, PRESENT, 1).latencyUs;
    expect(lowest).toBeLessThan(present);
    const { final, goal } = await tune({ model, space, limitUs: (lowest + present) / 2 });
    expect(final.chosen).not.toBe(final.present);
    expect(objectionTo(goal, pointOfModel(model, final.chosen.candidate.knobs, final.chosen.level))).toBe('');
  });

  test('when told to end, it says what is known', async () => {
    const controller = new AbortController();
    let count = 0;
    const onTrial = (): void => {
      if (++count === 5) controller.abort();
    };
    const { trial, candidates, final } = await tune({ model, space: spaceOf(4), signal: controller.signal, onTrial });
    expect(trial.calls.length).toBe(5);
    expect(candidates.length).toBeGreaterThan(0);
    expect(final.chosen).toBe(final.present);
  });

  test('a fault of the measurement ends the search', async () => {
    const boom = (): boolean => {
      throw new Error('boom');
    };
    await expect(tune({ model, space: spaceOf(4), fails: boom })).rejects.toThrow('boom');
  });
});
