/**
 * A ModelInferRequest to an InferenceRequest, against protobufjs' decoder: alone, and with the same made of what it gives (for raw tensors).
 * `node dist/bench/micro/decode-infer-request.bench.js`
 */

import protobuf from 'protobufjs/light.js';
import { findDatatype } from '../../proto/datatype.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { InferenceRequest } from '../../server/inference/inference-request.ts';
import { InferRequestMessage } from '../../server/protocols/oip-grpc/decode-infer-request.ts';
import type { InferTarget } from '../../server/protocols/oip-json/decode-request.ts';
import { CallBench } from './call-bench.ts';

const requestType = protobuf.Root.fromJSON(descriptor).resolveAll().lookupType('inference.ModelInferRequest');
const caller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };
const IMAGE = 3 * 224 * 224;

function target(datatype: 'INT32' | 'FP32', count: number): InferTarget {
  const names = Array.from({ length: count }, (_, i) => i);
  return {
    modelName: 'simple',
    modelVersion: '1',
    maxBatchSize: 8,
    inputs: names.map((i) => ({ name: `INPUT${i}`, datatype, dims: [-1] })),
    outputs: names.map((i) => ({ name: `OUTPUT${i}` })),
  };
}

interface Decoded {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly inputs: readonly { name: string; datatype: string; shape: readonly (number | { toNumber(): number })[] }[];
  readonly outputs: readonly { name: string }[];
  readonly rawInputContents: readonly Uint8Array[];
}

/** The least that makes an InferenceRequest of what protobufjs gives. */
function convert(decoded: Decoded): InferenceRequest {
  return new InferenceRequest({
    modelName: decoded.modelName,
    modelVersion: decoded.modelVersion,
    id: decoded.id,
    inputs: decoded.inputs.map(({ name, datatype, shape }, i) => ({
      name,
      datatype: findDatatype(datatype)!.name,
      shape: shape.map((dim) => (typeof dim === 'number' ? dim : dim.toNumber())),
      data: decoded.rawInputContents[i]!,
    })),
    outputs: decoded.outputs.map(({ name }) => ({ name, classification: 0, binaryData: true })),
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}

const bench = new CallBench('a ModelInferRequest, ours and protobufjs');

function add(what: string, count: number, to: InferTarget, request: object): void {
  const message = Buffer.from(requestType.encode(requestType.fromObject(request)).finish());
  bench.add(`${what}, ${message.length} bytes: ours`, count, () => {
    let inputs = 0;
    for (let i = 0; i < count; i++) {
      const one = new InferRequestMessage(message);
      one.open();
      inputs += one.decode(to, caller).inputs.length;
    }
    return inputs;
  });
  if ('rawInputContents' in request) {
    bench.add(`${what}, ${message.length} bytes: protobufjs, InferenceRequest`, count, () => {
      let inputs = 0;
      for (let i = 0; i < count; i++) inputs += convert(requestType.decode(message) as unknown as Decoded).inputs.length;
      return inputs;
    });
  }
  bench.add(`${what}, ${message.length} bytes: protobufjs`, count, () => {
    let inputs = 0;
    for (let i = 0; i < count; i++) inputs += (requestType.decode(message) as unknown as { inputs: unknown[] }).inputs.length;
    return inputs;
  });
}

const simple = target('INT32', 2);
const inputs = simple.inputs.map(({ name, datatype }) => ({ name, datatype, shape: [1, 16] }));
const values = Array.from({ length: 16 }, (_, i) => i * 100);
const head = { modelName: 'simple', id: '42' };
add('simple, raw', 1000, simple, { ...head, inputs, rawInputContents: inputs.map(() => new Uint8Array(64)) });
add('simple, raw, outputs named', 1000, simple, {
  ...head,
  inputs,
  outputs: simple.outputs,
  rawInputContents: inputs.map(() => new Uint8Array(64)),
});
add('simple, typed', 1000, simple, { ...head, inputs: inputs.map((input) => ({ ...input, contents: { intContents: values } })) });
const image = target('FP32', 1);
const imageInput = { name: 'INPUT0', datatype: 'FP32', shape: [1, 3, 224, 224] };
add('image, raw', 100, image, { ...head, inputs: [imageInput], rawInputContents: [new Uint8Array(4 * IMAGE)] });
const singles = Array.from({ length: IMAGE }, (_, i) => Math.fround(Math.sin(i)));
add('image, typed FP32', 1, image, { ...head, inputs: [{ ...imageInput, contents: { fp32Contents: singles } }] });
const integers = Array.from({ length: IMAGE }, (_, i) => (i * 7919) % 100_000);
add('image, typed INT32', 1, target('INT32', 1), {
  ...head,
  inputs: [{ ...imageInput, datatype: 'INT32', contents: { intContents: integers } }],
});
await bench.run();
