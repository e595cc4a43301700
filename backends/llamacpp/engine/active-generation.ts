/** @hotpath each token of a job: put in by the step loop, taken out by who iterates (measured by step-loop.bench.ts) */

import type { InferenceError } from '../../../proto/inference-error.ts';
import { cancelled } from './engine-errors.ts';
import type { EngineFinish, GeneratedToken, Generation, GenerationJob } from './generation-job.ts';
import type { JobSampler } from './job-sampler.ts';

/** Tokens that wait for who iterates: with so many the sequence is left out of steps, with half of them it comes back. */
export const MAX_AHEAD = 32;
const RESUME_AT = MAX_AHEAD / 2;

type Result = IteratorResult<GeneratedToken, undefined>;

const DONE: Result = { done: true, value: undefined };

/** What a job needs of the engine. */
export interface GenerationOwner {
  /** It is cancelled: what it holds is to be freed, and then `stopped` called. */
  generationCancelled(generation: ActiveGeneration): void;
  /** It was parked, and is no more. */
  generationResumed(): void;
}

/** A job, from its arrival to its end. The step loop's methods are called between its steps alone. */
export class ActiveGeneration implements Generation, AsyncIterator<GeneratedToken, undefined> {
  readonly job: GenerationJob;
  readonly sampler: JobSampler;
  cachedTokens = 0;
  finish: EngineFinish | null = null;
  /** Its consumer is behind: no steps for it now. */
  isParked = false;
  isCancelled = false;
  /** Tokens given so far. */
  produced = 0;
  readonly #owner: GenerationOwner;
  /** From `#head` on; never longer than MAX_AHEAD and what was taken of it. */
  #ready: GeneratedToken[] = [];
  #head = 0;
  #isEnded = false;
  #pendingFinish: EngineFinish | null = null;
  #error: InferenceError | null = null;
  #resolve: ((result: Result) => void) | null = null;
  #reject: ((error: InferenceError) => void) | null = null;
  #waiting: Promise<Result> | null = null;
  readonly #capture = (resolve: (result: Result) => void, reject: (error: InferenceError) => void): void => {
    this.#resolve = resolve;
    this.#reject = reject;
  };

  constructor(job: GenerationJob, sampler: JobSampler, owner: GenerationOwner) {
    this.job = job;
    this.sampler = sampler;
    this.#owner = owner;
    job.signal.addEventListener('abort', this, { once: true });
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Of `job.signal`. */
  handleEvent(): void {
    this.#cancel();
  }

  /** The step loop's: a token. */
  give(token: GeneratedToken): void {
    this.produced++;
    const resolve = this.#resolve;
    if (resolve !== null) {
      this.#resolve = null;
      this.#waiting = null;
      resolve({ done: false, value: token });
      return;
    }
    this.#ready.push(token);
    if (this.#ready.length - this.#head >= MAX_AHEAD) this.isParked = true;
  }

  /** The step loop's: no more tokens. */
  end(finish: EngineFinish): void {
    if (this.#isEnded) return;
    this.#close();
    this.#pendingFinish = finish;
    const resolve = this.#resolve;
    if (resolve === null) return;
    this.#resolve = null;
    this.finish = finish;
    resolve(DONE);
  }

  /** What it was given before comes first. */
  fail(error: InferenceError): void {
    if (this.#isEnded) return;
    this.#close();
    this.#error = error;
    if (this.#resolve === null) return;
    this.#resolve = null;
    this.#reject!(error);
  }

  /** It is cancelled, and holds no sequence any more. */
  stopped(): void {
    this.fail(cancelled());
  }

  next(): Promise<Result> {
    if (this.#resolve !== null) return this.#nextAfter(this.#waiting!);
    if (this.#head < this.#ready.length) return Promise.resolve({ done: false, value: this.#take() });
    if (this.#error !== null) return Promise.reject(this.#error);
    if (this.#isEnded) {
      this.finish = this.#pendingFinish;
      return Promise.resolve(DONE);
    }
    this.#waiting = new Promise<Result>(this.#capture);
    return this.#waiting;
  }

  async return(): Promise<Result> {
    this.#cancel();
    this.#error = null;
    // Who cancels from outside wants to know that it has stopped.
    if (this.job.signal.aborted && !this.#isEnded) await this.next().catch(() => {});
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #nextAfter(waiting: Promise<Result>): Promise<Result> {
    await waiting;
    return this.next();
  }

  #take(): GeneratedToken {
    const token = this.#ready[this.#head++]!;
    if (this.#head === this.#ready.length) {
      this.#ready.length = 0;
      this.#head = 0;
    } else if (this.#head === MAX_AHEAD) {
      this.#ready = this.#ready.slice(MAX_AHEAD);
      this.#head = 0;
    }
    if (this.isParked && this.#ready.length - this.#head <= RESUME_AT) {
      this.isParked = false;
      this.#owner.generationResumed();
    }
    return token;
  }

  /** Tokens that wait are dropped: nobody wants them. It fails when its sequence is free, so that a step without end is seen from outside. */
  #cancel(): void {
    if (this.isCancelled) return;
    this.isCancelled = true;
    this.#ready = [];
    this.#head = 0;
    if (!this.#isEnded) this.#owner.generationCancelled(this);
  }

  #close(): void {
    this.#isEnded = true;
    this.job.signal.removeEventListener('abort', this);
  }
}
