/** @hotpath every request waits here, if only until the end of its tick */

import type { InferenceRequest } from '../inference/inference-request.ts';
import type { RequestQueue } from './request-queue.ts';

/**
 * Requests that wait for an instance, in order of arrival. A ring that doubles up to its bound:
 *
 *     slots   [ . . c d e . . . ]      head = 2, length = 3
 *                   ^head
 *
 * `at(0)` is the oldest. Nothing is moved when the front leaves; only `removeIf` (cancels, which are rare) closes gaps.
 */
export class PendingQueue implements RequestQueue {
  readonly maxSize: number;
  readonly nextExpiryNs: number = Number.POSITIVE_INFINITY;
  readonly isReordered: boolean = false;
  #slots: (InferenceRequest | undefined)[];
  #mask: number;
  #head = 0;
  #length = 0;
  #rows = 0;

  /** `maxSize`: how many requests may wait; `push` refuses the next one. */
  constructor(maxSize: number) {
    this.maxSize = maxSize;
    this.#slots = new Array<InferenceRequest | undefined>(16);
    this.#mask = 15;
  }

  get length(): number {
    return this.#length;
  }

  /** Sum of the waiting requests' batch sizes. */
  get rows(): number {
    return this.#rows;
  }

  at(index: number): InferenceRequest {
    return this.#slots[(this.#head + index) & this.#mask] as InferenceRequest;
  }

  /** False, and nothing done, when the queue is full. */
  push(request: InferenceRequest): boolean {
    if (this.#length >= this.maxSize) return false;
    if (this.#length > this.#mask) this.#grow();
    this.#slots[(this.#head + this.#length) & this.#mask] = request;
    this.#length++;
    this.#rows += request.batchSize;
    return true;
  }

  /** The oldest request leaves. Only while `length` > 0. */
  shift(): InferenceRequest {
    const request = this.at(0);
    // The slot must not keep an answered request, and with it a body, alive.
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & this.#mask;
    this.#length--;
    this.#rows -= request.batchSize;
    return request;
  }

  /** The newest request leaves. Only while `length` > 0. */
  pop(): InferenceRequest {
    const request = this.at(this.#length - 1);
    this.#slots[(this.#head + this.#length - 1) & this.#mask] = undefined;
    this.#length--;
    this.#rows -= request.batchSize;
    return request;
  }

  unshift(requests: readonly InferenceRequest[]): void {
    while (this.#length + requests.length > this.#slots.length) this.#grow();
    for (let i = requests.length - 1; i >= 0; i--) {
      this.#head = (this.#head - 1) & this.#mask;
      this.#slots[this.#head] = requests[i];
      this.#length++;
      this.#rows += requests[i]!.batchSize;
    }
  }

  removeIf(isGone: (request: InferenceRequest) => boolean, removed: InferenceRequest[], limit: number = Number.POSITIVE_INFINITY): number {
    let kept = 0;
    let seen = 0;
    for (; seen < this.#length; seen++) {
      const request = this.at(seen);
      if (isGone(request)) {
        removed.push(request);
        this.#rows -= request.batchSize;
      } else {
        if (kept >= limit) break;
        if (kept < seen) this.#slots[(this.#head + kept) & this.#mask] = request;
        kept++;
      }
    }
    const gap = seen - kept;
    if (gap === 0) return kept;
    if (seen === this.#length) {
      for (let i = kept; i < seen; i++) this.#slots[(this.#head + i) & this.#mask] = undefined;
    } else {
      // The few in front move, not the many behind.
      for (let i = kept - 1; i >= 0; i--) this.#slots[(this.#head + i + gap) & this.#mask] = this.at(i);
      for (let i = 0; i < gap; i++) this.#slots[(this.#head + i) & this.#mask] = undefined;
      this.#head = (this.#head + gap) & this.#mask;
    }
    this.#length -= gap;
    return kept;
  }

  maxSizeFor(): number {
    return this.maxSize;
  }

  /** It has no policy. */
  expire(): void {}

  levelOf(): number {
    return 0;
  }

  requestsBefore(): number {
    return this.#length;
  }

  rowsBefore(): number {
    return this.#rows;
  }

  #grow(): void {
    const slots = new Array<InferenceRequest | undefined>(this.#slots.length * 2);
    for (let i = 0; i < this.#length; i++) slots[i] = this.at(i);
    this.#slots = slots;
    this.#mask = slots.length - 1;
    this.#head = 0;
  }
}
