import type { ModelDynamicBatching, ModelQueuePolicy } from '../../backends/api/model-config.ts';
import type { QueuePolicies, QueuePolicy } from '../scheduling/queue-policy.ts';

/**
 * How requests wait, as dynamic_batching says; null: in order of arrival, for as long as it takes. `defaultMaxSize` is the bound of a level whose policy gives none.
 */
export function createQueuePolicies(batching: ModelDynamicBatching, defaultMaxSize: number): QueuePolicies | null {
  const { priorityLevels, defaultPriorityLevel, defaultQueuePolicy } = batching;
  if (priorityLevels === 0 && (defaultQueuePolicy?.defaultTimeoutMicroseconds ?? 0) === 0) return null;
  const byLevel = new Map<number, QueuePolicy>();
  for (const [level, policy] of Object.entries(batching.priorityQueuePolicy))
    byLevel.set(Number(level), queuePolicy(policy, defaultMaxSize));
  const defaultPolicy = queuePolicy(defaultQueuePolicy, defaultMaxSize);
  return { levels: priorityLevels, defaultLevel: defaultPriorityLevel, defaultPolicy, byLevel };
}

function queuePolicy(policy: ModelQueuePolicy | null, defaultMaxSize: number): QueuePolicy {
  return {
    maxSize: policy?.maxQueueSize || defaultMaxSize,
    timeoutNs: (policy?.defaultTimeoutMicroseconds ?? 0) * 1000,
    allowsOverride: policy?.allowTimeoutOverride ?? false,
    isDelayed: policy?.timeoutAction === 'DELAY',
  };
}
