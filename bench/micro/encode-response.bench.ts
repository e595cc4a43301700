import { Bench } from 'tinybench';
import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest, type RequestedOutput } from '../../server/inference/inference-request.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import { respondInference } from '../../server/protocols/oip-rest/respond-inference.ts';
import type { HttpBody, HttpExchange } from '../../server/transports/http-exchange.ts';
import { printThroughput } from './throughput.ts';

/** Answers of 150,000 numbers as JSON, against JSON.stringify of the same; and the small answer that most requests get. */
const COUNT = 150_000;

let bodyBytes = 0;
const exchange = {
  respond(_status: number, _headers: readonly string[], body: HttpBody): void {
    bodyBytes = 0;
    for (const piece of Array.isArray(body) ? (body as Uint8Array[]) : [body as Uint8Array]) bodyBytes += piece.length;
  },
} as unknown as HttpExchange;

function requestFor(outputs: readonly RequestedOutput[]): InferenceRequest {
  return new InferenceRequest({
    modelName: 'densenet',
    modelVersion: '1',
    id: '42',
    inputs: [],
    outputs,
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller: { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined },
  });
}

const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const source = { maxBatchSize: 8, outputs: [{ name: 'Y', labels: null }] };
const bench = new Bench({ time: 400, warmupTime: 200 });
const sizes = new Map<string, number>();

function add(
  what: string,
  datatype: Datatype,
  values: Float32Array | Float64Array | Int32Array | BigInt64Array,
  requested: readonly RequestedOutput[] = [],
): void {
  const tensor: Tensor = {
    name: 'Y',
    datatype,
    shape: [1, values.length],
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  };
  const response = new InferenceResponse('densenet', '1', [tensor], null, timing);
  const request = requestFor(requested);
  respondInference(exchange, request, response, source);
  sizes.set(`${what}: ours`, bodyBytes);
  bench.add(`${what}: ours`, () => respondInference(exchange, request, response, source));
  if (requested.length > 0) return;
  const stringify = (): number => {
    const data = values instanceof BigInt64Array ? Array.from(values, Number) : Array.from(values);
    const outputs = [{ name: 'Y', datatype, shape: [1, values.length], data }];
    return Buffer.from(JSON.stringify({ id: '42', model_name: 'densenet', model_version: '1', outputs })).length;
  };
  sizes.set(`${what}: JSON.stringify`, stringify());
  bench.add(`${what}: JSON.stringify`, () => {
    stringify();
  });
}

const singles = Float32Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3);
add('FP32', 'FP32', singles);
add(
  'FP64',
  'FP64',
  Float64Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3),
);
add(
  'INT32',
  'INT32',
  Int32Array.from({ length: COUNT }, (_, i) => (i * 7919) % 100_000),
);
add(
  'INT64 (JSON.stringify of Numbers is not exact)',
  'INT64',
  BigInt64Array.from({ length: COUNT }, (_, i) => BigInt(i) ** 3n * 977n),
);
add('10 FP32', 'FP32', singles.subarray(100, 110));
add('10 FP32, binary', 'FP32', singles.subarray(100, 110), [{ name: 'Y', classification: 0, binaryData: true }]);
await bench.run();
printThroughput(bench, sizes);
