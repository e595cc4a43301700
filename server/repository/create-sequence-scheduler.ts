import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { Clock } from '../inference/clock.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { directPolicy } from '../scheduling/form-batch.ts';
import { DirectLane } from '../scheduling/sequence/direct-lane.ts';
import { OldestLane } from '../scheduling/sequence/oldest-lane.ts';
import type { SequencePlan } from '../scheduling/sequence/sequence-plan.ts';
import { SequenceScheduler, type SequenceSchedulerOptions } from '../scheduling/sequence/sequence-scheduler.ts';

/** What the implicit states of a model's sequences may take together. */
const MAX_STATE_BYTES = 2 ** 30;

export interface CreateSequenceSchedulerOptions {
  /** Complete, with sequence_batching. */
  readonly config: ModelConfig;
  readonly plan: SequencePlan;
  readonly instances: SequenceSchedulerOptions['instances'];
  readonly maxQueueSize: number;
  /** Of all implicit states together; left out: 1 GiB. */
  readonly maxStateBytes?: number;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

/** The sequence batcher that the configuration asks for: direct unless it says oldest. A model with implicit state is taken to keep nothing itself. */
export function createSequenceScheduler(options: CreateSequenceSchedulerOptions): SequenceScheduler {
  const { config, plan, instances, maxQueueSize, reporter, clock, onFault } = options;
  const batching = config.sequenceBatching!;
  const isStateOurs = batching.state.length > 0;
  return new SequenceScheduler({
    plan,
    instances,
    createLane: laneFactory(config, plan, isStateOurs),
    maxIdleNs: batching.maxSequenceIdleMicroseconds * 1000,
    maxQueueSize,
    maxStateBytes: options.maxStateBytes ?? MAX_STATE_BYTES,
    isIterative: batching.iterativeSequence,
    isStateOurs,
    reporter,
    clock,
    onFault,
  });
}

function laneFactory(config: ModelConfig, plan: SequencePlan, isDivisible: boolean): SequenceSchedulerOptions['createLane'] {
  const rows = Math.max(1, config.maxBatchSize);
  const { direct, oldest } = config.sequenceBatching!;
  if (oldest === null) {
    const policy = {
      slotCount: rows,
      maxQueueDelayNs: (direct?.maxQueueDelayMicroseconds ?? 0) * 1000,
      minimumSlotUtilization: direct?.minimumSlotUtilization ?? 0,
      isDivisible,
    };
    return (channel, owner) => new DirectLane(channel, owner, policy);
  }
  const batch = {
    maxBatchSize: config.maxBatchSize,
    preferredBatchSizes: [...oldest.preferredBatchSize].sort((a, b) => a - b),
    maxQueueDelayNs: oldest.maxQueueDelayMicroseconds * 1000,
    variableInputs: plan.variableInputs,
    hasOptionalInputs: plan.hasOptionalInputs,
  };
  const policy = {
    slotCount: oldest.maxCandidateSequences > 0 ? oldest.maxCandidateSequences : rows,
    batch: config.maxBatchSize === 0 ? directPolicy : batch,
    preserveOrdering: oldest.preserveOrdering,
    isDivisible,
  };
  return (channel, owner) => new OldestLane(channel, owner, policy);
}
