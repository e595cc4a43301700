/** @hotpath one entry per batch between its submission to a host and its answer (measured by instance-channel.bench.ts) */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch } from './execution-host.ts';
import type { WatchedExecutions } from './execution-watch.ts';
import type { ProcessInstanceChannel } from './instance-channel.ts';

/** A batch in a host. */
export interface InflightBatch {
  readonly channel: ProcessInstanceChannel;
  readonly batch: ExecutionBatch;
  readonly sequence: number;
  /** `performance.now()`. */
  readonly submittedMs: number;
  /** Shared memory only, below: offsets from the memory's start. */
  readonly region: number;
  readonly responseOffset: number;
  readonly outputOffset: number;
  readonly outputBytes: number;
  /** Nobody waits for it any more, and the host has been told so: it may answer without having run it. */
  isAbandoned: boolean;
  /** The host said it is done; an output may still be on the socket. */
  isAnswered: boolean;
  /** Outputs that came by frame, by index; null while none did. */
  large: (Uint8Array | undefined)[] | null;
}

/**
 * The batches of one host, in the order in which they were given. A host runs them in that order and one at a time, so only the first can be answered
 * next: anything else is a fault.
 */
export class InflightBatches implements WatchedExecutions {
  readonly #batches: (InflightBatch | null)[];
  readonly #mask: number;
  #first = 0;
  #count = 0;
  #sequence = 0;
  #headSinceMs = 0;

  /** A power of two. */
  constructor(capacity: number) {
    this.#batches = new Array<InflightBatch | null>(capacity).fill(null);
    this.#mask = capacity - 1;
  }

  get count(): number {
    return this.#count;
  }

  get isOwed(): boolean {
    return this.#count > 0;
  }

  get isFull(): boolean {
    return this.#count > this.#mask;
  }

  /** The batch that the host runs now, or runs next; null when there is none. */
  get head(): InflightBatch | null {
    return this.#count === 0 ? null : this.#batches[this.#first]!;
  }

  /** When the host could begin with the head: `performance.now()`. */
  get headSinceMs(): number {
    return this.#headSinceMs;
  }

  forgiveMs(ms: number): void {
    this.#headSinceMs += ms;
  }

  restartHead(): void {
    this.#headSinceMs = performance.now();
  }

  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) & 0x3fffffff;
    return this.#sequence;
  }

  push(inflight: InflightBatch): void {
    if (this.#count === 0) this.#headSinceMs = inflight.submittedMs;
    this.#batches[(this.#first + this.#count) & this.#mask] = inflight;
    this.#count++;
  }

  shift(): InflightBatch | null {
    const head = this.head;
    if (head === null) return null;
    this.#batches[this.#first] = null;
    this.#first = (this.#first + 1) & this.#mask;
    this.#count--;
    this.#headSinceMs = performance.now();
    return head;
  }

  /** Null: it has left. */
  findByBatch(batch: ExecutionBatch): InflightBatch | null {
    for (let i = 0; i < this.#count; i++) {
      const inflight = this.#batches[(this.#first + i) & this.#mask]!;
      if (inflight.batch === batch) return inflight;
    }
    return null;
  }

  findBySequence(sequence: number): InflightBatch | null {
    for (let i = 0; i < this.#count; i++) {
      const inflight = this.#batches[(this.#first + i) & this.#mask]!;
      if (inflight.sequence === sequence) return inflight;
    }
    return null;
  }
}

/** Ends every batch: the oldest with an error of its own, since it was the one being run. */
export function failAll(inflight: InflightBatches, headError: InferenceError, otherError: InferenceError): void {
  let error = headError;
  for (let head = inflight.shift(); head !== null; head = inflight.shift()) {
    head.channel.settled();
    head.batch.fail(error);
    error = otherError;
  }
}
