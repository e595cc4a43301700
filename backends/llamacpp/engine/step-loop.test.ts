import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../bench/models/gguf/small-models.ts';
import { SeededRandom } from '../../../bench/statistics/seeded-random.ts';
import { modelConfig } from '../../api/backend.case.ts';
import type { AddonContext, AddonSampler } from '../native/llama-addon.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import { ActiveGeneration } from './active-generation.ts';
import type { GenerationJob } from './generation-job.ts';
import { JobSampler } from './job-sampler.ts';
import { LlamaModel } from './llama-model.ts';
import { SamplerPool } from './sampler-pool.ts';
import { SlotTable } from './slot-table.ts';
import { StepLoop } from './step-loop.ts';
import { StepWidth } from './step-width.ts';

const CONTEXT = 256;
const SEQUENCES = 3;
const folder = mkdtempSync(join(tmpdir(), 'steps-'));
const file = join(folder, 'model.gguf');
writeFileSync(file, tinyLlama({ context: CONTEXT }));

interface Call {
  readonly name: string;
  readonly first: unknown;
  /** Of addToBatch. */
  readonly tokens: number;
}

/** The real context, watched: which calls it gets, whether two run at once, and failures on demand. */
class WatchedContext {
  readonly calls: Call[] = [];
  overlaps = 0;
  failsDecode = false;
  /** The next steps wait for it. */
  held: Promise<void> | null = null;
  failsSampler: AddonSampler | null = null;
  /** As recurrent models do. */
  refusesRemoval = false;
  /** As a sliding window has it. */
  firstPosition = 0;
  #running = '';
  #count = 0;

  wrap(context: AddonContext): AddonContext {
    return new Proxy(context, {
      get: (target, name: string) => {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => this.#call(target, name, value as (...given: unknown[]) => unknown, given);
      },
    });
  }

  #call(target: AddonContext, name: string, method: (...given: unknown[]) => unknown, given: unknown[]): unknown {
    this.calls.push({ name, first: given[0], tokens: given[2] instanceof Uint32Array ? given[2].length : 0 });
    // Tokens may be chosen side by side: nothing else may.
    if (this.#count > 0 && !(name === 'sampleToken' && this.#running === name)) this.overlaps++;
    if (name === 'decodeBatch' && this.failsDecode) {
      this.failsDecode = false;
      return Promise.reject(new Error('Eval has failed'));
    }
    if (name === 'decodeBatch' && this.held !== null) return this.held.then(() => method.apply(target, given));
    if (name === 'sampleToken' && given[1] === this.failsSampler) return Promise.reject(new Error('no such grammar'));
    if (name === 'removeTokenCellsFromSequence' && this.refusesRemoval && given[1] !== -1) return false;
    if (name === 'getSequenceKvCacheMinPosition' && this.firstPosition > 0) return this.firstPosition;
    const result = method.apply(target, given);
    if (!(result instanceof Promise)) return result;
    this.#running = name;
    this.#count++;
    return result.finally(() => {
      this.#count--;
    });
  }
}

describe('StepLoop', () => {
  let model: LlamaModel;
  let samplers: SamplerPool;
  let native: AddonContext;
  let watched: WatchedContext;
  let table: SlotTable;
  let loop: StepLoop;

  beforeAll(async () => {
    const options = readLlamaOptions(modelConfig());
    model = await LlamaModel.open(file, options, () => {}, { architecture: 'llama', vocabularySize: 384, layers: 2, slidingWindow: 0 });
    samplers = new SamplerPool(model.native.addon, model.addonModel, SEQUENCES);
  });
  afterAll(async () => {
    samplers.dispose();
    await model.close();
    rmSync(folder, { recursive: true });
  });
  afterEach(async () => {
    await loop.stop();
    await native.dispose();
    expect(watched.overlaps).toBe(0);
  });

  async function start(batchSize = 64, prefillChunk = 8, width: StepWidth | null = null, slidingWindow = 0): Promise<void> {
    const size = { contextSize: CONTEXT * SEQUENCES, batchSize, sequences: SEQUENCES };
    native = new model.native.addon.AddonContext(model.addonModel, { ...size, flashAttention: 'auto', threads: 1 });
    expect(await native.init()).toBe(true);
    watched = new WatchedContext();
    const context = watched.wrap(native);
    table = new SlotTable(context, SEQUENCES, CONTEXT, slidingWindow, 4);
    loop = new StepLoop(context, table, { batchSize, prefillChunk, contextSize: CONTEXT, width }, model.tokens.isEnd);
  }

  function run(prompt: readonly number[], maxTokens: number, given: Partial<GenerationJob> = {}): ActiveGeneration {
    const job: GenerationJob = {
      prompt: Uint32Array.from(prompt),
      maxTokens,
      sampling: { temperature: 0 },
      grammar: null,
      topLogprobs: -1,
      ignoresEnd: false,
      minTokens: 0,
      stopTokens: new Set(),
      signal: new AbortController().signal,
      ...given,
    };
    const sampler = new JobSampler(samplers, model.tokens, CONTEXT, job, null);
    const generation = new ActiveGeneration(job, sampler, {
      generationCancelled: (cancelled) => {
        if (!table.removeWaiting(cancelled)) loop.wake();
      },
      generationResumed: () => loop.wake(),
    });
    table.add(generation);
    loop.wake();
    return generation;
  }

  async function count(generation: ActiveGeneration): Promise<number> {
    let given = 0;
    for await (const _ of generation) given++;
    return given;
  }

  const text = (length: number, seed = 0) => Array.from({ length }, (_, i) => 40 + ((i * 7 + seed * 11) % 60));

  it('puts sequences into a batch in the order of their ids, and calls nothing twice at once', async () => {
    await start();
    const jobs = [run(text(30), 20, { topLogprobs: 2 }), run(text(9, 1), 20), run(text(50, 2), 20, { topLogprobs: 0 })];
    expect(await Promise.all(jobs.map(count))).toEqual([20, 20, 20]);
    const orders = watched.calls
      .map(({ name, first }) => (name === 'addToBatch' ? String(first) : name === 'decodeBatch' ? '|' : ''))
      .join('');
    for (const order of orders.split('|')) expect([...order]).toEqual([...order].toSorted());
    expect(orders.split('|').filter((order) => order === '012').length).toBeGreaterThan(10);
    expect(loop.promptTokens).toBe(89);
    expect(loop.generatedTokens).toBe(60);
  });

  it('gives every sequence its turn where a step takes some', async () => {
    const width = new StepWidth(SEQUENCES);
    // Learned: one at a time.
    for (let i = 0; i < 4; i++) for (let taken = 1; taken <= SEQUENCES; taken++) width.record(taken, taken === 1 ? 0.001 : 1000);
    await start(64, 64, width);
    const jobs = [run(text(3), 30), run(text(3, 1), 30), run(text(3, 2), 30)];
    expect(await Promise.all(jobs.map(count))).toEqual([30, 30, 30]);
    const order = watched.calls
      .filter(({ name }) => name === 'addToBatch')
      .map(({ first }) => String(first))
      .join('');
    expect(order).toMatch(/^012(?:012){29}$/);
    expect(loop.steps).toBe(1 + 29 * 3);
  });

  it('fails the jobs of a step that fails, empties their sequences, and goes on', async () => {
    await start();
    const one = run(text(5), 200);
    const two = run(text(5, 1), 200);
    await one.next();
    watched.failsDecode = true;
    const failures = await Promise.allSettled([count(one), count(two)]);
    for (const failure of failures) {
      expect(failure).toMatchObject({
        status: 'rejected',
        reason: { code: 'INTERNAL', message: 'llama.cpp: Eval has failed', failureReason: 'BACKEND' },
      });
    }
    expect(loop.failedSteps).toBe(1);
    expect(table.slots.every(({ length, job }) => length === 0 && job === null)).toBe(true);
    for (const { id } of table.slots) expect(native.getSequenceKvCacheMaxPosition(id)).toBe(-1);
    const next = run(text(5), 4);
    expect(await count(next)).toBe(4);
    expect(next.cachedTokens).toBe(0);
  });

  it('ends a cancelled job when its sequence is free, not in a step that hangs; one that waits at once', async () => {
    await start();
    let goOn = (): void => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const controllers = Array.from({ length: SEQUENCES + 1 }, () => new AbortController());
    const jobs = controllers.map(({ signal }, i) => run(text(4, i), 200, { signal }));
    for (const job of jobs.slice(0, SEQUENCES)) await job.next();
    watched.held = held;
    const ended: number[] = [];
    const ends = jobs.map(async (job, i) => {
      // As a host does that waits for a caller, not for the next token.
      if (i === 1) await Promise.resolve();
      const end = await (i === 1 ? job.return() : count(job)).catch((error: unknown) => error);
      ended.push(i);
      return end;
    });
    for (const controller of controllers) controller.abort();
    await ends[SEQUENCES];
    expect(ended).toEqual([SEQUENCES]);
    goOn();
    const failures = await Promise.all(ends);
    expect(failures[0]).toMatchObject({ code: 'CANCELLED' });
    expect(failures[1]).toEqual({ done: true, value: undefined });
    expect(table.slots.every(({ job }) => job === null)).toBe(true);
  });

  it('fails one job alone where its samplers fail', async () => {
    await start();
    const jobs = [run(text(5), 30), run(text(5, 1), 30), run(text(5, 2), 30)];
    await jobs[0]!.next();
    watched.failsSampler = jobs[1]!.sampler.chooser;
    const results = await Promise.allSettled(jobs.map(count));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'INTERNAL', message: 'llama.cpp: no such grammar' } });
    watched.failsSampler = null;
    const alone = run(text(5), 30);
    await alone.next();
    watched.failsSampler = alone.sampler.chooser;
    await expect(count(alone)).rejects.toMatchObject({ code: 'INTERNAL' });
    watched.failsSampler = null;
    expect(await count(run(text(5), 3))).toBe(3);
  });

  it('fails one job alone where its log probabilities fail', async () => {
    await start();
    const jobs = [run(text(5), 30), run(text(5, 1), 30, { topLogprobs: 1 })];
    await jobs[0]!.next();
    watched.failsSampler = jobs[1]!.sampler.observer;
    const results = await Promise.allSettled(jobs.map(count));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it('begins anew where a model cannot forget a part', async () => {
    await start();
    watched.refusesRemoval = true;
    await count(run(text(40), 1));
    const shorter = run([...text(30), 99, 98], 3);
    expect(await count(shorter)).toBe(3);
    expect(shorter.cachedTokens).toBe(0);
    // Nothing is to be forgotten here.
    const longer = run([...text(30), 99, 98, 97], 3);
    await count(longer);
    expect(longer.cachedTokens).toBeLessThanOrEqual(32);
    expect(loop.failedSteps).toBe(0);
  });

  it('keeps a prefix as far as a sliding window reaches back', async () => {
    await start(64, 64, null, 16);
    await count(run(text(60), 1));
    watched.firstPosition = 20;
    const reaches = run([...text(50), 99], 1);
    await count(reaches);
    expect(reaches.cachedTokens).toBe(50);
    const tooFar = run([...text(35), 98], 1);
    await count(tooFar);
    expect(tooFar.cachedTokens).toBe(0);
  });

  it('keeps every prompt moving, the long one too', async () => {
    await start(64, 8);
    const busy = run(text(4), 250);
    await busy.next();
    const done: string[] = [];
    const long = count(run(text(120, 1), 1)).then(() => done.push('long'));
    // Short ones keep coming, and would have every step.
    const short = (async () => {
      for (let i = 0; i < 40 && !done.includes('long'); i++) await count(run(text(16, i + 2), 1));
      done.push('short');
    })();
    const reading = count(busy);
    await Promise.all([long, short]);
    expect(done).toEqual(['long', 'short']);
    await busy.return();
    await reading.catch(() => {});
  });

  it.each([
    // 150 with a batch of 128 would leave 22 for later, and 130 would two.
    [[150], [85, 65]],
    [[130], [65, 65]],
    [[200], [128, 72]],
    // Too short to be two large parts.
    [[129], [128, 1]],
    // What a step has left after the first prompt is too little to begin the second one with; 20 are a whole prompt.
    [
      [100, 110],
      [100, 110],
    ],
    [
      [160, 20],
      [95, 20, 65],
    ],
  ])('reads prompts of %j in parts of %j', async (lengths, parts) => {
    await start(128, 128);
    const jobs = lengths.map((length, i) => run(text(length, i), 1));
    expect(await Promise.all(jobs.map(count))).toEqual(jobs.map(() => 1));
    expect(watched.calls.filter(({ name }) => name === 'addToBatch').map(({ tokens }) => tokens)).toEqual(parts);
  });

  it('tells those without a token that they get on', async () => {
    await start(64, 8);
    const told = { reading: 0, waiting: 0 };
    const busy = [run(text(4), 60), run(text(4, 1), 60)];
    await busy[0]!.next();
    const reading = run(text(80, 2), 1, { progress: () => told.reading++ });
    const waiting = run(text(4, 3), 1, { progress: () => told.waiting++ });
    await Promise.all([...busy, reading, waiting].map(count));
    // Ten steps of eight tokens, and a token in the last one.
    expect(told.reading).toBeGreaterThanOrEqual(9);
    expect(told.waiting).toBeGreaterThanOrEqual(9);
  });

  it('knows what every sequence holds after jobs of all kinds', async () => {
    await start(64, 16, new StepWidth(SEQUENCES));
    const random = new SeededRandom(11);
    const below = (bound: number) => Math.floor(random.next() * bound);
    const ended = { whole: 0, left: 0, cancelled: 0 };
    async function one(seed: number): Promise<void> {
      const controller = new AbortController();
      const wanted = 1 + below(40);
      const generation = run([...text(below(90), seed % 3), 90 + (seed % 9)], wanted, {
        sampling: { temperature: 1, seed },
        topLogprobs: below(3) - 1,
        signal: controller.signal,
      });
      const end = below(4);
      const at = below(wanted + 1);
      let given = 0;
      try {
        for await (const _ of generation) {
          if (++given >= at && end === 0) controller.abort();
          if (given >= at && end === 1) break;
          if (end === 2 && below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        ended[given === wanted ? 'whole' : 'left']++;
      } catch (error) {
        expect(error).toMatchObject({ code: 'CANCELLED' });
        ended.cancelled++;
      }
    }
    for (let round = 0; round < 30; round++) await Promise.all(Array.from({ length: 1 + below(6) }, (_, i) => one(round * 10 + i)));
    while (table.hasWork) await new Promise((resolve) => setImmediate(resolve));
    expect(Object.values(ended).every((count) => count > 5)).toBe(true);
    expect(loop.failedSteps).toBe(0);
    for (const { id, job, length } of table.slots) {
      expect(job).toBeNull();
      expect(native.getSequenceKvCacheMaxPosition(id)).toBe(length - 1);
    }
  });

  it('stops when nothing is to be done', async () => {
    await start();
    await count(run(text(5), 3));
    await new Promise((resolve) => setImmediate(resolve));
    const calls = watched.calls.length;
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(watched.calls).toHaveLength(calls);
  });
});
