/** The best classes of a row, as a classification request asks for them: `node dist/bench/micro/classification.bench.js` */

import type { Datatype } from '../../proto/datatype.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { classifyTensor } from '../../server/protocols/classification.ts';
import { CallBench } from './call-bench.ts';

function tensor(datatype: Datatype, shape: readonly number[], values: ArrayBufferView): Tensor {
  return { name: 'Y', datatype, shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

const scores = Float32Array.from({ length: 1_000_000 }, (_, i) => Math.sin(i * 12.9898) * 10);
const halves = Uint16Array.from({ length: 1000 }, (_, i) => 0x3000 + ((i * 7919) % 0x1000));
const counts = Int32Array.from(scores.subarray(0, 1000), (score) => score * 1e6);
const labels = Array.from({ length: 1000 }, (_, i) => `label ${i}`);
const digits = tensor('FP32', [1, 10], scores.subarray(0, 10));
const images = tensor('FP32', [1, 1000], scores.subarray(0, 1000));

const bench = new CallBench('classification, a tensor');
const cases: [string, number, Tensor, number, readonly string[] | null][] = [
  ['FP32 [1,10], best 1', 64, digits, 1, null],
  ['FP32 [1,1000], best 1', 64, images, 1, null],
  ['FP32 [1,1000], best 5', 64, images, 5, null],
  ['FP32 [1,1000], best 5 with labels', 64, images, 5, labels],
  ['FP32 [8,1000], best 5', 8, tensor('FP32', [8, 1000], scores.subarray(0, 8000)), 5, null],
  ['FP32 [1,1000], all 1,000', 1, images, 1000, null],
  ['FP16 [1,1000], best 5', 64, tensor('FP16', [1, 1000], halves), 5, null],
  ['INT32 [1,1000], best 5', 64, tensor('INT32', [1, 1000], counts), 5, null],
  ['FP32 [1,1000000], best 5', 1, tensor('FP32', [1, 1_000_000], scores), 5, null],
];
for (const [what, calls, output, classes, names] of cases) {
  bench.add(what, calls, () => {
    let sum = 0;
    for (let i = 0; i < calls; i++) sum += classifyTensor(output, classes, true, names).data.length;
    return sum;
  });
}
await bench.run();
