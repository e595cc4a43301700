/** Drives a lane by hand: one request, and what came of it. */

import type { Lane, LaneSink, SequenceStamp } from '../load/lane.ts';
import type { Outcome } from '../load/load-window.ts';

export interface Ended {
  readonly outcome: Outcome;
  readonly status: string;
  readonly message: string;
  /** Tokens of each part. */
  readonly parts: readonly number[];
}

export class AskingSink implements LaneSink {
  sent = 0;
  received = 0;
  readonly closings: string[] = [];
  /** Called at each part. */
  onPart: () => void = () => {};
  #parts: number[] = [];
  #ends = new Map<number, (ended: Ended) => void>();

  /** Sends and waits for the end. */
  ask(lane: Lane, index: number, stamp: SequenceStamp | null = null, validate = true, slot = 7): Promise<Ended> {
    this.#parts = [];
    return new Promise((resolve) => {
      this.#ends.set(slot, resolve);
      lane.send(slot, index, stamp, validate, 0);
    });
  }

  part(_slot: number, tokens: number): void {
    this.#parts.push(tokens);
    this.onPart();
  }

  ended(slot: number, outcome: Outcome, status: string, message: string): void {
    const end = this.#ends.get(slot);
    if (end === undefined) throw new Error(`slot ${slot} is not open`);
    this.#ends.delete(slot);
    end({ outcome, status, message, parts: this.#parts });
  }

  closed(_lane: Lane, reason: string): void {
    this.closings.push(reason);
  }

  sentBytes(count: number): void {
    this.sent += count;
  }

  receivedBytes(count: number): void {
    this.received += count;
  }
}

export const OK = { outcome: 'ok', status: '', message: '' } as const;
