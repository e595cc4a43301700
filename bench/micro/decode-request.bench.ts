import { Bench } from 'tinybench';
import { decodeInferRequest, type InferTarget } from '../../server/protocols/oip-json/decode-request.ts';
import { printThroughput } from './throughput.ts';

/** Whole infer bodies, from four numbers to an image, against JSON.parse and the typed array made of its data. */
const target: InferTarget = {
  modelName: 'densenet',
  modelVersion: '1',
  maxBatchSize: 8,
  inputs: [{ name: 'INPUT0', datatype: 'FP32', dims: [-1] }],
  outputs: [{ name: 'OUTPUT0' }],
};
const caller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };

const bench = new Bench({ time: 400, warmupTime: 200 });
const sizes = new Map<string, number>();
for (const count of [4, 64, 784, 150_528]) {
  const data = Array.from({ length: count }, (_, i) => Number((Math.sin(i) * 3).toPrecision(7)));
  const body = Buffer.from(
    JSON.stringify({ id: '42', inputs: [{ name: 'INPUT0', shape: [1, count], datatype: 'FP32', data }], outputs: [{ name: 'OUTPUT0' }] }),
  );
  sizes.set(`${count} FP32 as JSON: ours`, body.length).set(`${count} FP32 as JSON: JSON.parse`, body.length);
  bench.add(`${count} FP32 as JSON: ours`, () => {
    decodeInferRequest(body, '', target, caller);
  });
  bench.add(`${count} FP32 as JSON: JSON.parse`, () => {
    Float32Array.from((JSON.parse(body.toString('utf8')) as { inputs: { data: number[] }[] }).inputs[0]!.data);
  });
  const head = Buffer.from(
    JSON.stringify({
      id: '42',
      inputs: [{ name: 'INPUT0', shape: [1, count], datatype: 'FP32', parameters: { binary_data_size: 4 * count } }],
    }),
  );
  const binary = Buffer.concat([head, new Uint8Array(4 * count)]);
  const headerLength = String(head.length);
  sizes.set(`${count} FP32 binary: ours`, binary.length);
  bench.add(`${count} FP32 binary: ours`, () => {
    decodeInferRequest(binary, headerLength, target, caller);
  });
  // Without an id the header is the same each time.
  const knownHead = Buffer.from(head.toString().replace('"id":"42",', ''));
  const known = Buffer.concat([knownHead, new Uint8Array(4 * count)]);
  const knownLength = String(knownHead.length);
  sizes.set(`${count} FP32 binary, known header: ours`, known.length);
  bench.add(`${count} FP32 binary, known header: ours`, () => {
    decodeInferRequest(known, knownLength, target, caller);
  });
}
await bench.run();
printThroughput(bench, sizes);
