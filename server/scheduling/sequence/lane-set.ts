/** @hotpath the lanes of a scheduler, looked through at each dispatch (measured by sequence-scheduler.bench.ts) */

import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { SlotLane } from './slot-lane.ts';

/** Where the scheduler gets its instances: an instance group. A sequence stays on its instance, so they are not taken but kept. */
export interface SequenceInstances {
  /** Those that are alive; a copy. */
  readonly channels: readonly InstanceChannel[];
  /** Another number whenever `channels` has changed. */
  readonly revision: number;
  beginService(): void;
}

/** One lane for each instance that is alive. */
export class LaneSet {
  readonly #instances: SequenceInstances;
  readonly #createLane: (channel: InstanceChannel) => SlotLane;
  #lanes: readonly SlotLane[] = [];
  #revision = -1;
  #slotCount = 0;

  constructor(instances: SequenceInstances, createLane: (channel: InstanceChannel) => SlotLane) {
    this.#instances = instances;
    this.#createLane = createLane;
  }

  /** Of all lanes; while there is none, as many as there were. */
  get slotCount(): number {
    return this.#slotCount;
  }

  get isEmpty(): boolean {
    return this.#lanes.length === 0;
  }

  /** Whether `follow` may have something to do. */
  get hasChanged(): boolean {
    return this.#revision !== this.#instances.revision;
  }

  /** Makes lanes for instances that came, and returns those whose instance is gone, which are lanes no more. */
  follow(): readonly SlotLane[] {
    let isCurrent = !this.hasChanged;
    for (let i = 0; isCurrent && i < this.#lanes.length; i++) isCurrent = this.#lanes[i]!.channel.isAlive;
    if (isCurrent) return none;
    this.#revision = this.#instances.revision;
    const channels = this.#instances.channels.filter(({ isAlive }) => isAlive);
    const gone = this.#lanes.filter(({ channel }) => !channels.includes(channel));
    const kept = this.#lanes.filter((lane) => !gone.includes(lane));
    const added = channels.filter((channel) => !kept.some((lane) => lane.channel === channel));
    this.#lanes = [...kept, ...added.map((channel) => this.#createLane(channel))];
    if (this.#lanes.length > 0) this.#slotCount = this.#lanes.reduce((sum, { slotCount }) => sum + slotCount, 0);
    for (const lane of gone) lane.isGone = true;
    return gone;
  }

  /** The one with the most free slots; null when none has any. */
  freest(): SlotLane | null {
    let best: SlotLane | null = null;
    for (const lane of this.#lanes) if (lane.freeSlots > 0 && (best === null || lane.freeSlots > best.freeSlots)) best = lane;
    return best;
  }

  /** Starts what may start. Returns when to look again; Infinity: when something happens. */
  run(nowNs: number): number {
    let wakeNs = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes) wakeNs = Math.min(wakeNs, lane.run(nowNs));
    return wakeNs;
  }
}

const none: readonly SlotLane[] = [];
