import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../bench/models/gguf/small-models.ts';
import { modelConfig } from '../../api/backend.case.ts';
import { readLlamaOptions } from '../options/llama-options.ts';
import { MAX_AHEAD } from './active-generation.ts';
import type { GeneratedToken, Generation, GenerationJob, SamplerSettings } from './generation-job.ts';
import { LlamaEngine } from './llama-engine.ts';

const VOCABULARY = 384;
const CONTEXT = 256;
const folder = mkdtempSync(join(tmpdir(), 'engine-'));
const file = join(folder, 'model.gguf');
writeFileSync(file, tinyLlama({ context: 4096 }));
const ending = join(folder, 'ending.gguf');
writeFileSync(ending, tinyLlama({ context: 4096, endBias: 9 }));
const open = new Set<LlamaEngine>();

afterEach(async () => {
  for (const engine of open) await engine.close();
  open.clear();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function engineWith(parameters: Record<string, string | number> = {}, path: string = file): Promise<LlamaEngine> {
  const all = { threads: 1, context_size: CONTEXT, ...parameters };
  const config = modelConfig({
    parameters: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, { stringValue: String(value) }])),
  });
  const engine = await LlamaEngine.open(
    path,
    readLlamaOptions(config),
    { log: () => {} },
    { architecture: 'llama', vocabularySize: VOCABULARY, layers: 2, slidingWindow: 0 },
  );
  open.add(engine);
  return engine;
}

function job(
  prompt: readonly number[] | Uint32Array,
  maxTokens: number,
  given: Partial<GenerationJob> = {},
  sampling: Partial<SamplerSettings> = {},
): GenerationJob {
  return {
    prompt: Uint32Array.from(prompt),
    maxTokens,
    sampling: { temperature: 0, ...sampling },
    grammar: null,
    topLogprobs: -1,
    ignoresEnd: false,
    minTokens: 0,
    stopTokens: new Set(),
    signal: new AbortController().signal,
    ...given,
  };
}

function numbers(count: number, seed = 0): number[] {
  return Array.from({ length: count }, (_, i) => 33 + ((i * 31 + seed * 17 + ((i * i) % 7)) % 90));
}

async function all(generation: Generation): Promise<GeneratedToken[]> {
  const given: GeneratedToken[] = [];
  for await (const token of generation) given.push(token);
  return given;
}

async function ids(generation: Generation): Promise<number[]> {
  return (await all(generation)).map(({ token }) => token);
}

describe('LlamaEngine', () => {
  it('gives as many tokens as asked for, and says so', async () => {
    const engine = await engineWith();
    const generation = engine.generate(job(numbers(5), 9));
    expect(generation.finish).toBeNull();
    const given = await all(generation);
    expect(given).toHaveLength(9);
    expect(given[0]).toEqual({ token: expect.any(Number), logprob: Number.NaN, top: null });
    expect(generation.finish).toBe('length');
    expect(engine.statistics()).toMatchObject({
      promptTokens: 5,
      generatedTokens: 9,
      steps: 9,
      kvTokensUsed: 5 + 8,
      kvTokensTotal: 4 * CONTEXT,
    });
  });

  it('repeats a text with its seed, and not with another', async () => {
    const engine = await engineWith();
    const run = (seed: number) => ids(engine.generate(job(numbers(6), 24, {}, { temperature: 1, topP: 0.95, seed })));
    const first = await run(7);
    expect(await run(7)).toEqual(first);
    expect(await run(8)).not.toEqual(first);
  });

  it('leaves nothing of a job to the next one, whatever it had set', async () => {
    const engine = await engineWith({ sequences: 1 });
    const plain = (seed: number) => ids(engine.generate(job(numbers(6), 24, {}, { temperature: 1, seed })));
    const odd: Partial<SamplerSettings>[] = [
      { temperature: 0 },
      { temperature: 2, topK: 2, topP: 0.3, minP: 0.2, seed: 7 },
      { temperature: 1, repetitionPenalty: 1.9, frequencyPenalty: 2, presencePenalty: 2, penaltyLastTokens: 8, seed: 6 },
      { temperature: 1, logitBias: new Map([[70, 1000]]), seed: 7 },
    ];
    const first = await plain(7);
    for (const sampling of odd) {
      await ids(engine.generate(job(numbers(6), 8, { minTokens: 3, topLogprobs: 2 }, sampling)));
      expect(await plain(7)).toEqual(first);
    }
    await ids(engine.generate(job(numbers(6), 8, { grammar: 'root ::= [0-9]+' }, { temperature: 1, seed: 7 })));
    expect(await plain(7)).toEqual(first);
    await ids(engine.generate(job(numbers(6), 8, {}, { temperature: 1, seed: 6 })));
    expect(await plain(7)).toEqual(first);
  });

  it('takes another seed each time when none is given', async () => {
    const engine = await engineWith();
    const run = () => ids(engine.generate(job(numbers(6), 24, {}, { temperature: 1.5 })));
    expect(await run()).not.toEqual(await run());
  });

  it('goes on from a prefix that a sequence has, as from the start', async () => {
    const prompt = numbers(60);
    const fresh = await engineWith({ sequences: 1 });
    const alone = await ids(fresh.generate(job(prompt, 12)));
    const engine = await engineWith({ sequences: 1 });
    await ids(engine.generate(job(prompt.slice(0, 40), 4)));
    const before = engine.statistics();
    const generation = engine.generate(job(prompt, 12));
    expect(await ids(generation)).toEqual(alone);
    expect(generation.cachedTokens).toBe(40);
    const after = engine.statistics();
    expect(after.cachedPromptTokens - before.cachedPromptTokens).toBe(40);
    expect(after.promptTokens - before.promptTokens).toBe(20);
    expect(after.jobsWithPrefix).toBe(1);
  });

  it('computes the last token of a prompt that it has whole', async () => {
    const engine = await engineWith({ sequences: 1 });
    const first = await ids(engine.generate(job(numbers(50), 3)));
    const { steps } = engine.statistics();
    const generation = engine.generate(job(numbers(50), 3));
    expect(await ids(generation)).toEqual(first);
    expect(generation.cachedTokens).toBe(49);
    // One for each token: the first comes as soon as any other.
    expect(engine.statistics().steps).toBe(steps + 3);
  });

  it('keeps an answer for the next turn of a conversation', async () => {
    const engine = await engineWith({ sequences: 2 });
    const answer = await ids(engine.generate(job(numbers(30), 10)));
    await ids(engine.generate(job(numbers(30, 5), 10)));
    const next = engine.generate(job([...numbers(30), ...answer, ...numbers(8, 2)], 2));
    await ids(next);
    // Its last token was chosen, but not computed.
    expect(next.cachedTokens).toBe(39);
  });

  it('copies a prefix from a sequence that is busy', async () => {
    const prefix = numbers(100);
    const fresh = await engineWith({ sequences: 1 });
    const alone = await ids(fresh.generate(job([...prefix, 40, 41, 42], 16)));
    const engine = await engineWith({ sequences: 2 });
    const busy = engine.generate(job([...prefix, 50], 150));
    const iterator = busy[Symbol.asyncIterator]();
    const started = [(await iterator.next()).value.token];
    const other = engine.generate(job([...prefix, 40, 41, 42], 16));
    expect(await ids(other)).toEqual(alone);
    expect(other.cachedTokens).toBe(100);
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) started.push(next.value.token);
    const again = await engineWith({ sequences: 1 });
    expect(started).toEqual(await ids(again.generate(job([...prefix, 50], 150))));
  });

  it('frees a cancelled sequence within a step', async () => {
    const engine = await engineWith({ sequences: 1 });
    const controller = new AbortController();
    const iterator = engine.generate(job(numbers(5), 1000, { signal: controller.signal }))[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort();
    const { steps } = engine.statistics();
    await expect(iterator.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    const next = engine.generate(job(numbers(5, 3), 1));
    await ids(next);
    // The step that ran, and the one of the other job.
    expect(engine.statistics().steps).toBeLessThanOrEqual(steps + 2);
    expect(engine.statistics()).toMatchObject({ runningSequences: 0, parkedSequences: 0 });
  });

  it('frees a sequence whose iteration is left', async () => {
    const engine = await engineWith({ sequences: 1 });
    for await (const _ of engine.generate(job(numbers(5), 1000))) break;
    expect(await ids(engine.generate(job(numbers(6, 1), 3)))).toHaveLength(3);
    expect(engine.statistics().generatedTokens).toBeLessThan(10);
  });

  it('cancels what waits, and refuses what is cancelled already', async () => {
    const engine = await engineWith({ sequences: 1 });
    const running = engine.generate(job(numbers(5), 20));
    const controller = new AbortController();
    const waiting = engine.generate(job(numbers(5), 20, { signal: controller.signal }));
    controller.abort();
    expect(engine.statistics().waitingJobs).toBe(1);
    await expect(all(waiting)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await ids(running)).toHaveLength(20);
    expect(() => engine.generate(job(numbers(5), 20, { signal: controller.signal }))).toThrow(/cancelled/);
    expect(engine.statistics().jobs).toBe(1);
  });

  it('runs sixteen jobs on four sequences', async () => {
    const engine = await engineWith({ sequences: 4 });
    const jobs = Array.from({ length: 16 }, (_, i) => engine.generate(job(numbers(5 + i, i), 8 + i, {}, { temperature: 1, seed: i })));
    const texts = await Promise.all(jobs.map(ids));
    expect(texts.map((text) => text.length)).toEqual(texts.map((_, i) => 8 + i));
    expect(engine.statistics()).toMatchObject({ jobs: 16, waitingJobs: 0, runningSequences: 0 });
    // Four at a time.
    expect(engine.statistics().steps).toBeLessThan(texts.flat().length / 2);
  });

  it('refuses what is too much to wait', async () => {
    const engine = await engineWith({ sequences: 1 });
    const jobs = Array.from({ length: 4 }, () => engine.generate(job(numbers(5), 2)));
    expect(() => engine.generate(job(numbers(5), 2))).toThrow(/4 requests wait/);
    expect((await Promise.all(jobs.map(ids))).flat()).toHaveLength(8);
  });

  it('goes on with others while a long prompt is read', async () => {
    const engine = await engineWith({ sequences: 2, context_size: 2200, batch_size: 512, prefill_chunk: 100 });
    const iterator = engine.generate(job(numbers(4), 1000))[Symbol.asyncIterator]();
    await iterator.next();
    const start = engine.statistics();
    const long = engine.generate(job(numbers(2000, 9), 1))[Symbol.asyncIterator]();
    let isRead = false;
    const reading = long.next().then(() => {
      isRead = true;
    });
    let tokens = 0;
    while (!isRead) {
      await iterator.next();
      tokens++;
    }
    await reading;
    const { steps } = engine.statistics();
    // Twenty steps, and one token of the other in each.
    expect(steps - start.steps).toBeGreaterThanOrEqual(20);
    expect(tokens).toBeGreaterThanOrEqual(19);
    expect(tokens).toBeLessThanOrEqual(26);
    await iterator.return?.();
  });

  it('reads prompts in whole batches while nobody generates', async () => {
    const engine = await engineWith({ sequences: 2, context_size: 2200, batch_size: 512, prefill_chunk: 10 });
    await ids(engine.generate(job(numbers(2000), 1)));
    expect(engine.statistics().steps).toBe(4);
  });

  it('lets a short prompt pass a long one, and both end', async () => {
    const engine = await engineWith({ sequences: 3, context_size: 2200, prefill_chunk: 50 });
    const iterator = engine.generate(job(numbers(4), 2000))[Symbol.asyncIterator]();
    await iterator.next();
    const order: string[] = [];
    const long = ids(engine.generate(job(numbers(1000, 3), 1))).then(() => order.push('long'));
    const short = ids(engine.generate(job(numbers(60, 4), 1))).then(() => order.push('short'));
    const both = Promise.all([long, short]);
    while (order.length < 2) await iterator.next();
    await both;
    expect(order).toEqual(['short', 'long']);
    await iterator.return?.();
  });

  it('ends where the context is full', async () => {
    const engine = await engineWith({ sequences: 1, context_size: 64 });
    const generation = engine.generate(job(numbers(50), 1000));
    expect(await ids(generation)).toHaveLength(15);
    expect(generation.finish).toBe('length');
    expect(() => engine.generate(job(numbers(64), 1))).toThrow(/64 tokens and one to come do not fit the context of 64/);
    // The last token is given, though it has no place any more.
    expect(await ids(engine.generate(job(numbers(63), 5)))).toHaveLength(2);
  });

  it('ends at an end-of-generation token, when it may', async () => {
    const engine = await engineWith({}, ending);
    const run = async (given: Partial<GenerationJob>) => {
      const generation = engine.generate(job(numbers(5), 60, given, { temperature: 1, seed: 3 }));
      return { tokens: await ids(generation), finish: generation.finish };
    };
    const ended = await run({});
    expect(ended.finish).toBe('stop');
    expect(ended.tokens.length).toBeLessThan(60);
    expect(ended.tokens.some((token) => engine.isEog(token))).toBe(false);
    const later = await run({ minTokens: 30 });
    expect(later.finish).toBe('stop');
    expect(later.tokens.length).toBeGreaterThanOrEqual(30);
    const never = await run({ ignoresEnd: true });
    expect(never).toMatchObject({ finish: 'length' });
    expect(never.tokens).toHaveLength(60);
    expect(never.tokens.some((token) => engine.isEog(token))).toBe(false);
  });

  it('ends at a stop token, without giving it', async () => {
    const engine = await engineWith();
    const text = await ids(engine.generate(job(numbers(7), 30)));
    const stop = text[10]!;
    const generation = engine.generate(job(numbers(7), 30, { stopTokens: new Set([stop]) }));
    expect(await ids(generation)).toEqual(text.slice(0, text.indexOf(stop)));
    expect(generation.finish).toBe('stop');
  });

  it('adds to logits, and penalises', async () => {
    const engine = await engineWith();
    const [first] = await ids(engine.generate(job(numbers(7), 1)));
    const biased = await ids(engine.generate(job(numbers(7), 5, {}, { logitBias: new Map([[65, 1000]]) })));
    expect(biased).toEqual([65, 65, 65, 65, 65]);
    const never = await ids(engine.generate(job(numbers(7), 1, {}, { logitBias: new Map([[first!, Number.NEGATIVE_INFINITY]]) })));
    expect(never).not.toEqual([first]);
    const bias = new Map([65, 66, 67].map((token, i) => [token, 1000 - 20 * i]));
    const penalised = await ids(engine.generate(job(numbers(7), 3, {}, { logitBias: bias, presencePenalty: 50 })));
    expect(penalised).toEqual([65, 66, 67]);
    const counted = await ids(engine.generate(job([65, 65, 66], 2, {}, { logitBias: bias, repetitionPenalty: 2 })));
    expect(counted[0]).toBe(67);
  });

  it('tells log probabilities that sum to one and match', async () => {
    const engine = await engineWith();
    const jobs = [20, 0, -1].map((topLogprobs, seed) =>
      all(engine.generate(job(numbers(9), 6, { topLogprobs }, { temperature: 1.2, topK: 3, seed, logitBias: new Map([[70, 3]]) }))),
    );
    const [top, chosenOnly, none] = await Promise.all(jobs);
    for (const { token, logprob, top: likeliest } of top!) {
      expect(likeliest).toHaveLength(20);
      const sorted = likeliest!.map((entry) => entry.logprob);
      expect(sorted).toEqual(sorted.toSorted((a, b) => b - a));
      const found = likeliest!.find((entry) => entry.token === token);
      if (found !== undefined) expect(logprob).toBeCloseTo(found.logprob, 5);
      else expect(logprob).toBeLessThanOrEqual(sorted.at(-1)!);
      const sum = sorted.reduce((total, value) => total + Math.exp(value), 0);
      expect(sum).toBeLessThanOrEqual(1.0001);
      expect(new Set(likeliest!.map((entry) => entry.token)).size).toBe(20);
    }
    for (const { logprob, top: likeliest } of chosenOnly!) {
      expect(logprob).toBeLessThan(0);
      expect(likeliest).toEqual([]);
    }
    expect(none!.every(({ logprob, top: likeliest }) => Number.isNaN(logprob) && likeliest === null)).toBe(true);
    const [whole] = await all(engine.generate(job(numbers(9), 1, { topLogprobs: VOCABULARY })));
    expect(whole!.top!.reduce((total, { logprob }) => total + Math.exp(logprob), 0)).toBeCloseTo(1, 4);
    const [greedy] = await all(engine.generate(job(numbers(9), 1, { topLogprobs: 0 })));
    expect(greedy!.logprob).toBeCloseTo(whole!.top![0]!.logprob, 5);
  });

  it('keeps to a grammar, and ends with it', async () => {
    const engine = await engineWith();
    const grammar = 'root ::= "yes" | "no" | [0-9]{4}';
    for (let seed = 0; seed < 8; seed++) {
      const generation = engine.generate(job(numbers(5), 60, { grammar, minTokens: 20, ignoresEnd: true }, { temperature: 1, seed }));
      const text = (await ids(generation)).map((token) => engine.tokenText(token)).join('');
      expect(text).toMatch(/^(?:yes|no|[0-9]{4})$/);
      expect(generation.finish).toBe('stop');
    }
    expect(() => engine.generate(job(numbers(5), 6, { grammar: 'root ::= (' }))).toThrow(/^grammar: expected GBNF/);
    expect(await ids(engine.generate(job(numbers(5), 6)))).toHaveLength(6);
  });

  it('parks a sequence whose reader is slow, and others go on', async () => {
    const engine = await engineWith({ sequences: 2 });
    const slow = engine.generate(job(numbers(5), 100));
    const iterator = slow[Symbol.asyncIterator]();
    await iterator.next();
    const other = await ids(engine.generate(job(numbers(5, 2), 120)));
    expect(other).toHaveLength(120);
    expect(engine.statistics()).toMatchObject({ parkedSequences: 1, runningSequences: 1, generatedTokens: 120 + 1 + MAX_AHEAD });
    let rest = 0;
    while (!(await iterator.next()).done) rest++;
    expect(rest).toBe(99);
    expect(slow.finish).toBe('length');
  });

  it('fails what runs when it is closed, and what comes later', async () => {
    const engine = await engineWith({ sequences: 1 });
    const running = all(engine.generate(job(numbers(5), 200)));
    const waiting = all(engine.generate(job(numbers(5), 200)));
    const failed = Promise.allSettled([running, waiting]);
    await engine.close();
    for (const result of await failed) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE' } });
    expect(() => engine.generate(job(numbers(5), 1))).toThrow(/unloaded/);
    await engine.close();
  });

  it('refuses prompts that are none', async () => {
    const engine = await engineWith();
    expect(() => engine.generate(job([], 1))).toThrow(/^prompt: expected at least one token/);
    expect(() => engine.generate(job([VOCABULARY], 1))).toThrow(/^prompt: expected tokens from 0 to 383, got 384 at 0/);
  });

  it('says what a file is that is no model', async () => {
    const path = join(folder, 'none.gguf');
    writeFileSync(path, tinyLlama().subarray(0, 3000));
    await expect(engineWith({}, path)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/^llama.cpp does not load this file: (?!.*engine-)/),
    });
  });

  it('refuses a context past what the model was trained with', async () => {
    await expect(engineWith({ context_size: 5000 })).rejects.toThrow(/context_size'\]: expected at most 4096/);
  });
});
