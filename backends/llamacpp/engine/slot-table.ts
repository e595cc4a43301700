import { InferenceError } from '../../../proto/inference-error.ts';
import type { AddonContext } from '../native/llama-addon.ts';
import type { ActiveGeneration } from './active-generation.ts';
import { chooseSlot, type SlotChoice } from './choose-slot.ts';
import type { EngineFinish } from './generation-job.ts';
import { SequenceSlot } from './sequence-slot.ts';

/** Which job has which sequence, and who waits for one. Touches the context in `settle`, and where a job fails: the step loop calls these between its own calls. */
export class SlotTable {
  readonly slots: readonly SequenceSlot[];
  readonly #context: AddonContext;
  readonly #slidingWindow: number;
  readonly #maxWaiting: number;
  readonly #canCopy: boolean;
  readonly #waiting: ActiveGeneration[] = [];
  readonly #choice: SlotChoice = { slot: null, shared: 0, source: null, sourceShared: 0 };
  #clock = 0;
  /** Of all jobs that got a sequence: those that found some of their prompt in it. */
  jobs = 0;
  jobsWithPrefix = 0;
  cachedPromptTokens = 0;

  /** `slidingWindow`: of the model's attention; 0: none, or unknown. */
  constructor(context: AddonContext, sequences: number, contextSize: number, slidingWindow: number, maxWaiting: number) {
    this.#context = context;
    this.#slidingWindow = slidingWindow;
    this.#maxWaiting = maxWaiting;
    this.#canCopy = typeof context.copySequenceStateFromOtherSequence === 'function';
    this.slots = Array.from({ length: sequences }, (_, id) => new SequenceSlot(id, contextSize));
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** A step, or freeing a sequence, may be due. */
  get hasWork(): boolean {
    for (const { job, length, promptLength } of this.slots) {
      if (job === null ? this.#waiting.length > 0 : job.isCancelled || !job.isParked || length < promptLength) return true;
    }
    return false;
  }

  /** Throws RESOURCE_EXHAUSTED when too many wait. */
  checkRoom(): void {
    if (this.#waiting.length < this.#maxWaiting) return;
    throw new InferenceError(
      'RESOURCE_EXHAUSTED',
      `${this.#maxWaiting} requests wait for a sequence of this model already; try again later`,
      {
        failureReason: 'REJECTED',
        retryAfterSeconds: 1,
      },
    );
  }

  add(generation: ActiveGeneration): void {
    this.#waiting.push(generation);
  }

  /** Those that wait for a sequence get on when others do. */
  waitersProgress(): void {
    for (const { job } of this.#waiting) job.progress?.();
  }

  /** True: it had no sequence yet, and is forgotten. */
  removeWaiting(generation: ActiveGeneration): boolean {
    const at = this.#waiting.indexOf(generation);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    generation.sampler.dispose();
    generation.stopped();
    return true;
  }

  /** Frees sequences of cancelled jobs, gives free ones to jobs that wait. A promise where memory is copied: no call of the context before it is done. */
  settle(): Promise<void> | null {
    for (const slot of this.slots) if (slot.job?.isCancelled === true) this.#release(slot);
    return this.#waiting.length === 0 ? null : this.#assign();
  }

  /** The job has all its tokens; its sequence keeps them. */
  end(slot: SequenceSlot, finish: EngineFinish): void {
    slot.job!.end(finish);
    this.#release(slot);
  }

  /** What the sequence holds is in doubt: it is emptied. */
  fail(slot: SequenceSlot, error: InferenceError): void {
    slot.job?.fail(error);
    this.#release(slot);
    this.#clear(slot);
  }

  failAll(error: InferenceError): void {
    for (const slot of this.slots) if (slot.job !== null) this.fail(slot, error);
    for (const generation of this.#waiting.splice(0)) {
      generation.fail(error);
      generation.sampler.dispose();
    }
  }

  #assign(): Promise<void> | null {
    const choice = this.#choice;
    while (this.#waiting.length > 0) {
      const generation = this.#waiting[0]!;
      const { prompt } = generation.job;
      chooseSlot(this.slots, prompt, this.#canCopy, choice);
      const { slot, source } = choice;
      if (slot === null) return null;
      this.#waiting.shift();
      if (source !== null) return this.#copyThenAssign(generation, slot, source, choice.sourceShared);
      this.#begin(slot, generation, choice.shared);
    }
    return null;
  }

  async #copyThenAssign(generation: ActiveGeneration, slot: SequenceSlot, source: SequenceSlot, shared: number): Promise<void> {
    let kept = 0;
    try {
      this.#clear(slot);
      await this.#context.copySequenceStateFromOtherSequence!(slot.id, source.id);
      slot.length = source.length;
      kept = shared;
      slot.tokens.set(source.tokens.subarray(0, source.length));
    } catch {
      this.#clear(slot);
    }
    this.#begin(slot, generation, kept);
    await this.#assign();
  }

  #begin(slot: SequenceSlot, generation: ActiveGeneration, shared: number): void {
    const { prompt } = generation.job;
    // The logits after the last token are computed with it.
    const kept = this.#keep(slot, Math.min(shared, prompt.length - 1));
    slot.tokens.set(prompt);
    slot.length = kept;
    slot.end = prompt.length;
    slot.promptLength = prompt.length;
    slot.job = generation;
    slot.lastUsed = ++this.#clock;
    generation.cachedTokens = kept;
    this.jobs++;
    if (kept > 0) this.jobsWithPrefix++;
    this.cachedPromptTokens += kept;
  }

  /** Forgets what follows the first `wanted` tokens. How many are left: all of those, or none where this model's memory cannot do that. */
  #keep(slot: SequenceSlot, wanted: number): number {
    if (slot.length === 0) return 0;
    const context = this.#context;
    if (wanted > 0 && wanted < slot.length) {
      const first = context.getSequenceKvCacheMinPosition(slot.id);
      // A sliding window must reach back from the first new token as far as it looks.
      const reaches = first === 0 || (this.#slidingWindow > 0 && first <= wanted - this.#slidingWindow);
      if (!reaches || !context.removeTokenCellsFromSequence(slot.id, wanted, -1)) return this.#clear(slot);
    }
    if (wanted === 0 || context.getSequenceKvCacheMaxPosition(slot.id) !== wanted - 1) return this.#clear(slot);
    return wanted;
  }

  #clear(slot: SequenceSlot): 0 {
    slot.length = 0;
    slot.end = 0;
    try {
      this.#context.removeTokenCellsFromSequence(slot.id, -1, -1);
    } catch {
      // The next job of this sequence fails, with the reason.
    }
    return 0;
  }

  #release(slot: SequenceSlot): void {
    const { job } = slot;
    job?.sampler.dispose();
    if (job?.isCancelled === true) job.stopped();
    slot.job = null;
    slot.end = slot.length;
    slot.promptLength = 0;
    slot.lastUsed = ++this.#clock;
  }
}
