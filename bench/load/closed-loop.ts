import type { ClosedPace } from './load-plan.ts';
import type { Pacing, RequestStarter } from './pacing.ts';

/** Each slot is a worker, which sends its next request when it has the answer to the last one. */
export class ClosedLoop implements Pacing {
  readonly slots: number;
  readonly isOpen = false;

  constructor(pace: ClosedPace) {
    this.slots = pace.concurrency;
  }

  start(starter: RequestStarter, nowMs: number): void {
    for (let slot = 0; slot < this.slots; slot++) starter.begin(slot, nowMs, nowMs);
  }

  nextMs(): number {
    return Number.POSITIVE_INFINITY;
  }

  due(): void {}

  ended(starter: RequestStarter, slot: number, nowMs: number): void {
    starter.begin(slot, nowMs, nowMs);
  }
}
