import type {
  ModelConfig,
  ModelDynamicBatching,
  ModelEnsembling,
  ModelSequenceBatching,
  ModelSequenceBatchingControl,
} from '../../backends/api/model-config.ts';

type Mistake = (field: string, message: string) => void;

const correlationIdTypes: ReadonlySet<string> = new Set(['TYPE_UINT64', 'TYPE_INT64', 'TYPE_UINT32', 'TYPE_INT32', 'TYPE_STRING']);

/** The rules of dynamic_batching, sequence_batching, ensemble_scheduling, and of what may not be combined with them (reference 5.6 to 5.9). */
export function findScheduleMistakes(config: ModelConfig, mistake: Mistake): void {
  const { dynamicBatching, sequenceBatching, ensembleScheduling } = config;
  // Without inputs or outputs, max_batch_size 0 may mean "what the model's file says": sizes are compared once that is known.
  const isBatchSizeOpen = config.maxBatchSize === 0 && (config.input.length === 0 || config.output.length === 0);
  const maxBatchSize = isBatchSizeOpen ? Number.POSITIVE_INFINITY : config.maxBatchSize;
  if (dynamicBatching !== null) checkDynamicBatching(dynamicBatching, maxBatchSize, mistake);
  if (sequenceBatching !== null) checkSequenceBatching(sequenceBatching, maxBatchSize, mistake);
  if (ensembleScheduling !== null) checkEnsemble(ensembleScheduling, config, mistake);
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

function checkSequenceBatching(batching: ModelSequenceBatching, maxBatchSize: number, mistake: Mistake): void {
  const utilization = batching.direct?.minimumSlotUtilization ?? 0;
  if (utilization < 0 || utilization > 1)
    mistake('sequence_batching.direct.minimum_slot_utilization', `expected 0 to 1, got ${utilization}`);
  if (batching.oldest !== null) {
    checkPreferred('sequence_batching.oldest.preferred_batch_size', batching.oldest.preferredBatchSize, maxBatchSize, mistake);
  }
  const kinds = new Set<string>();
  const tensors = new Set<string>();
  for (const [index, input] of batching.controlInput.entries()) {
    const path = `sequence_batching.control_input[${index}]`;
    if (input.name === '') mistake(`${path}.name`, 'expected the name of a model input, got none');
    if (tensors.has(input.name)) mistake(`${path}.name`, `'${input.name}' is in another control_input; put its controls together`);
    tensors.add(input.name);
    for (const [at, control] of input.control.entries()) {
      if (kinds.has(control.kind)) mistake(`${path}.control[${at}].kind`, `${control.kind} is given twice`);
      kinds.add(control.kind);
      checkControl(`${path}.control[${at}]`, control, mistake);
    }
  }
  checkStates(batching, mistake);
}

function checkControl(path: string, control: ModelSequenceBatchingControl, mistake: Mistake): void {
  const lists = [control.int32FalseTrue, control.fp32FalseTrue, control.boolFalseTrue].filter((list) => list.length > 0);
  if (control.kind === 'CONTROL_SEQUENCE_CORRID') {
    if (lists.length > 0) mistake(path, 'expected data_type alone for CONTROL_SEQUENCE_CORRID, got a *_false_true list');
    if (!correlationIdTypes.has(control.dataType)) {
      mistake(`${path}.data_type`, `expected one of ${[...correlationIdTypes].join(', ')}, got ${control.dataType}`);
    }
  } else if (lists.length !== 1 || lists[0]?.length !== 2) {
    mistake(path, `expected exactly one *_false_true list with two values for ${control.kind}, got ${lists.length}`);
  }
}

function checkStates(batching: ModelSequenceBatching, mistake: Mistake): void {
  for (const [index, state] of batching.state.entries()) {
    const path = `sequence_batching.state[${index}]`;
    if (state.inputName === '') mistake(`${path}.input_name`, 'expected the name of a model input, got none');
    if (state.outputName === '') mistake(`${path}.output_name`, 'expected the name of a model output, got none');
    if (state.dataType === 'TYPE_INVALID') mistake(`${path}.data_type`, 'expected a data type such as TYPE_FP32, got none');
    if (state.initialState.length > 1) mistake(`${path}.initial_state`, `expected at most one, got ${state.initialState.length}`);
    for (const [at, initial] of state.initialState.entries()) {
      const initialPath = `${path}.initial_state[${at}]`;
      if (initial.name === '') mistake(`${initialPath}.name`, 'expected a name, got none');
      if (initial.dataType !== state.dataType)
        mistake(`${initialPath}.data_type`, `expected the state's ${state.dataType}, got ${initial.dataType}`);
      if (initial.dims.some((dim) => dim < 1))
        mistake(`${initialPath}.dims`, `expected every dimension 1 or more, got [${initial.dims.join(', ')}]`);
      if (initial.dims.length !== state.dims.length) {
        mistake(`${initialPath}.dims`, `expected as many dimensions as the state has (${state.dims.length}), got ${initial.dims.length}`);
      }
    }
  }
}

function checkEnsemble(ensemble: ModelEnsembling, config: ModelConfig, mistake: Mistake): void {
  if (ensemble.step.length === 0) mistake('ensemble_scheduling.step', 'expected at least one step, got none');
  for (const [index, step] of ensemble.step.entries()) {
    const path = `ensemble_scheduling.step[${index}]`;
    if (step.modelName === '') mistake(`${path}.model_name`, 'expected the name of a model, got none');
    if (Object.keys(step.inputMap).length === 0) mistake(`${path}.input_map`, 'expected at least one entry, got none');
    if (Object.keys(step.outputMap).length === 0) mistake(`${path}.output_map`, 'expected at least one entry, got none');
  }
  if (config.optimization !== null) mistake('optimization', 'expected none in an ensemble, as it has no model of its own');
  if (config.modelWarmup.length > 0) mistake('model_warmup', 'expected none in an ensemble; warm up the models of its steps');
  if (config.instanceGroup.length > 0) mistake('instance_group', 'expected none in an ensemble, as it has no instances of its own');
}
