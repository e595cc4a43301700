/** @hotpath once per execution of an instance that claims resources, where --rate-limit is on */

import type { ModelInstanceGroup } from '../../../backends/api/model-config.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';
import { type InstanceRole, instanceRoles } from './instance-roles.ts';

/** `--rate-limit-resource`. */
export interface GivenResource {
  readonly name: string;
  readonly count: number;
  /** Null: each device, or the server where the resource is global. */
  readonly device: number | null;
}

/** The device of all instances: they run on the CPU. */
const CPU = 0;

/** The instances of one loaded model version, as the limiter knows them. */
export interface RegisteredModel {
  /** For the instances that take requests, in the order of the configuration. */
  readonly roles: readonly InstanceRole[];
  /** Its configuration has other instance groups now. Throws as {@link RateLimiter.register}, having changed nothing. */
  update(groups: readonly ModelInstanceGroup[]): void;
  /** It is unloaded. */
  remove(): void;
}

interface Wish {
  readonly poke: () => void;
  /** It has asked since its scheduler was last poked, so it still wants to run. */
  hasAsked: boolean;
}

/**
 * An instance runs while the resources that it claims are free, and gets all of them at once, so that none waits with some in its hands. While several wait, nobody takes what one of a lower rank
 * ({@link InstanceRole.rank}) needs as well: an instance that claims much is not passed over for ever by those that claim little.
 *
 * Schedulers ask when they have something to run, and are told when to ask again: whenever resources come free, all that wait are poked (a round), and who does not ask by the end of the next tick
 * does not want to run any more.
 */
export class RateLimiter {
  readonly #given: readonly GivenResource[];
  readonly #clock: Clock;
  readonly #models: Set<{ readonly model: string; groups: readonly ModelInstanceGroup[] }> = new Set();
  /** How much there is, by name. */
  #limits: Map<string, number> = new Map();
  readonly #used: Map<string, number> = new Map();
  /** By resource: the rank of who got it last. */
  readonly #lastRanks: Map<string, number> = new Map();
  /** Who waits, first come first. */
  readonly #wishes: Map<InstanceRole, Wish> = new Map();
  #isRoundDue = false;
  readonly #runRound: () => void;

  constructor(given: readonly GivenResource[], clock: Clock) {
    this.#given = given;
    this.#clock = clock;
    this.#runRound = () => this.#round();
  }

  /**
   * A model version is being loaded. From here on it counts for how much there is of what nobody said how much there is of: as much as one instance claims at most.
   *
   * @throws InferenceError INVALID_ARGUMENT: a resource is limited to less than an instance claims; a name is that of a global resource and of one of each device.
   */
  register(model: string, groups: readonly ModelInstanceGroup[]): RegisteredModel {
    this.#check(model, groups);
    const entry = { model, groups };
    this.#models.add(entry);
    this.#recount();
    let roles = instanceRoles(groups);
    return {
      get roles() {
        return roles;
      },
      update: (changed) => {
        this.#check(model, changed);
        entry.groups = changed;
        for (const role of roles) this.#wishes.delete(role);
        roles = keepCounts(instanceRoles(changed), roles);
        this.#recount();
        this.#startRound();
      },
      remove: () => {
        this.#models.delete(entry);
        for (const role of roles) this.#wishes.delete(role);
        this.#recount();
        this.#startRound();
      },
    };
  }

  /**
   * Whether the instance may run now. If not it waits from here on, and `poke` is called when it may be worth asking again; if so, and it does not, the next may.
   */
  mayRun(role: InstanceRole, poke: () => void): boolean {
    if (role.claims.length === 0) return true;
    const wish = this.#wishes.get(role);
    if (wish === undefined) this.#catchUp(role);
    if (this.#fits(role) && !this.#isOutranked(role)) {
      if (wish !== undefined) {
        this.#wishes.delete(role);
        // If it does not take it after all, those that it outranked are to hear of it.
        this.#startRound();
      }
      return true;
    }
    if (wish === undefined) this.#wishes.set(role, { poke, hasAsked: true });
    else wish.hasAsked = true;
    if (this.#fits(role)) this.#startRound();
    return false;
  }

  /** Only after `mayRun` said so, in the same turn. */
  acquire(role: InstanceRole): void {
    const { rank } = role;
    for (const { name, count } of role.claims) {
      this.#used.set(name, (this.#used.get(name) ?? 0) + count);
      this.#lastRanks.set(name, rank);
    }
    role.executions++;
  }

  /** What `acquire` took. */
  release(role: InstanceRole): void {
    for (const { name, count } of role.claims) {
      const left = (this.#used.get(name) ?? 0) - count;
      if (left > 0) this.#used.set(name, left);
      else this.#used.delete(name);
    }
    this.#startRound();
  }

  /** How much of the resource is taken. */
  usedOf(name: string): number {
    return this.#used.get(name) ?? 0;
  }

  /** How much there is of it. */
  limitOf(name: string): number {
    return this.#limits.get(name) ?? 0;
  }

  get waitingCount(): number {
    return this.#wishes.size;
  }

  #fits(role: InstanceRole): boolean {
    for (const { name, count } of role.claims) if (this.usedOf(name) + count > this.limitOf(name)) return false;
    return true;
  }

  /** One that waits is to have what this one claims before it, and both together are too much. */
  #isOutranked(role: InstanceRole): boolean {
    for (const other of this.#wishes.keys()) {
      // Who waits behind it in the list came later.
      if (other === role) continue;
      const isBefore = other.rank < role.rank || (other.rank === role.rank && this.#waitsLonger(other, role));
      if (isBefore && this.#collide(other, role)) return true;
    }
    return false;
  }

  #waitsLonger(one: InstanceRole, other: InstanceRole): boolean {
    if (!this.#wishes.has(other)) return true;
    for (const role of this.#wishes.keys()) {
      if (role === one) return true;
      if (role === other) return false;
    }
    return false;
  }

  #collide(one: InstanceRole, other: InstanceRole): boolean {
    for (const { name, count } of one.claims) {
      const also = other.claims.find((claim) => claim.name === name);
      if (also !== undefined && this.usedOf(name) + count + also.count > this.limitOf(name)) return true;
    }
    return false;
  }

  /** Who has not waited lately begins where the others are, or it would have all to itself until it has run as often as they. */
  #catchUp(role: InstanceRole): void {
    let rank = Number.POSITIVE_INFINITY;
    for (const { name } of role.claims) rank = Math.min(rank, this.#lastRanks.get(name) ?? 0);
    role.executions = Math.max(role.executions, Math.floor(rank / role.priority));
  }

  #startRound(): void {
    if (this.#isRoundDue || this.#wishes.size === 0) return;
    this.#isRoundDue = true;
    this.#clock.endOfTick(this.#runRound);
  }

  #round(): void {
    const poked = [...this.#wishes];
    const pokes = new Set<() => void>();
    for (const [, wish] of poked) {
      wish.hasAsked = false;
      pokes.add(wish.poke);
    }
    for (const poke of pokes) poke();
    // Behind what the pokes have put there.
    this.#clock.endOfTick(() => {
      this.#isRoundDue = false;
      let isChanged = false;
      for (const [role, wish] of poked) {
        if (this.#wishes.get(role) !== wish) isChanged = true;
        else if (!wish.hasAsked) isChanged = this.#wishes.delete(role);
      }
      if (isChanged) this.#startRound();
    });
  }

  #check(model: string, groups: readonly ModelInstanceGroup[]): void {
    const scopes = new Map<string, { readonly isGlobal: boolean; readonly model: string }>();
    // A load of the same model is what this one takes over from, or another version of it.
    for (const other of this.#models) if (other.model !== model) this.#checkScopes(other.model, other.groups, scopes);
    this.#checkScopes(model, groups, scopes);
    for (const role of instanceRoles(groups)) {
      for (const { name, count } of role.claims) {
        const given = this.#givenOf(name, scopes.get(name)!.isGlobal);
        if (given === null || count <= given) continue;
        throw invalidArgument(
          `model '${model}': Resource count for "${name}" is limited to ${given} which will prevent scheduling of one or more model instances, the minimum required count is ${count} (instance '${role.name}'); raise --rate-limit-resource ${name}:${given}, or lower rate_limiter.resources`,
        );
      }
    }
  }

  #checkScopes(
    model: string,
    groups: readonly ModelInstanceGroup[],
    scopes: Map<string, { readonly isGlobal: boolean; readonly model: string }>,
  ): void {
    for (const { rateLimiter } of groups) {
      for (const { name, global: isGlobal } of rateLimiter?.resources ?? []) {
        const other = scopes.get(name);
        if (other === undefined) scopes.set(name, { isGlobal, model });
        else if (other.isGlobal !== isGlobal) {
          const where = other.model === model ? '' : `; model '${other.model}' has it as ${other.isGlobal ? 'global' : 'device-specific'}`;
          throw invalidArgument(
            `model '${model}': Resource "${name}" is present as both global and device-specific resource${where}; use one of the two, or another name`,
          );
        }
      }
    }
  }

  /** How much the options say there is; null: they don't. */
  #givenOf(name: string, isGlobal: boolean): number | null {
    const all = this.#given.filter((one) => one.name === name);
    const here = isGlobal ? undefined : all.findLast(({ device }) => device === CPU);
    return (here ?? all.findLast(({ device }) => device === null))?.count ?? null;
  }

  #recount(): void {
    const limits = new Map<string, number>();
    for (const { groups } of this.#models) {
      for (const { claims } of instanceRoles(groups)) {
        for (const { name, count } of claims) limits.set(name, Math.max(limits.get(name) ?? 0, count));
      }
      for (const { rateLimiter } of groups) {
        for (const { name, global: isGlobal } of rateLimiter?.resources ?? []) {
          const given = this.#givenOf(name, isGlobal);
          if (given !== null) limits.set(name, given);
        }
      }
    }
    this.#limits = limits;
    for (const name of this.#lastRanks.keys()) if (!limits.has(name)) this.#lastRanks.delete(name);
  }
}

/** Instances that were there before have run as often as they had. */
function keepCounts(roles: InstanceRole[], before: readonly InstanceRole[]): InstanceRole[] {
  const counts = new Map(before.map(({ name, executions }) => [name, executions]));
  for (const role of roles) role.executions = counts.get(role.name) ?? 0;
  return roles;
}
