/** @hotpath one push and one shift per request of a model with a queue policy (measured by policy-queue.bench.ts) */

import type { InferenceRequest } from '../inference/inference-request.ts';
import { PendingQueue } from './pending-queue.ts';
import { expiryNs, type QueuePolicy } from './queue-policy.ts';

/** The waiting requests of one priority level: those in time, in order of arrival, then those that its policy delayed. */
export class LevelQueue {
  readonly level: number;
  readonly policy: QueuePolicy;
  readonly #ready: PendingQueue = new PendingQueue(Number.POSITIVE_INFINITY);
  #delayed: PendingQueue | null = null;

  constructor(level: number, policy: QueuePolicy) {
    this.level = level;
    this.policy = policy;
  }

  get length(): number {
    return this.#ready.length + (this.#delayed === null ? 0 : this.#delayed.length);
  }

  get rows(): number {
    return this.#ready.rows + (this.#delayed === null ? 0 : this.#delayed.rows);
  }

  at(index: number): InferenceRequest {
    const ready = this.#ready;
    return index < ready.length ? ready.at(index) : this.#delayed!.at(index - ready.length);
  }

  push(request: InferenceRequest): boolean {
    return this.length < this.policy.maxSize && this.#ready.push(request);
  }

  shift(): InferenceRequest {
    return this.#ready.length > 0 ? this.#ready.shift() : this.#delayed!.shift();
  }

  /** Back to where it was taken from: `sweptNs` is when timeouts were last acted on. */
  putBack(request: InferenceRequest, sweptNs: number): void {
    const isDelayed = this.policy.isDelayed && expiryNs(request, this.policy) <= sweptNs;
    (isDelayed ? this.#late() : this.#ready).unshift([request]);
  }

  removeIf(isGone: (request: InferenceRequest) => boolean, removed: InferenceRequest[], limit: number): number {
    const kept = this.#ready.removeIf(isGone, removed, limit);
    return this.#delayed === null || kept < this.#ready.length ? kept : kept + this.#delayed.removeIf(isGone, removed, limit - kept);
  }

  /** Acts on the timeouts that have passed; returns when the next one does. */
  expire(nowNs: number, rejected: InferenceRequest[]): number {
    const { policy } = this;
    if (policy.timeoutNs === 0) return Number.POSITIVE_INFINITY;
    const ready = this.#ready;
    if (policy.allowsOverride) return this.#expireAnywhere(nowNs, rejected);
    // All of a level have the same timeout: the oldest is the first to pass it.
    while (ready.length > 0) {
      const nextNs = expiryNs(ready.at(0), policy);
      if (nextNs > nowNs) return nextNs;
      const request = ready.shift();
      if (policy.isDelayed) this.#late().push(request);
      else rejected.push(request);
    }
    return Number.POSITIVE_INFINITY;
  }

  #expireAnywhere(nowNs: number, rejected: InferenceRequest[]): number {
    const { policy } = this;
    const late: InferenceRequest[] = [];
    let nextNs = Number.POSITIVE_INFINITY;
    this.#ready.removeIf((request) => {
      const ns = expiryNs(request, policy);
      if (ns <= nowNs) return true;
      if (ns < nextNs) nextNs = ns;
      return false;
    }, late);
    for (const request of late) {
      if (policy.isDelayed) this.#late().push(request);
      else rejected.push(request);
    }
    return nextNs;
  }

  #late(): PendingQueue {
    this.#delayed ??= new PendingQueue(Number.POSITIVE_INFINITY);
    return this.#delayed;
  }
}
