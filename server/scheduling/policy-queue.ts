/** @hotpath every request of a model with priorities or queue timeouts waits here */

import type { InferenceRequest } from '../inference/inference-request.ts';
import { LevelQueue } from './level-queue.ts';
import { expiryNs, type QueuePolicies, type QueuePolicy } from './queue-policy.ts';
import type { RequestQueue } from './request-queue.ts';

/** Empty levels that are kept for the next request of theirs; a configuration may have any number of levels. */
const KEPT_LEVELS = 64;

/**
 * Requests by priority level (reference 7.1), level 1 first; in a level those in time before those that were delayed. A level exists while something waits in it, so that memory is bounded by what waits, not by
 * `priority_levels`.
 */
export class PolicyQueue implements RequestQueue {
  readonly isReordered: boolean = true;
  readonly #policies: QueuePolicies;
  readonly #levels: Map<number, LevelQueue> = new Map();
  /** Levels in which something waits, the first to run first. */
  readonly #active: LevelQueue[] = [];
  #length = 0;
  #nextExpiryNs = Number.POSITIVE_INFINITY;
  #sweptNs = Number.NEGATIVE_INFINITY;
  /** Where the last `at` was, as indexes are asked for in turn: a position in `#active`, and the index of its first request. */
  #cursor = 0;
  #cursorStart = 0;

  constructor(policies: QueuePolicies) {
    this.#policies = policies;
  }

  get length(): number {
    return this.#length;
  }

  get nextExpiryNs(): number {
    return this.#nextExpiryNs;
  }

  at(index: number): InferenceRequest {
    if (index < this.#cursorStart) this.#rewind();
    let level = this.#active[this.#cursor]!;
    while (index - this.#cursorStart >= level.length) {
      this.#cursorStart += level.length;
      level = this.#active[++this.#cursor]!;
    }
    return level.at(index - this.#cursorStart);
  }

  push(request: InferenceRequest): boolean {
    const level = this.#level(this.levelOf(request));
    const wasEmpty = level.length === 0;
    if (!level.push(request)) {
      if (wasEmpty) this.#forget(level);
      return false;
    }
    this.#length++;
    if (wasEmpty) this.#activate(level);
    const ns = expiryNs(request, level.policy);
    if (ns < this.#nextExpiryNs) this.#nextExpiryNs = ns;
    this.#rewind();
    return true;
  }

  maxSizeFor(request: InferenceRequest): number {
    return this.#policyOf(this.levelOf(request)).maxSize;
  }

  shift(): InferenceRequest {
    const level = this.#active[0]!;
    const request = level.shift();
    this.#length--;
    if (level.length === 0) {
      this.#active.shift();
      this.#forget(level);
    }
    this.#rewind();
    return request;
  }

  /** Nothing is swept between the time they are taken and this, so the next timeout is known still. */
  unshift(requests: readonly InferenceRequest[]): void {
    for (let i = requests.length - 1; i >= 0; i--) {
      const request = requests[i]!;
      const level = this.#level(this.levelOf(request));
      if (level.length === 0) this.#activate(level);
      level.putBack(request, this.#sweptNs);
      this.#length++;
    }
    this.#rewind();
  }

  removeIf(isGone: (request: InferenceRequest) => boolean, removed: InferenceRequest[], limit: number = Number.POSITIVE_INFINITY): number {
    let kept = 0;
    for (const level of this.#active) {
      const seen = level.removeIf(isGone, removed, limit - kept);
      kept += seen;
      if (seen < level.length) break;
    }
    this.#dropEmptyLevels();
    return kept;
  }

  expire(nowNs: number, rejected: InferenceRequest[]): void {
    this.#sweptNs = nowNs;
    let nextNs = Number.POSITIVE_INFINITY;
    for (const level of this.#active) nextNs = Math.min(nextNs, level.expire(nowNs, rejected));
    this.#nextExpiryNs = nextNs;
    this.#dropEmptyLevels();
  }

  levelOf(request: InferenceRequest): number {
    const { priority } = request;
    return priority >= 1 && priority <= this.#policies.levels ? priority : this.#policies.defaultLevel;
  }

  requestsBefore(request: InferenceRequest): number {
    const last = this.levelOf(request);
    let count = 0;
    for (const level of this.#active) {
      if (level.level > last) break;
      count += level.length;
    }
    return count;
  }

  rowsBefore(request: InferenceRequest): number {
    const last = this.levelOf(request);
    let rows = 0;
    for (const level of this.#active) {
      if (level.level > last) break;
      rows += level.rows;
    }
    return rows;
  }

  #policyOf(level: number): QueuePolicy {
    return this.#policies.byLevel.get(level) ?? this.#policies.defaultPolicy;
  }

  #level(number: number): LevelQueue {
    let level = this.#levels.get(number);
    if (level === undefined) {
      level = new LevelQueue(number, this.#policyOf(number));
      this.#levels.set(number, level);
    }
    return level;
  }

  #activate(level: LevelQueue): void {
    this.#active.splice(firstAbove(this.#active, level.level), 0, level);
  }

  #forget(level: LevelQueue): void {
    if (this.#levels.size > KEPT_LEVELS) this.#levels.delete(level.level);
  }

  #dropEmptyLevels(): void {
    const active = this.#active;
    let kept = 0;
    let length = 0;
    for (const level of active) {
      if (level.length === 0) {
        this.#forget(level);
      } else {
        active[kept++] = level;
        length += level.length;
      }
    }
    active.length = kept;
    this.#length = length;
    this.#rewind();
  }

  #rewind(): void {
    this.#cursor = 0;
    this.#cursorStart = 0;
  }
}

function firstAbove(levels: readonly LevelQueue[], level: number): number {
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (levels[middle]!.level > level) high = middle;
    else low = middle + 1;
  }
  return low;
}
