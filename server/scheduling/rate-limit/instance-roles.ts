import type { ModelInstanceGroup } from '../../../backends/api/model-config.ts';

/** So much of a resource; its name is case-sensitive. */
export interface ResourceClaim {
  readonly name: string;
  readonly count: number;
}

/**
 * What one instance is by its configuration, whichever channel runs it: channels come and go with their hosts. Its name is Triton's, `<group>_<index>`.
 */
export class InstanceRole {
  readonly name: string;
  readonly claims: readonly ResourceClaim[];
  /** 1 or more; an instance of priority 2 runs half as often as one of priority 1, where both wait. */
  readonly priority: number;
  /** As the rate limiter counts them: one that has been idle does not catch up. */
  executions = 0;

  constructor(name: string, claims: readonly ResourceClaim[], priority: number) {
    this.name = name;
    this.claims = claims;
    this.priority = priority;
  }

  /** Of those that wait the one with the least is next. */
  get rank(): number {
    return this.executions * this.priority;
  }
}

/** One for each instance that takes requests. */
export function instanceRoles(groups: readonly ModelInstanceGroup[]): InstanceRole[] {
  const roles: InstanceRole[] = [];
  for (const { name, count, passive, rateLimiter } of groups) {
    if (passive) continue;
    const claims = claimsOf(rateLimiter);
    for (let i = 0; i < count; i++) roles.push(new InstanceRole(`${name}_${i}`, claims, Math.max(1, rateLimiter?.priority ?? 1)));
  }
  return roles;
}

function claimsOf(rateLimiter: ModelInstanceGroup['rateLimiter']): ResourceClaim[] {
  const counts = new Map<string, number>();
  for (const { name, count } of rateLimiter?.resources ?? []) if (count > 0) counts.set(name, (counts.get(name) ?? 0) + count);
  return [...counts].map(([name, count]) => ({ name, count }));
}
