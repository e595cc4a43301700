/**
 * Hosts with nothing in them, ready for the next load, which then takes no longer than its model does: one, and one more for each load that waits for one.
 */

import { InferenceError } from '../../proto/inference-error.ts';
import type { HostLog, HostSlot } from './host-slot.ts';

export interface SpareHostsInit {
  /** Whether there shall be any now. */
  readonly isWanted: () => boolean;
  /** A new host, its process not yet started. */
  readonly create: () => HostSlot;
  /** It could not be started, and is gone. */
  readonly onGone: (slot: HostSlot) => void;
  readonly log: HostLog;
}

/** A process that becomes empty meanwhile is the spare one, and none need be started. */
const START_DELAY_MS = 500;

export class SpareHosts {
  readonly #init: SpareHostsInit;
  readonly #slots: HostSlot[] = [];
  readonly #waiting: Set<() => void> = new Set();
  #timer: NodeJS.Timeout | null = null;

  constructor(init: SpareHostsInit) {
    this.#init = init;
  }

  /** One of them; null: there is none. */
  take(): HostSlot | null {
    const spare = this.#slots.find((slot) => !slot.isStopped) ?? null;
    if (spare !== null) this.drop(spare);
    return spare;
  }

  /** Keeps a host that has become empty, if it is of use. */
  offer(slot: HostSlot): boolean {
    if (slot.isDecoupled || slot.runsCode || !this.#init.isWanted() || this.#slots.length > this.#waiting.size) return false;
    this.#slots.push(slot);
    for (const wake of this.#waiting) wake();
    return true;
  }

  /** It stopped, or is taken. */
  drop(slot: HostSlot): void {
    const at = this.#slots.indexOf(slot);
    if (at >= 0) this.#slots.splice(at, 1);
  }

  /** Resolves when a host was kept, or with `other`: then there may be none. */
  async nextOr(other: Promise<unknown>): Promise<void> {
    let wake = (): void => {};
    const kept = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#waiting.add(wake);
    await Promise.race([kept, other]);
    this.#waiting.delete(wake);
  }

  /** There shall be one soon. */
  fill(): void {
    if (this.#timer !== null || !this.#isMissing) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (!this.#isMissing) return;
      const spare = this.#init.create();
      this.#slots.push(spare);
      spare.warm().catch((error: unknown) => {
        if (!this.#init.isWanted()) return;
        this.#init.log.warn({ reason: InferenceError.from(error).message }, 'a spare execution host could not be started');
        this.drop(spare);
        if (spare.placements.size === 0 && spare.placingCount === 0) void spare.stop().then(() => this.#init.onGone(spare));
      });
    }, START_DELAY_MS).unref();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  get #isMissing(): boolean {
    return this.#slots.length === 0 && this.#init.isWanted();
  }
}
