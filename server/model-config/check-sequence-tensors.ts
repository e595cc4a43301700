import type { ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import type { ModelConfig, ModelSequenceBatchingControl } from '../../backends/api/model-config.ts';
import { DATATYPES } from '../../proto/datatype.ts';
import { didYouMean } from '../../proto/nearest-name.ts';

type Mismatch = (field: string, message: string) => void;

/** A control or state of sequence_batching: an input that the server fills in, no client sends. */
export function isSequenceInput({ sequenceBatching }: ModelConfig, name: string): boolean {
  if (sequenceBatching === null) return false;
  const { controlInput, state } = sequenceBatching;
  return controlInput.some((control) => control.name === name) || state.some((one) => one.inputName === name);
}

export function isStateOutput({ sequenceBatching }: ModelConfig, name: string): boolean {
  return sequenceBatching?.state.some((one) => one.outputName === name) ?? false;
}

/** Controls and states are inputs and outputs of the model's file, of the same type and a shape that fits: [1] for each request of a control. */
export function checkSequenceTensors(config: ModelConfig, metadata: ModelMetadata, mismatch: Mismatch): void {
  const batching = config.sequenceBatching;
  if (batching === null) return;
  const batchDims = config.maxBatchSize > 0 ? 1 : 0;
  for (const [index, { name, control: controls }] of batching.controlInput.entries()) {
    const path = `sequence_batching.control_input[${index}]`;
    const known = find('input', `${path}.name`, name, metadata.inputs, mismatch);
    if (known === null) continue;
    for (const [at, control] of controls.entries()) {
      const expected = DATATYPES[known.datatype].configName;
      const type = controlType(control);
      if (type !== expected)
        mismatch(`${path}.control[${at}]`, `the model says '${name}' is ${expected}, the configuration makes it ${type}`);
    }
    const dims = known.shape.slice(batchDims);
    if (known.shape.length < batchDims || dims.length > 1 || dims.some((dim) => dim !== 1 && dim !== -1)) {
      mismatch(
        `${path}.name`,
        `the server gives '${name}' the shape ${shapeText(batchDims === 1 ? [-1, 1] : [1])}, the model expects ${shapeText(known.shape)}`,
      );
    }
  }
  for (const [index, state] of batching.state.entries()) {
    const path = `sequence_batching.state[${index}]`;
    const sides = [
      ['input', state.inputName, metadata.inputs],
      ['output', state.outputName, metadata.outputs],
    ] as const;
    for (const [side, name, tensors] of sides) {
      const known = find(side, `${path}.${side}_name`, name, tensors, mismatch);
      if (known === null) continue;
      const expected = DATATYPES[known.datatype].configName;
      if (state.dataType !== expected)
        mismatch(`${path}.data_type`, `the model says '${name}' is ${expected}, the configuration ${state.dataType}`);
      const dims = known.shape.slice(batchDims);
      if (dims.length === state.dims.length && dims.every((dim, axis) => dim === -1 || state.dims[axis] === -1 || dim === state.dims[axis]))
        continue;
      const without = batchDims === 1 ? ' (without the batch dimension)' : '';
      mismatch(
        `${path}.dims`,
        `the model says '${name}' has the shape ${shapeText(dims)}${without}, the configuration ${shapeText(state.dims)}`,
      );
    }
  }
}

function find(
  side: 'input' | 'output',
  field: string,
  name: string,
  tensors: readonly TensorMetadata[],
  mismatch: Mismatch,
): TensorMetadata | null {
  const known = tensors.find((tensor) => tensor.name === name);
  if (known !== undefined) return known;
  const names = tensors.map((tensor) => tensor.name);
  mismatch(field, `the model has no ${side} '${name}'${didYouMean(name, names) || '.'} Its ${side}s are: ${names.join(', ')}`);
  return null;
}

function controlType(control: ModelSequenceBatchingControl): string {
  if (control.kind === 'CONTROL_SEQUENCE_CORRID') return control.dataType;
  if (control.fp32FalseTrue.length > 0) return 'TYPE_FP32';
  return control.boolFalseTrue.length > 0 ? 'TYPE_BOOL' : 'TYPE_INT32';
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}
