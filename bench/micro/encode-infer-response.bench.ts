/**
 * An InferenceResponse to a ModelInferResponse, against protobufjs' encoder given the same outputs as plain objects.
 * `node dist/bench/micro/encode-infer-response.bench.js`
 */

import protobuf from 'protobufjs/light.js';
import { descriptor } from '../../proto/gen/descriptor.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest } from '../../server/inference/inference-request.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import { encodeInferResponse } from '../../server/protocols/oip-grpc/encode-infer-response.ts';
import { CallBench } from './call-bench.ts';

const responseType = protobuf.Root.fromJSON(descriptor).resolveAll().lookupType('inference.ModelInferResponse');
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const source = { maxBatchSize: 8, outputs: [] };
const request = new InferenceRequest({
  modelName: 'simple',
  modelVersion: '',
  id: '42',
  inputs: [],
  outputs: [],
  parameters: {},
  priority: 0,
  timeoutUs: 0,
  caller: { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined },
});
const bench = new CallBench('a ModelInferResponse, ours and protobufjs');

function add(what: string, count: number, outputs: readonly Tensor[]): void {
  const response = new InferenceResponse('simple', '1', outputs, null, timing);
  bench.add(`${what}: ours`, count, () => {
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += encodeInferResponse(request, response, source, 'unary').length;
    return bytes;
  });
  bench.add(`${what}: ours, in a stream`, count, () => {
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += encodeInferResponse(request, response, source, 'streamed-final').length;
    return bytes;
  });
  bench.add(`${what}: protobufjs`, count, () => {
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const message = {
        modelName: response.modelName,
        modelVersion: response.modelVersion,
        id: request.id,
        outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
        rawOutputContents: outputs.map(({ data }) => data),
      };
      bytes += responseType.encode(message).finish().length;
    }
    return bytes;
  });
}

const small = ['OUTPUT0', 'OUTPUT1'].map((name): Tensor => ({ name, datatype: 'INT32', shape: [1, 16], data: new Uint8Array(64) }));
add('simple, 2 outputs of 64 bytes', 1000, small);
add('1,000 FP32', 1000, [{ name: 'OUTPUT0', datatype: 'FP32', shape: [1, 1000], data: new Uint8Array(4000) }]);
add('600 KB', 10, [{ name: 'OUTPUT0', datatype: 'FP32', shape: [1, 3, 224, 224], data: new Uint8Array(4 * 3 * 224 * 224) }]);
await bench.run();
