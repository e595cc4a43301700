import type {
  ModelConfig,
  ModelSequenceBatching,
  ModelSequenceBatchingControl,
  ModelSequenceBatchingInitialState,
  ModelSequenceBatchingState,
} from '../../backends/api/model-config.ts';

type Mistake = (field: string, message: string) => void;

const correlationIdTypes: ReadonlySet<string> = new Set(['TYPE_UINT64', 'TYPE_INT64', 'TYPE_UINT32', 'TYPE_INT32', 'TYPE_STRING']);

/** The rules of sequence_batching (reference 5.7), but for those of batch sizes. */
export function findSequenceMistakes(config: ModelConfig, batching: ModelSequenceBatching, mistake: Mistake): void {
  const utilization = batching.direct?.minimumSlotUtilization ?? 0;
  if (utilization < 0 || utilization > 1)
    mistake('sequence_batching.direct.minimum_slot_utilization', `expected 0 to 1, got ${utilization}`);
  if (config.modelTransactionPolicy?.decoupled)
    mistake('sequence_batching', 'expected none in a decoupled model: sequences of requests with several responses each are not supported');
  const kinds = new Set<string>();
  const tensors = new Set<string>();
  for (const [index, input] of batching.controlInput.entries()) {
    const path = `sequence_batching.control_input[${index}]`;
    if (input.name === '') mistake(`${path}.name`, 'expected the name of a model input, got none');
    if (tensors.has(input.name))
      mistake(`${path}.name`, `'${input.name}' is in another control_input; each control has a tensor of its own`);
    tensors.add(input.name);
    checkNotListed(`${path}.name`, input.name, config, mistake);
    if (input.control.length !== 1)
      mistake(`${path}.control`, `expected one control, got ${input.control.length}: each has a tensor of its own`);
    for (const [at, control] of input.control.entries()) {
      if (kinds.has(control.kind)) mistake(`${path}.control[${at}].kind`, `${control.kind} is given twice`);
      kinds.add(control.kind);
      checkControl(`${path}.control[${at}]`, control, mistake);
    }
  }
  const outputs = new Set<string>();
  for (const [index, state] of batching.state.entries()) {
    const path = `sequence_batching.state[${index}]`;
    checkState(path, state, mistake);
    checkNotListed(`${path}.input_name`, state.inputName, config, mistake);
    if (tensors.has(state.inputName)) mistake(`${path}.input_name`, `'${state.inputName}' is another state or a control already`);
    if (outputs.has(state.outputName)) mistake(`${path}.output_name`, `'${state.outputName}' is another state already`);
    tensors.add(state.inputName);
    outputs.add(state.outputName);
  }
}

function checkNotListed(field: string, name: string, config: ModelConfig, mistake: Mistake): void {
  const index = config.input.findIndex((input) => input.name === name);
  if (index >= 0 && name !== '') mistake(field, `'${name}' is made by the server, and clients cannot send it: remove input[${index}]`);
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

function checkState(path: string, state: ModelSequenceBatchingState, mistake: Mistake): void {
  if (state.inputName === '') mistake(`${path}.input_name`, 'expected the name of a model input, got none');
  if (state.outputName === '') mistake(`${path}.output_name`, 'expected the name of a model output, got none');
  if (state.dataType === 'TYPE_INVALID') mistake(`${path}.data_type`, 'expected a data type such as TYPE_FP32, got none');
  if (state.dims.some((dim) => dim !== -1 && dim < 1))
    mistake(`${path}.dims`, `expected every dimension -1, or 1 or more, got [${state.dims.join(', ')}]`);
  if (state.initialState.length > 1) mistake(`${path}.initial_state`, `expected at most one, got ${state.initialState.length}`);
  for (const [at, initial] of state.initialState.entries()) checkInitialState(`${path}.initial_state[${at}]`, initial, state, mistake);
}

function checkInitialState(
  path: string,
  initial: ModelSequenceBatchingInitialState,
  state: ModelSequenceBatchingState,
  mistake: Mistake,
): void {
  if (initial.name === '') mistake(`${path}.name`, 'expected a name, got none');
  if (initial.dataType !== state.dataType) mistake(`${path}.data_type`, `expected the state's ${state.dataType}, got ${initial.dataType}`);
  if (initial.dims.some((dim) => dim < 1)) mistake(`${path}.dims`, `expected every dimension 1 or more, got [${initial.dims.join(', ')}]`);
  if (initial.dims.length !== state.dims.length) {
    mistake(`${path}.dims`, `expected as many dimensions as the state has (${state.dims.length}), got ${initial.dims.length}`);
  } else if (initial.dims.some((dim, axis) => state.dims[axis] !== -1 && state.dims[axis] !== dim)) {
    mistake(`${path}.dims`, `expected the state's [${state.dims.join(', ')}], -1 for any size, got [${initial.dims.join(', ')}]`);
  }
  if (initial.zeroData === null && (initial.dataFile === null || initial.dataFile === ''))
    mistake(path, 'expected zero_data, or data_file with the name of a file, got neither');
}
