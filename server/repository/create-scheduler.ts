import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { InstanceGroup } from '../execution/instance-group.ts';
import type { Clock } from '../inference/clock.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import type { ResponseStore } from '../scheduling/cache/response-store.ts';
import { DecoupledScheduler } from '../scheduling/decoupled-scheduler.ts';
import { DynamicBatchScheduler } from '../scheduling/dynamic-batch-scheduler.ts';
import type { EnsemblePlan } from '../scheduling/ensemble/ensemble-plan.ts';
import { EnsembleScheduler } from '../scheduling/ensemble/ensemble-scheduler.ts';
import { type BatchPolicy, directPolicy } from '../scheduling/form-batch.ts';
import type { BatchAdvisor } from '../scheduling/learned/batch-advisor.ts';
import { LearnedBatching } from '../scheduling/learned/learned-batching.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import type { SequencePlan } from '../scheduling/sequence/sequence-plan.ts';
import { cacheResponses } from './cache-responses.ts';
import { createQueuePolicies } from './create-queue-policies.ts';
import { createSequenceScheduler } from './create-sequence-scheduler.ts';
import { variableInputs } from './create-signature.ts';
import { limitDecoupled, limitInstances, type RateLimits } from './limit-instances.ts';

export interface CreateSchedulerOptions {
  /** Complete. */
  readonly config: ModelConfig;
  readonly signature: ModelSignature;
  /** Of the kind that the configuration says: decoupled, or not. */
  readonly instances: InstanceGroup | InstanceGroup<DecoupledChannel>;
  /** Of an ensemble; null: it is none. */
  readonly plan: EnsemblePlan | null;
  /** Of a model of sequences; null: it is none. */
  readonly sequencePlan: SequencePlan | null;
  /** Bound of the queue when the configuration gives none. */
  readonly defaultMaxQueueSize: number;
  /** Longest wait of a request without a deadline when the configuration gives none, ns; null: nothing is learned of the model's speed. */
  readonly maxQueueTimeNs: number | null;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly nestedCalls: NestedCalls;
  /** Null: the server has no response cache. */
  readonly responseStore: ResponseStore | null;
  /** Null: its instances run whenever they can. */
  readonly rateLimits: RateLimits | null;
  readonly onFault: (error: unknown) => void;
}

/** The scheduler that a model version's configuration asks for (reference section 7). */
export function createScheduler(options: CreateSchedulerOptions): Scheduler {
  return cacheResponses(chooseScheduler(options), options);
}

function chooseScheduler(options: CreateSchedulerOptions): Scheduler {
  const { config, signature, reporter, clock, onFault } = options;
  const maxQueueSize = config.dynamicBatching?.defaultQueuePolicy?.maxQueueSize || options.defaultMaxQueueSize;
  const common = { signature, maxQueueSize, reporter, clock, onFault };
  if (options.plan !== null) return new EnsembleScheduler({ ...common, plan: options.plan, nestedCalls: options.nestedCalls });
  if (isDecoupled(config)) {
    const group = options.instances as InstanceGroup<DecoupledChannel>;
    const instances = limitDecoupled(group, options.rateLimits);
    return new DecoupledScheduler({ ...common, instances, modelOutputCount: group.metadata.outputs.length, engine: group.engine });
  }
  const instances = limitInstances(options.instances as InstanceGroup, options.rateLimits);
  if (options.sequencePlan !== null) return createSequenceScheduler({ ...common, config, plan: options.sequencePlan, instances });
  const batching = config.dynamicBatching;
  const policy = batchPolicy(config, signature);
  return new DynamicBatchScheduler({
    ...common,
    policy,
    queuePolicies: batching === null ? null : createQueuePolicies(batching, options.defaultMaxQueueSize),
    preservesOrder: batching?.preserveOrdering ?? false,
    advisor: createAdvisor(options, policy, instances),
    instances,
  });
}

/** What the configuration says of its transactions. */
export function isDecoupled(config: ModelConfig): boolean {
  return config.modelTransactionPolicy?.decoupled ?? false;
}

/** What the scheduler asks about speed; null: it is switched off, for this model or for all. */
function createAdvisor(
  options: CreateSchedulerOptions,
  policy: BatchPolicy,
  instances: { readonly aliveCount: number },
): BatchAdvisor | null {
  const { config, signature, reporter, clock } = options;
  const { learnedBatching } = config;
  if (options.maxQueueTimeNs === null || learnedBatching?.disable === true) return null;
  const maxQueueTimeNs = (learnedBatching?.maxQueueTimeMicroseconds ?? 0) * 1000 || options.maxQueueTimeNs;
  const { maxBatchSize } = policy;
  return new LearnedBatching({
    signature,
    maxBatchSize,
    variableInputs: variableInputs(signature),
    maxQueueTimeNs,
    instances,
    reporter,
    clock,
  });
}

function batchPolicy(config: ModelConfig, signature: ModelSignature): BatchPolicy {
  const batching = config.dynamicBatching;
  if (batching === null || config.maxBatchSize === 0) return directPolicy;
  return {
    maxBatchSize: config.maxBatchSize,
    preferredBatchSizes: [...batching.preferredBatchSize].sort((a, b) => a - b),
    maxQueueDelayNs: batching.maxQueueDelayMicroseconds * 1000,
    variableInputs: variableInputs(signature),
    hasOptionalInputs: signature.requiredInputs < signature.inputs.length,
  };
}
