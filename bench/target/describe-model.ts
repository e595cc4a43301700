import type { ModelConfig, ModelMetadata } from '../../clients/typescript/src/server-facts.ts';
import { DATATYPES, findDatatype } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { TargetModel, TargetTensor } from './target.ts';

/**
 * Metadata and configuration in one. `config`: null for a server without Triton's configuration extension (MLServer, OpenVINO Model Server), of whose models neither batching nor
 * optional inputs are known. Throws INTERNAL for metadata that do not describe tensors.
 */
export function describeModel(metadata: ModelMetadata, config: ModelConfig | null, version: string): TargetModel {
  const optional = new Set<unknown>();
  for (const input of listOf(config?.['input'])) if (input['optional'] === true) optional.add(input['name']);
  const policy = config?.['model_transaction_policy'] as { readonly decoupled?: unknown } | null | undefined;
  return {
    name: metadata.name,
    version,
    inputs: metadata.inputs.map((input) => describeTensor('inputs', input, optional.has(input.name))),
    outputs: metadata.outputs.map((output) => describeTensor('outputs', output, false)),
    maxBatchSize: Math.max(0, Number(config?.['max_batch_size'] ?? 0) || 0),
    isDecoupled: policy?.decoupled === true,
    hasSequences: typeof config?.['sequence_batching'] === 'object' && config['sequence_batching'] !== null,
  };
}

function describeTensor(kind: string, tensor: ModelMetadata['inputs'][number], isOptional: boolean): TargetTensor {
  const { name, datatype } = tensor;
  const info = findDatatype(String(datatype));
  if (info === undefined) {
    const names = Object.keys(DATATYPES);
    const hint = didYouMean(String(datatype), names);
    throw new InferenceError('INTERNAL', `${kind}.${name}.datatype: expected one of ${names.join(', ')}, got '${String(datatype)}'${hint}`);
  }
  // 64-bit numbers are text in the JSON that protobuf's own library writes.
  const shape = Array.isArray(tensor.shape) ? tensor.shape.map(Number) : [];
  if (!Array.isArray(tensor.shape) || shape.some((dim) => !Number.isSafeInteger(dim))) {
    throw new InferenceError('INTERNAL', `${kind}.${name}.shape: expected integers, got ${JSON.stringify(tensor.shape)}`);
  }
  return { name: String(name), datatype: info.name, shape, isOptional };
}

function listOf(json: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(json) ? (json as Readonly<Record<string, unknown>>[]) : [];
}
