import type { ModelConfig } from '../../backends/api/model-config.ts';
import { byteSizeOf, type Datatype, datatypeFromConfig } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import type { BatchTensors, InputSpec, MadeInput, MadeInputKind, ModelSignature, OutputSpec } from '../inference/model-signature.ts';

/** The signature of a completed configuration. `labels` by output name. */
export function createSignature(config: ModelConfig, version: string, labels: ReadonlyMap<string, readonly string[]>): ModelSignature {
  const inputs: InputSpec[] = config.input.map((input) => {
    const datatype = requireDatatype(input.dataType, `input '${input.name}'`);
    return {
      name: input.name,
      datatype,
      byteSize: byteSizeOf(datatype),
      dims: input.dims,
      optional: input.optional,
      reshape: input.reshape === null ? null : input.reshape.shape,
    };
  });
  const outputs: OutputSpec[] = config.output.map((output) => {
    const datatype = requireDatatype(output.dataType, `output '${output.name}'`);
    return {
      name: output.name,
      datatype,
      byteSize: byteSizeOf(datatype),
      dims: output.dims,
      reshape: output.reshape === null ? null : output.reshape.shape,
      labels: labels.get(output.name) ?? null,
    };
  });
  return {
    modelName: config.name,
    modelVersion: version,
    maxBatchSize: config.maxBatchSize,
    inputs,
    outputs,
    inputIndex: new Map(inputs.map((spec, index) => [spec.name, index])),
    outputIndex: new Map(outputs.map((spec, index) => [spec.name, index])),
    requiredInputs: inputs.filter((spec) => !spec.optional).length,
    batchTensors: batchTensors(config),
  };
}

function batchTensors(config: ModelConfig): BatchTensors | null {
  const { input, output, batchInput, batchOutput } = config;
  if (batchInput.length === 0 && batchOutput.length === 0 && !input.some((one) => one.allowRaggedBatch)) return null;
  const indexOf = (name: string | undefined): number => input.findIndex((one) => one.name === name);
  return {
    ragged: input.map((one) => one.allowRaggedBatch),
    made: batchInput.flatMap(({ targetName, kind, dataType, sourceInput }) =>
      targetName.map(
        (name): MadeInput => ({
          name,
          kind: kind.replace('BATCH_', '') as MadeInputKind,
          datatype: dataType === 'TYPE_FP32' ? 'FP32' : 'INT32',
          source: indexOf(sourceInput[0]),
        }),
      ),
    ),
    scatterBy: output.map(({ name }) => indexOf(batchOutput.find((one) => one.targetName.includes(name))?.sourceInput[0])),
  };
}

/** Positions of the inputs with an open dimension, ragged ones left out: requests of one batch must agree on these, and can differ in no other that matters. */
export function variableInputs(signature: ModelSignature): number[] {
  const indexes: number[] = [];
  signature.inputs.forEach((spec, index) => {
    if (spec.dims.includes(-1) && !signature.batchTensors?.ragged[index]) indexes.push(index);
  });
  return indexes;
}

function requireDatatype(configName: string, what: string): Datatype {
  const datatype = datatypeFromConfig(configName);
  if (datatype === undefined)
    throw invalidArgument(`${what}: data_type is ${configName}; expected one of the protocol's types, such as TYPE_FP32`);
  return datatype;
}
