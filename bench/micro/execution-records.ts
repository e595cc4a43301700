import type { ModelMetadata } from '../../backends/api/backend.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ExecutionBatch } from '../../server/execution/execution-host.ts';

/** A model that gives its inputs back, and one batch for it: what the benchmarks of both ends of the host boundary run. */
export interface ExampleExecution {
  readonly what: string;
  readonly metadata: ModelMetadata;
  readonly batch: ExecutionBatch;
  readonly outputs: readonly Tensor[];
}

export function exampleExecution(what: string, datatype: Datatype, shape: readonly number[], tensorCount: number): ExampleExecution {
  const elements = shape.reduce((product, dim) => product * dim, 1);
  const data = datatype === 'BYTES' ? encodeBytes(new Array(elements).fill('a token')) : new Uint8Array(elements * byteSizeOf(datatype));
  const tensors = (prefix: string): Tensor[] =>
    Array.from({ length: tensorCount }, (_, i) => ({ name: `${prefix}${i}`, datatype, shape, data }));
  const describe = ({ name }: Tensor) => ({ name, datatype, shape: [-1, ...shape.slice(1)], optional: false });
  const inputs = tensors('IN');
  const outputs = tensors('OUT');
  return {
    what,
    metadata: { inputs: inputs.map(describe), outputs: outputs.map(describe) },
    batch: {
      inputs: inputs.map((input) => ({ ...input, byteLength: data.length })),
      writeInput: (_, target) => target.set(data),
      complete: () => {},
      fail: (error) => {
        throw error;
      },
    },
    outputs,
  };
}

export const EXAMPLES: readonly ExampleExecution[] = [
  exampleExecution('1 x FP32 [1,16]', 'FP32', [1, 16], 1),
  exampleExecution('2 x FP32 [1,16]', 'FP32', [1, 16], 2),
  exampleExecution('8 x FP32 [1,16]', 'FP32', [1, 16], 8),
  exampleExecution('1 x FP32 [8,3,224,224]', 'FP32', [8, 3, 224, 224], 1),
  exampleExecution('1 x BYTES [32,16]', 'BYTES', [32, 16], 1),
];
