/** Merging the inputs of a batch and splitting its outputs: `node dist/bench/micro/batch.bench.js` */

import { encodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest } from '../../server/inference/inference-request.ts';
import type { ModelSignature } from '../../server/inference/model-signature.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { Batch, type BatchContext } from '../../server/scheduling/batch.ts';
import { CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 16;
const caller = new CountingCaller();
const memory = new Uint8Array(32 * 1024 * 1024);

function signatureOf(datatype: Datatype, columns: number, tensors: number): ModelSignature {
  const byteSize = datatype === 'BYTES' ? 0 : 4;
  const dims = [columns];
  const inputs = Array.from({ length: tensors }, (_, i) => ({ name: `IN${i}`, datatype, byteSize, dims, optional: false, reshape: null }));
  const outputs = inputs.map(({ name }) => ({ name: name.replace('IN', 'OUT'), datatype, byteSize, dims, reshape: null, labels: null }));
  return {
    modelName: 'identity',
    modelVersion: '1',
    maxBatchSize: 32,
    inputs,
    outputs,
    inputIndex: new Map(inputs.map(({ name }, i) => [name, i])),
    outputIndex: new Map(outputs.map(({ name }, i) => [name, i])),
    requiredInputs: tensors,
  };
}

function rows(count: number, datatype: Datatype, columns: number): Uint8Array {
  return datatype === 'BYTES' ? encodeBytes(new Array(count * columns).fill('a token')) : new Uint8Array(count * columns * 4);
}

/** Every request is concatenated with the others, told apart by two tensors that the server makes, and gets back what its shape says. */
function raggedSignature(columns: number): ModelSignature {
  const signature = signatureOf('FP32', columns, 1);
  const made = (['ACCUMULATED_ELEMENT_COUNT_WITH_ZERO', 'ITEM_SHAPE'] as const).map((kind) => ({
    name: kind,
    kind,
    datatype: 'INT32' as const,
    source: 0,
  }));
  return { ...signature, batchTensors: { ragged: [true], made, scatterBy: [0] } };
}

function addCase(
  what: string,
  requestCount: number,
  datatype: Datatype,
  columns: number,
  tensors: number,
  signature: ModelSignature = signatureOf(datatype, columns, tensors),
): void {
  const context: BatchContext = {
    signature,
    reporter: new ModelReporter('identity', '1', {}),
    clock: new TickClock(),
    responder: null,
    onBatchEnd: () => {},
    onBatchDivided: () => {},
    onFault: (error) => {
      throw error;
    },
  };
  const requests = Array.from({ length: requestCount }, () => {
    const inputs: Tensor[] = signature.inputs.map(({ name }) => ({
      name,
      datatype,
      shape: [1, columns],
      data: rows(1, datatype, columns),
    }));
    const request = new InferenceRequest({
      modelName: 'identity',
      modelVersion: '',
      id: '',
      inputs,
      outputs: [],
      parameters: {},
      priority: 0,
      timeoutUs: 0,
      caller,
    });
    request.boundInputs = inputs;
    return request;
  });
  const outputs: Tensor[] = signature.outputs.map(({ name }) => ({
    name,
    datatype,
    shape: [requestCount, columns],
    data: rows(requestCount, datatype, columns),
  }));
  const timing = { inferNs: 100, outputNs: 50 };
  const count = columns > 10_000 ? 4 : COUNT;
  bench.add(what, count, () => {
    for (let i = 0; i < count; i++) {
      const batch = new Batch(requests, context);
      for (let input = 0; input < batch.inputs.length; input++)
        batch.writeInput(input, memory.subarray(0, batch.inputs[input]!.byteLength));
      for (let r = 0; r < requestCount; r++) requests[r]!.isDone = false;
      batch.complete(outputs, timing);
    }
    return caller.count;
  });
}

const bench = new CallBench('a batch: merged, its inputs written, its outputs split');
addCase('1 request, FP32 [1,16]', 1, 'FP32', 16, 1);
addCase('1 request, 2 x FP32 [1,16]', 1, 'FP32', 16, 2);
addCase('8 requests, 2 x FP32 [1,16]', 8, 'FP32', 16, 2);
addCase('32 requests, 2 x FP32 [1,16]', 32, 'FP32', 16, 2);
addCase('8 requests, FP32 [1,150528]', 8, 'FP32', 150_528, 1);
addCase('32 requests, BYTES [1,16]', 32, 'BYTES', 16, 1);
addCase('8 requests, ragged FP32 [1,16], 2 made, scattered', 8, 'FP32', 16, 1, raggedSignature(16));
await bench.run();
