/**
 * The other control: ONNX Runtime's own JavaScript binding in a loop, batch 1, one thread, nothing else in the process. Prints runs per second.
 * `node dist/bench/scenarios/raw-onnxruntime.js <model.onnx> <seconds>`
 */

import { InferenceSession, Tensor } from 'onnxruntime-node';

const [modelPath, seconds] = process.argv.slice(2);
const session = await InferenceSession.create(modelPath!, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const feeds: Record<string, Tensor> = {};
for (const input of session.inputMetadata) {
  if (!input.isTensor) throw new Error(`${input.name} is no tensor`);
  const shape = input.shape.map((dim) => (typeof dim === 'number' && dim > 0 ? dim : 1));
  const count = shape.reduce((a, b) => a * b, 1);
  const data = input.type === 'int32' ? new Int32Array(count).fill(1) : new Float32Array(count).fill(1);
  feeds[input.name] = new Tensor(input.type, data, shape);
}
for (let i = 0; i < 1000; i++) await session.run(feeds);
const untilMs = performance.now() + Number(seconds) * 1000;
const startedMs = performance.now();
let runs = 0;
while (performance.now() < untilMs) {
  for (let i = 0; i < 50; i++) await session.run(feeds);
  runs += 50;
}
console.log(runs / ((performance.now() - startedMs) / 1000));
await session.release();
