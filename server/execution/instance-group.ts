/** @hotpath picks the instance for the next batch of a model version (measured by dynamic-batch-scheduler.bench.ts) */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import { EngineNumbers } from '../metrics/engine-numbers.ts';
import type { InstanceChannel, InstanceHandle } from './execution-host.ts';

/** Deaths of hosts within the window that a model may be blamed for. */
const MAX_DEATHS = 5;
const DEATH_WINDOW_MS = 60_000;

export interface InstanceGroupInit {
  /** `name:version`. */
  readonly key: string;
  readonly metadata: ModelMetadata;
  /** An instance has room, or came back. Nothing is on the stack above it but the loop. */
  readonly onCapacity: () => void;
  /** No instance will come back; the group stays failed. Called once at most, never after `stop` began. */
  readonly onFailed: (error: InferenceError) => void;
  readonly onStop: () => Promise<void>;
  /** It is asked for an instance for the first time. */
  readonly onServing?: () => void;
  /** See {@link InstanceGroup.memoryBytes}; left out: not known. */
  readonly memoryBytes?: () => number;
}

/**
 * The instances of one model version, over all hosts that have some. It outlives its hosts: channels go when one dies and new ones come with its
 * replacement; meanwhile `take` gives what is left, or null.
 */
export class InstanceGroup<Channel extends InstanceHandle = InstanceChannel> {
  readonly key: string;
  /** The model file's own; the same from every host. */
  readonly metadata: ModelMetadata;
  readonly #onCapacity: () => void;
  readonly #onFailed: (error: InferenceError) => void;
  readonly #onStop: () => Promise<void>;
  readonly #onServing: (() => void) | null;
  readonly #memoryBytes: (() => number) | null;
  /** What its instances say of themselves, summed up. */
  readonly engine: EngineNumbers = new EngineNumbers();
  readonly #channels: Channel[] = [];
  #revision = 0;
  #maxActive = Number.POSITIVE_INFINITY;
  #next = 0;
  #isServing = false;
  #failure: InferenceError | null = null;
  #deathTimes: number[] = [];
  #isStopping = false;
  #stopped: Promise<void> | null = null;

  constructor(init: InstanceGroupInit) {
    this.key = init.key;
    this.metadata = init.metadata;
    this.#onCapacity = init.onCapacity;
    this.#onFailed = init.onFailed;
    this.#onStop = init.onStop;
    this.#onServing = init.onServing ?? null;
    this.#memoryBytes = init.memoryBytes ?? null;
  }

  /** Whether it was ever asked for an instance: from then on its hosts serve. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** Requests may come from now on; `take` says so too. */
  beginService(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    this.#onServing?.();
  }

  /**
   * What the model was seen to take: growth of its hosts' private memory (not tensor memory) while they loaded it and made its instances. An estimate:
   * what runs in a host at the same time, and its garbage collector, blur it by some MiB, and what runs take later is not in it. 0 where it is not known: inline, or not Linux.
   */
  get memoryBytes(): number {
    return this.#memoryBytes?.() ?? 0;
  }

  /** Instances that are alive now. */
  get aliveCount(): number {
    return this.#channels.length;
  }

  /** Those that are alive now, each to be warmed up; a copy. */
  get everyChannel(): Channel[] {
    return [...this.#channels];
  }

  /** Those of them that take requests. */
  get channels(): Channel[] {
    return this.#channels.slice(0, this.#maxActive);
  }

  /** The others are passive: they are there and take no requests. When a host dies they stand in, until it is replaced. */
  limitActive(count: number): void {
    this.#maxActive = count;
    this.#revision++;
    this.#onCapacity();
  }

  /** Another number whenever `channels` has changed: for who keeps work on one instance. */
  get revision(): number {
    return this.#revision;
  }

  /** Why there are no instances and will be none; null while there are, or a replacement is under way. */
  get failure(): InferenceError | null {
    return this.#failure;
  }

  get isStopped(): boolean {
    return this.#isStopping;
  }

  /**
   * The instance with the least in flight that takes a batch now, in turn where several have the same; null when none does. A batch that may still grow
   * (`isComplete` false) is not given to an instance that has something to do.
   */
  take(isComplete: boolean): Channel | null {
    if (!this.#isServing) this.beginService();
    const channels = this.#channels;
    const count = Math.min(channels.length, this.#maxActive);
    let best: Channel | null = null;
    let at = this.#next;
    for (let i = 0; i < count; i++) {
      if (at >= count) at = 0;
      const channel = channels[at]!;
      at++;
      if (!(isComplete ? channel.hasCapacity : channel.isFree)) continue;
      if (channel.inflightCount === 0) {
        this.#next = at;
        return channel;
      }
      if (best === null || channel.inflightCount < best.inflightCount) {
        best = channel;
        this.#next = at;
      }
    }
    return best;
  }

  /** A batch will be taken at the end of this tick; see {@link InstanceHandle.expect}. */
  expect(): void {
    const channels = this.#channels;
    if (channels.length > 0) channels[this.#next < channels.length ? this.#next : 0]!.expect();
  }

  /** Finishes what is in flight and releases the instances; the model is unloaded where nobody else needs it. */
  stop(): Promise<void> {
    this.#isStopping = true;
    this.#stopped ??= this.#onStop();
    return this.#stopped;
  }

  /** The pool, when an instance has room. */
  readonly tellCapacity = (): void => {
    this.#onCapacity();
  };

  /** The pool: instances that came, at first or again. */
  add(channels: readonly Channel[]): void {
    if (this.#failure !== null || this.#isStopping) return;
    this.#channels.push(...channels);
    for (const { numbers } of channels) numbers?.join(this.engine);
    this.#revision++;
    this.#onCapacity();
  }

  /** The pool: instances that are gone, or about to be released. */
  remove(channels: readonly Channel[]): void {
    for (const channel of channels) {
      const at = this.#channels.indexOf(channel);
      if (at >= 0) this.#channels.splice(at, 1);
    }
    this.#revision++;
    this.#next = 0;
  }

  /** The pool: this model was being run or loaded when a host died. True when that has happened too often. */
  blame(nowMs: number): boolean {
    this.#deathTimes = this.#deathTimes.filter((time) => nowMs - time < DEATH_WINDOW_MS);
    this.#deathTimes.push(nowMs);
    return this.#deathTimes.length >= MAX_DEATHS;
  }

  /** The pool: no instance will come any more. */
  fail(error: InferenceError): void {
    if (this.#failure !== null || this.#isStopping) return;
    this.#failure = error;
    this.#channels.length = 0;
    this.#revision++;
    this.#onFailed(error);
  }
}
