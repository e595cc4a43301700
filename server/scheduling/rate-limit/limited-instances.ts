/** @hotpath picks the instance for the next batch of a rate-limited model version (measured by rate-limiter.bench.ts) */

import type { InstanceHandle } from '../../execution/execution-host.ts';
import type { InstanceRole } from './instance-roles.ts';

/** The instance group, as far as it is used here. */
export interface ActiveInstances<Channel> {
  readonly channels: readonly Channel[];
  /** Another number whenever `channels` has changed. */
  readonly revision: number;
  readonly aliveCount: number;
  beginService(): void;
}

export interface LimitedHandle<Channel> extends InstanceHandle {
  readonly channel: Channel;
  role: InstanceRole;
}

/**
 * The instances of a model version where --rate-limit is on, in the place of its instance group: for schedulers that take any of them, and for those that keep work on one. Channel `i` of the group
 * runs role `i` of the configuration, whichever host it is in; those whose role claims nothing are as they are.
 */
export class LimitedInstances<Channel extends InstanceHandle, Limited extends Channel & LimitedHandle<Channel>> {
  readonly #group: ActiveInstances<Channel>;
  readonly #roles: () => readonly InstanceRole[];
  readonly #limit: (channel: Channel, role: InstanceRole) => Limited;
  /** At the same index as its role. */
  #channels: Channel[] = [];
  /** Made once for each channel, as it knows what runs there. */
  readonly #limited: WeakMap<Channel, Limited> = new WeakMap();
  #revision = 0;
  #groupRevision = -1;
  #lastRoles: readonly InstanceRole[] = [];

  constructor(
    group: ActiveInstances<Channel>,
    roles: () => readonly InstanceRole[],
    limit: (channel: Channel, role: InstanceRole) => Limited,
  ) {
    this.#group = group;
    this.#roles = roles;
    this.#limit = limit;
  }

  get channels(): Channel[] {
    return [...this.#current()];
  }

  get revision(): number {
    this.#current();
    return this.#revision;
  }

  get aliveCount(): number {
    return this.#current().length;
  }

  beginService(): void {
    this.#group.beginService();
  }

  /** Of those that may run now and have the least in flight, the one that has run least by its priority; null when there is none. */
  take(isComplete: boolean): Channel | null {
    this.#group.beginService();
    const channels = this.#current();
    let best: Channel | null = null;
    let bestRank = 0;
    for (let i = 0; i < channels.length; i++) {
      const channel = channels[i]!;
      if (!(isComplete ? channel.hasCapacity : channel.isFree)) continue;
      const { rank } = this.#lastRoles[i]!;
      const order = best === null ? -1 : channel.inflightCount - best.inflightCount || rank - bestRank;
      if (order >= 0) continue;
      best = channel;
      bestRank = rank;
    }
    return best;
  }

  expect(): void {
    this.#current()[0]?.expect();
  }

  #current(): readonly Channel[] {
    const roles = this.#roles();
    if (this.#groupRevision === this.#group.revision && this.#lastRoles === roles) return this.#channels;
    const channels: Channel[] = [];
    for (const channel of this.#group.channels) {
      const role = roles[channels.length];
      if (role === undefined) break;
      channels.push(role.claims.length === 0 ? channel : this.#limitedFor(channel, role));
    }
    this.#channels = channels;
    this.#groupRevision = this.#group.revision;
    this.#revision++;
    this.#lastRoles = roles;
    return channels;
  }

  #limitedFor(channel: Channel, role: InstanceRole): Limited {
    let limited = this.#limited.get(channel);
    if (limited === undefined) {
      limited = this.#limit(channel, role);
      this.#limited.set(channel, limited);
    }
    limited.role = role;
    return limited;
  }
}
