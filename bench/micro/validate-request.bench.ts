/** What holding a request to its model's signature costs: `node dist/bench/micro/validate-request.bench.js` */

import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { validateRequest } from '../../server/data-plane/validate-request.ts';
import { InferenceRequest } from '../../server/inference/inference-request.ts';
import type { ModelSignature } from '../../server/inference/model-signature.ts';
import { CountingCaller } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1024;
const caller = new CountingCaller();
const bench = new CallBench('validate a request');

function addCase(
  what: string,
  datatype: Datatype,
  dims: readonly number[],
  inputCount: number,
  outputs: readonly string[],
  isReversed = false,
): void {
  const byteSize = byteSizeOf(datatype);
  const names = Array.from({ length: inputCount }, (_, i) => `INPUT${i}`);
  const outputNames = ['OUTPUT0', 'OUTPUT1'];
  const signature: ModelSignature = {
    modelName: 'model',
    modelVersion: '1',
    maxBatchSize: 8,
    inputs: names.map((name) => ({ name, datatype, byteSize, dims: dims.map(() => -1), optional: false, reshape: null })),
    outputs: outputNames.map((name) => ({ name, datatype, byteSize, dims: [16], reshape: null, labels: null })),
    inputIndex: new Map(names.map((name, i) => [name, i])),
    outputIndex: new Map(outputNames.map((name, i) => [name, i])),
    requiredInputs: inputCount,
  };
  const elements = dims.reduce((product, dim) => product * dim, 1);
  const data = byteSize === 0 ? encodeBytes(new Array(elements).fill('a token')) : new Uint8Array(elements * byteSize);
  const inputs: Tensor[] = names.map((name) => ({ name, datatype, shape: [1, ...dims], data }));
  const request = new InferenceRequest({
    modelName: 'model',
    modelVersion: '',
    id: '',
    inputs: isReversed ? inputs.toReversed() : inputs,
    outputs: outputs.map((name) => ({ name, classification: 0, binaryData: false })),
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
  const count = elements > 1000 && byteSize === 0 ? 8 : COUNT;
  bench.add(what, count, () => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      validateRequest(request, signature);
      sum += request.inputBytes;
    }
    return sum;
  });
}

addCase('1 input, FP32 [1,3,224,224]', 'FP32', [3, 224, 224], 1, []);
addCase('2 inputs, FP32 [1,16]', 'FP32', [16], 2, []);
addCase('2 inputs, 2 outputs by name', 'FP32', [16], 2, ['OUTPUT0', 'OUTPUT1']);
addCase('2 inputs, in another order than the model has them', 'FP32', [16], 2, [], true);
addCase('16 inputs, FP32 [1,16]', 'FP32', [16], 16, []);
addCase('1 input, BYTES [1,16]', 'BYTES', [16], 1, []);
addCase('1 input, BYTES [1,10000]', 'BYTES', [10_000], 1, []);
await bench.run();
