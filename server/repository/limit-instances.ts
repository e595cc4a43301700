import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { InstanceChannel } from '../execution/execution-host.ts';
import type { InstanceGroup } from '../execution/instance-group.ts';
import { LimitedChannel } from '../scheduling/rate-limit/limited-channel.ts';
import { LimitedDecoupledChannel } from '../scheduling/rate-limit/limited-decoupled-channel.ts';
import { LimitedInstances } from '../scheduling/rate-limit/limited-instances.ts';
import type { RateLimiter, RegisteredModel } from '../scheduling/rate-limit/rate-limiter.ts';

/** A model version's place in the rate limiter. */
export interface RateLimits {
  readonly limiter: RateLimiter;
  readonly registered: RegisteredModel;
}

/** What schedulers use of an instance group. */
export interface SchedulerInstances<Channel> {
  readonly channels: Channel[];
  readonly revision: number;
  readonly aliveCount: number;
  beginService(): void;
  take(isComplete: boolean): Channel | null;
  expect(): void;
}

/** The group itself where nothing is limited (`limits` null). */
export function limitInstances(group: InstanceGroup, limits: RateLimits | null): SchedulerInstances<InstanceChannel> {
  if (limits === null) return group;
  const { limiter, registered } = limits;
  return new LimitedInstances<InstanceChannel, LimitedChannel>(
    group,
    () => registered.roles,
    (channel, role) => new LimitedChannel(channel, role, limiter, group.tellCapacity),
  );
}

/** As {@link limitInstances}, of a decoupled model. */
export function limitDecoupled(group: InstanceGroup<DecoupledChannel>, limits: RateLimits | null): SchedulerInstances<DecoupledChannel> {
  if (limits === null) return group;
  const { limiter, registered } = limits;
  return new LimitedInstances<DecoupledChannel, LimitedDecoupledChannel>(
    group,
    () => registered.roles,
    (channel, role) => new LimitedDecoupledChannel(channel, role, limiter, group.tellCapacity),
  );
}
