import type { ModelConfig, ModelDynamicBatching } from '../../backends/api/model-config.ts';
import { findEnsembleMistakes } from './find-ensemble-mistakes.ts';
import { findSequenceMistakes } from './validate-sequence-config.ts';

type Mistake = (field: string, message: string) => void;

/** The rules of dynamic_batching, sequence_batching, ensemble_scheduling, and of what may not be combined with them (reference 5.6 to 5.9). */
export function findScheduleMistakes(config: ModelConfig, mistake: Mistake): void {
  const { dynamicBatching, sequenceBatching, ensembleScheduling } = config;
  // Without inputs or outputs, max_batch_size 0 may mean "what the model's file says": sizes are compared once that is known.
  const isBatchSizeOpen = config.maxBatchSize === 0 && (config.input.length === 0 || config.output.length === 0);
  const maxBatchSize = isBatchSizeOpen ? Number.POSITIVE_INFINITY : config.maxBatchSize;
  if (dynamicBatching !== null) checkDynamicBatching(dynamicBatching, maxBatchSize, mistake);
  if (sequenceBatching !== null) {
    findSequenceMistakes(config, sequenceBatching, mistake);
    const preferred = sequenceBatching.oldest?.preferredBatchSize ?? [];
    checkPreferred('sequence_batching.oldest.preferred_batch_size', preferred, maxBatchSize, mistake);
  }
  if (ensembleScheduling !== null) checkEnsemble(config, mistake);
  if (ensembleScheduling === null && config.platform === 'ensemble')
    mistake('ensemble_scheduling', 'expected it with platform ensemble, got none');
  if (config.responseCache?.enable && (sequenceBatching !== null || config.modelTransactionPolicy?.decoupled)) {
    mistake(
      'response_cache.enable',
      'expected false with sequence batching or a decoupled model, as their responses depend on more than the request',
    );
  }
}

function checkDynamicBatching(batching: ModelDynamicBatching, maxBatchSize: number, mistake: Mistake): void {
  checkPreferred('dynamic_batching.preferred_batch_size', batching.preferredBatchSize, maxBatchSize, mistake);
  const { priorityLevels, defaultPriorityLevel } = batching;
  if (priorityLevels > 0 && (defaultPriorityLevel < 1 || defaultPriorityLevel > priorityLevels)) {
    mistake('dynamic_batching.default_priority_level', `expected 1 to ${priorityLevels} (priority_levels), got ${defaultPriorityLevel}`);
  }
  if (priorityLevels === 0 && defaultPriorityLevel > 0) {
    mistake('dynamic_batching.default_priority_level', `expected 0 while priority_levels is 0, got ${defaultPriorityLevel}`);
  }
  for (const key of Object.keys(batching.priorityQueuePolicy)) {
    if (Number(key) < 1 || Number(key) > priorityLevels) {
      mistake(`dynamic_batching.priority_queue_policy["${key}"]`, `expected a level from 1 to priority_levels (${priorityLevels})`);
    }
  }
  if (!batching.preserveOrdering) return;
  if (priorityLevels > 1) mistake('dynamic_batching.preserve_ordering', `expected false with ${priorityLevels} priority levels, got true`);
  const policies = [batching.defaultQueuePolicy, ...Object.values(batching.priorityQueuePolicy)];
  if (policies.some((policy) => policy?.timeoutAction === 'DELAY' && policy.defaultTimeoutMicroseconds > 0)) {
    mistake('dynamic_batching.preserve_ordering', 'expected false with a queue policy that delays requests, got true');
  }
}

function checkPreferred(path: string, sizes: readonly number[], maxBatchSize: number, mistake: Mistake): void {
  for (const [index, size] of sizes.entries()) {
    if (size < 1 || size > maxBatchSize)
      mistake(
        `${path}[${index}]`,
        size < 1 ? `expected 1 or more, got ${size}` : `expected 1 to max_batch_size (${maxBatchSize}), got ${size}`,
      );
  }
}

function checkEnsemble(config: ModelConfig, mistake: Mistake): void {
  findEnsembleMistakes(config, mistake);
  const batching = config.dynamicBatching !== null ? 'dynamic_batching' : config.sequenceBatching !== null ? 'sequence_batching' : null;
  if (batching !== null) mistake(batching, 'expected none in an ensemble; the models of its steps batch for themselves');
  if (config.backend !== '') mistake('backend', `expected none in an ensemble, got '${config.backend}'; remove it`);
  if (config.optimization !== null) mistake('optimization', 'expected none in an ensemble, as it has no model of its own');
  if (config.modelWarmup.length > 0) mistake('model_warmup', 'expected none in an ensemble; warm up the models of its steps');
  if (config.instanceGroup.length > 0) mistake('instance_group', 'expected none in an ensemble, as it has no instances of its own');
}
