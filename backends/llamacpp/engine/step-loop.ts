/** @hotpath each step: one batch of all sequences through the model, a token for each that generates */

import type { AddonContext, AddonSampler, SampledLogits } from '../native/llama-addon.ts';
import { nativeFailure, unloaded } from './engine-errors.ts';
import { readLogprobs } from './read-logprobs.ts';
import type { SequenceSlot } from './sequence-slot.ts';
import type { SlotTable } from './slot-table.ts';
import type { StepWidth } from './step-width.ts';

export interface StepLimits {
  readonly batchSize: number;
  readonly prefillChunk: number;
  readonly contextSize: number;
  /** Null: a step takes every sequence that generates. */
  readonly width: StepWidth | null;
}

const NO_LOGITS: Uint32Array = new Uint32Array(0);
const FIRST: Uint32Array = Uint32Array.of(0);
/** llama.cpp computes the attention of so many tokens of a sequence together; that of fewer one by one, on a CPU in up to fifteen times the time. With one for the step's other sequences. */
const TOGETHER = 64 + 1;

/**
 * Runs the jobs of all sequences through one context: a step computes a token of each sequence that generates, and some of the prompts; then a token is chosen for each. The only one that
 * calls the context, one call at a time.
 */
export class StepLoop {
  readonly #context: AddonContext;
  readonly #table: SlotTable;
  readonly #limits: StepLimits;
  /** 1 at each end-of-generation token. */
  readonly #isEnd: Uint8Array;
  readonly #prefilling: SequenceSlot[] = [];
  readonly #sampled: SequenceSlot[] = [];
  readonly #choices: Promise<number>[] = [];
  readonly #lastOfChunk: Uint32Array = new Uint32Array(1);
  /** Sequences with a prompt to read, of the step that runs. */
  #prefilled = 0;
  /** The sequence that is the next one's turn, where a step does not take all. */
  #turn = 0;
  #running: Promise<void> | null = null;
  #isStopped = false;
  steps = 0;
  failedSteps = 0;
  promptTokens = 0;
  generatedTokens = 0;

  constructor(context: AddonContext, table: SlotTable, limits: StepLimits, isEnd: Uint8Array) {
    this.#context = context;
    this.#table = table;
    this.#limits = limits;
    this.#isEnd = isEnd;
  }

  /** There may be something to do: a job arrived, was cancelled, or has room for tokens again. */
  wake(): void {
    if (this.#running === null && !this.#isStopped) this.#running = this.#run();
  }

  /** After the step that runs; jobs that have not ended fail. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
    this.#table.failAll(unloaded());
  }

  async #run(): Promise<void> {
    // Jobs of one turn of the event loop begin together.
    await null;
    try {
      while (!this.#isStopped) {
        const copying = this.#table.settle();
        if (copying !== null) await copying;
        if (!(await this.#step())) break;
      }
    } catch (error) {
      // Nothing above leaves the sequences in a known state.
      this.failedSteps++;
      this.#table.failAll(nativeFailure(error));
    }
    this.#running = null;
    // What arrived meanwhile asked a loop that was still there.
    if (this.#table.hasWork) this.wake();
  }

  /** False: nothing to do. */
  async #step(): Promise<boolean> {
    const { slots } = this.#table;
    const total = this.#share(slots);
    if (total === 0) return false;
    const context = this.#context;
    const startMs = performance.now();
    context.initBatch(total);
    this.#fill(slots);
    this.steps++;
    try {
      await context.decodeBatch();
    } catch (error) {
      this.#failStep(slots, error);
      return true;
    }
    this.#table.waitersProgress();
    const sampled = this.#sampled;
    sampled.length = 0;
    for (const slot of slots) {
      if (slot.share === 0) continue;
      slot.length += slot.share;
      if (slot.length < slot.end) {
        this.promptTokens += slot.share;
        slot.job?.job.progress?.();
      } else {
        if (slot.length === slot.promptLength) this.promptTokens += slot.share;
        if (slot.job !== null && !slot.job.isCancelled) sampled.push(slot);
      }
    }
    if (sampled.length === 1) {
      const [slot] = sampled as [SequenceSlot];
      try {
        const { chooser, observer } = slot.job!.sampler;
        const token = await context.sampleToken(slot.lastInBatch, chooser);
        this.#give(slot, token, observer === null ? null : await this.#observe(slot, token, observer));
      } catch (error) {
        this.#table.fail(slot, nativeFailure(error));
      }
    } else if (sampled.length > 1) {
      await this.#sampleAll(sampled);
    }
    if (this.#prefilled === 0) this.#limits.width?.record(total, performance.now() - startMs);
    return true;
  }

  /** How many tokens of each sequence the step has, and of all. */
  #share(slots: readonly SequenceSlot[]): number {
    const prefilling = this.#prefilling;
    prefilling.length = 0;
    let generating = 0;
    for (const slot of slots) {
      slot.share = 0;
      const { job } = slot;
      if (job === null) continue;
      if (slot.length < slot.promptLength) prefilling.push(slot);
      else if (!job.isParked) {
        slot.share = 1;
        generating++;
      }
    }
    const { batchSize, prefillChunk, width } = this.#limits;
    this.#prefilled = prefilling.length;
    if (prefilling.length === 0)
      return width === null || generating < 2 ? generating : this.#takeTurns(slots, width.choose(generating), generating);
    let left = generating === 0 ? batchSize : Math.min(prefillChunk, batchSize - generating);
    let total = generating;
    // The shortest first, and in every other step the one that waits longest, so that none waits for ever.
    let oldestFirst = (this.steps & 1) === 1;
    while (left > 0 && prefilling.length > 0) {
      let at = 0;
      for (let i = 1; i < prefilling.length; i++) if (isBefore(prefilling[i]!, prefilling[at]!, oldestFirst)) at = i;
      const slot = prefilling[at]!;
      slot.share = shareOf(slot.promptLength - slot.length, left, total === generating);
      left -= slot.share;
      total += slot.share;
      oldestFirst = false;
      prefilling[at] = prefilling.at(-1)!;
      prefilling.length--;
    }
    return total;
  }

  /** Leaves `width` of those that generate in the step. */
  #takeTurns(slots: readonly SequenceSlot[], width: number, generating: number): number {
    if (width === generating) return generating;
    let left = width;
    const first = this.#turn;
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[(first + i) % slots.length]!;
      if (slot.share === 0) continue;
      if (left > 0) {
        left--;
        this.#turn = slot.id + 1;
      } else slot.share = 0;
    }
    return width;
  }

  /** In the order of the ids: llama.cpp computes neighbours together. */
  #fill(slots: readonly SequenceSlot[]): void {
    const context = this.#context;
    let filled = 0;
    for (const slot of slots) {
      const { share, length } = slot;
      if (share === 0) continue;
      filled += share;
      slot.lastInBatch = filled - 1;
      if (share === 1) {
        slot.oneToken[0] = slot.tokens[length]!;
        context.addToBatch(slot.id, length, slot.oneToken, length + 1 === slot.end ? FIRST : NO_LOGITS);
      } else {
        this.#lastOfChunk[0] = share - 1;
        context.addToBatch(
          slot.id,
          length,
          slot.tokens.subarray(length, length + share),
          length + share === slot.end ? this.#lastOfChunk : NO_LOGITS,
        );
      }
    }
  }

  async #sampleAll(sampled: readonly SequenceSlot[]): Promise<void> {
    const choices = this.#choices;
    choices.length = 0;
    const context = this.#context;
    for (const slot of sampled) choices.push(context.sampleToken(slot.lastInBatch, slot.job!.sampler.chooser));
    // Settled, all of them: the context must not be called while one still runs.
    const results = await Promise.allSettled(choices);
    let observing = false;
    for (let i = 0; i < sampled.length; i++) {
      const slot = sampled[i]!;
      const result = results[i]!;
      if (result.status === 'rejected') this.#table.fail(slot, nativeFailure(result.reason));
      else if (slot.job!.sampler.observer === null) this.#give(slot, result.value, null);
      else observing = true;
    }
    if (observing) await this.#observeAll(sampled, results);
  }

  /** A second round, for those who asked for log probabilities. */
  async #observeAll(sampled: readonly SequenceSlot[], chosen: readonly PromiseSettledResult<number>[]): Promise<void> {
    const observed = sampled.map((slot, i) => {
      const observer = slot.job?.sampler.observer ?? null;
      const choice = chosen[i]!;
      return observer === null || choice.status === 'rejected' ? null : this.#observe(slot, choice.value, observer);
    });
    const results = await Promise.allSettled(observed);
    for (let i = 0; i < sampled.length; i++) {
      const slot = sampled[i]!;
      const result = results[i]!;
      const choice = chosen[i]!;
      if (result.status === 'rejected') this.#table.fail(slot, nativeFailure(result.reason));
      else if (result.value !== null && choice.status === 'fulfilled') this.#give(slot, choice.value, result.value);
    }
  }

  #observe(slot: SequenceSlot, token: number, observer: AddonSampler): Promise<SampledLogits> {
    // Its own choice is the likeliest token: what the others' logits are measured from.
    return this.#context.sampleToken(
      slot.lastInBatch,
      observer,
      false,
      false,
      [[token], false, false, true, slot.job!.job.topLogprobs],
      true,
    );
  }

  /** A sequence's next token: given, unless it ends the job. */
  #give(slot: SequenceSlot, token: number, logits: SampledLogits | null): void {
    const generation = slot.job!;
    const { job } = generation;
    if (generation.isCancelled) return;
    if (token < 0) {
      this.#table.fail(slot, nativeFailure(new Error('the samplers left no token to choose from')));
    } else if (this.#isEnd[token] === 1 || job.stopTokens.has(token)) {
      this.#table.end(slot, 'stop');
    } else {
      this.generatedTokens++;
      generation.give(logits === null ? { token, logprob: Number.NaN, top: null } : readLogprobs(token, logits, job.topLogprobs));
      if (generation.produced >= job.maxTokens || slot.end >= this.#limits.contextSize) {
        this.#table.end(slot, 'length');
      } else {
        slot.tokens[slot.end++] = token;
        if (generation.produced === generation.sampler.endsBiasedUntil) generation.sampler.allowEnds(slot.tokens.subarray(0, slot.end));
      }
    }
  }

  #failStep(slots: readonly SequenceSlot[], error: unknown): void {
    this.failedSteps++;
    for (const slot of slots) if (slot.share > 0) this.#table.fail(slot, nativeFailure(error));
  }
}

/** Of a prompt's `rest`, what the next step reads of it, `most` at most: no few tokens now or later, where that takes no more steps. 0: in a later one, as others are read now. */
function shareOf(rest: number, most: number, isFirst: boolean): number {
  if (rest <= most) return rest;
  if (most < TOGETHER) return isFirst ? most : 0;
  return rest - most < TOGETHER && rest >= 2 * TOGETHER ? rest - TOGETHER : most;
}

function isBefore(one: SequenceSlot, other: SequenceSlot, oldestFirst: boolean): boolean {
  if (oldestFirst) return one.lastUsed < other.lastUsed;
  return one.promptLength - one.length < other.promptLength - other.length;
}
