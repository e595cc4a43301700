import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { InstanceGroup } from '../execution/instance-group.ts';
import type { Clock } from '../inference/clock.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { DecoupledScheduler } from '../scheduling/decoupled-scheduler.ts';
import { DynamicBatchScheduler } from '../scheduling/dynamic-batch-scheduler.ts';
import { type BatchPolicy, directPolicy } from '../scheduling/form-batch.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { variableInputs } from './create-signature.ts';

export interface CreateSchedulerOptions {
  /** Complete. */
  readonly config: ModelConfig;
  readonly signature: ModelSignature;
  /** Of the kind that the configuration says: decoupled, or not. */
  readonly instances: InstanceGroup | InstanceGroup<DecoupledChannel>;
  /** Bound of the queue when the configuration gives none. */
  readonly defaultMaxQueueSize: number;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly nestedCalls: NestedCalls;
  readonly onFault: (error: unknown) => void;
}

/** The scheduler that a model version's configuration asks for (reference section 7). */
export function createScheduler(options: CreateSchedulerOptions): Scheduler {
  const { config, signature, reporter, clock, onFault } = options;
  const maxQueueSize = config.dynamicBatching?.defaultQueuePolicy?.maxQueueSize || options.defaultMaxQueueSize;
  const common = { signature, maxQueueSize, reporter, clock, onFault };
  if (isDecoupled(config)) {
    const instances = options.instances as InstanceGroup<DecoupledChannel>;
    return new DecoupledScheduler({ ...common, instances, modelOutputCount: instances.metadata.outputs.length });
  }
  const instances = options.instances as InstanceGroup;
  return new DynamicBatchScheduler({ ...common, policy: batchPolicy(config, signature), instances });
}

/** What the configuration says of its transactions. */
export function isDecoupled(config: ModelConfig): boolean {
  return config.modelTransactionPolicy?.decoupled ?? false;
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
