/**
 * One model version of a pool: its instance group, and in which hosts its instances are. What changes the places happens one after the other.
 */

import type { ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { InstanceHandle } from './execution-host.ts';
import { type HostSlot, Placement } from './host-slot.ts';
import { InstanceGroup } from './instance-group.ts';
import type { InstanceRenewal } from './instance-renewal.ts';
import { modelKey } from './process-host.ts';
import { hasOwnProcess } from './runs-code.ts';

export interface PooledModelInit {
  readonly spec: ModelSpec;
  readonly isDecoupled: boolean;
  /** See {@link InstanceGroup}. */
  readonly onCapacity: () => void;
  readonly onFailed: (error: InferenceError) => void;
  readonly renewal: InstanceRenewal | null;
  readonly onServing: () => void;
  /** It is about to leave its hosts. */
  readonly onStopping: () => void;
}

export class PooledModel {
  readonly spec: ModelSpec;
  readonly key: string;
  readonly isDecoupled: boolean;
  /** Each instance is in a process of its own. */
  readonly runsCode: boolean;
  readonly places: Map<HostSlot, Placement> = new Map();
  readonly #init: PooledModelInit;
  #group: InstanceGroup<InstanceHandle> | null = null;
  #changes: Promise<unknown> = Promise.resolve();

  constructor(init: PooledModelInit) {
    this.#init = init;
    this.spec = init.spec;
    this.key = modelKey(init.spec);
    this.isDecoupled = init.isDecoupled;
    this.runsCode = hasOwnProcess(init.spec.config);
  }

  /** Null until a host has the model. */
  get group(): InstanceGroup<InstanceHandle> | null {
    return this.#group;
  }

  /** `change` after the changes before it; not at all once the group is being stopped. */
  change<Result>(change: () => Promise<Result>): Promise<Result> {
    return this.#enqueue(() => {
      if (this.#group?.isStopped !== false) throw new InferenceError('UNAVAILABLE', `model '${this.key}' is being unloaded`);
      return change();
    });
  }

  async place(slot: HostSlot, instanceCount: number): Promise<void> {
    const placement = new Placement(this.spec, instanceCount, this.#init.renewal, this.#group !== null);
    await slot.place(placement, this.#groupFor);
    this.places.set(slot, placement);
  }

  /** Its instances there finish what they have, and the model is unloaded there. */
  async leave(slot: HostSlot): Promise<void> {
    const placement = this.places.get(slot);
    if (placement === undefined) return;
    this.places.delete(slot);
    await slot.remove(placement);
  }

  /** Its instances there go to another host, without a moment in which there are none. */
  async move(from: HostSlot, to: HostSlot): Promise<void> {
    await this.place(to, this.places.get(from)!.instanceCount);
    await this.leave(from);
  }

  /**
   * `counts` are instances per host: for the hosts it is on as long as there are any, then for those that `nextSlot` gives. All that is new comes first;
   * if that fails it is undone, and nothing has changed.
   */
  async spread(counts: readonly number[], nextSlot: () => HostSlot): Promise<void> {
    const places = [...this.places];
    const undo: (() => Promise<unknown>)[] = [];
    try {
      for (const [i, count] of counts.entries()) {
        const place = places[i];
        if (place === undefined) {
          const slot = nextSlot();
          await this.place(slot, count);
          undo.push(() => this.leave(slot));
        } else if (count > place[1].instanceCount) {
          const [slot, placement] = place;
          const before = placement.instanceCount;
          await slot.resize(placement, count);
          undo.push(() => slot.resize(placement, before));
        }
      }
    } catch (error) {
      await Promise.allSettled(undo.map((step) => step()));
      throw error;
    }
    const smaller = places.filter(([, placement], i) => i < counts.length && counts[i]! < placement.instanceCount);
    await Promise.all([
      ...smaller.map(([slot, placement]) => slot.resize(placement, counts[places.findIndex(([other]) => other === slot)]!)),
      ...places.slice(counts.length).map(([slot]) => this.leave(slot)),
    ]);
  }

  // From the first host on that has the model, its death is mended as any other's.
  readonly #groupFor = (metadata: ModelMetadata): InstanceGroup<InstanceHandle> => {
    this.#group ??= new InstanceGroup<InstanceHandle>({
      key: this.key,
      metadata,
      onCapacity: this.#init.onCapacity,
      onFailed: this.#init.onFailed,
      onServing: this.#init.onServing,
      memoryBytes: () => {
        let bytes = 0;
        for (const placement of this.places.values()) bytes += placement.memoryBytes;
        return bytes;
      },
      onStop: async () => {
        this.#init.onStopping();
        await this.#enqueue(async () => {
          await Promise.all([...this.places.keys()].map((slot) => this.leave(slot)));
        });
      },
    });
    return this.#group;
  };

  #enqueue<Result>(run: () => Promise<Result>): Promise<Result> {
    const ran = this.#changes.then(run);
    this.#changes = ran.catch(() => {});
    return ran;
  }
}

/** So many instances over at most so many hosts. */
export function spreadCounts(instanceCount: number, maxHosts: number): number[] {
  const hosts = Math.min(instanceCount, maxHosts);
  return Array.from({ length: hosts }, (_, i) => Math.ceil((instanceCount - i) / hosts));
}
