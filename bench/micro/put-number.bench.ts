/** One number as ASCII digits: `node dist/bench/micro/put-number.bench.js` */

import { MAX_NUMBER_BYTES, putDouble, putFloat32, putInteger, putInteger64 } from '../../server/protocols/oip-json/put-number.ts';
import { CallBench } from './call-bench.ts';

/** More numbers than V8 remembers the texts of. */
const COUNT = 50_000;
const out = new Uint8Array(COUNT * MAX_NUMBER_BYTES);
const singles = Float32Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3);
const doubles = Float64Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3);
const wide = Uint32Array.from(doubles, (value) => Math.abs(value) * 1e9);
const lists: [string, Float32Array | Float64Array | Int32Array, (out: Uint8Array, at: number, value: number) => number][] = [
  ['float32', singles, putFloat32],
  ['float32, 3 digits', singles.map((value) => Math.round(value * 100) / 100), putFloat32],
  ['float32, whole', singles.map((value) => Math.round(value * 1000)), putFloat32],
  ['float32, 1e-30', singles.map((value) => value * 1e-30), putFloat32],
  ['float32, subnormal', singles.map((value) => value * 1e-40), putFloat32],
  ['double', doubles, putDouble],
  ['double, whole', doubles.map((value) => Math.round(value * 1000)), putDouble],
  ['integer, 4 digits', Int32Array.from(doubles, (value) => value * 1000), putInteger],
  ['integer, 9 digits', Int32Array.from(doubles, (value) => value * 3e8), putInteger],
];

const bench = new CallBench('a number of a JSON answer');
for (const [what, values, put] of lists) {
  bench.add(what, COUNT, () => {
    let at = 0;
    for (let i = 0; i < COUNT; i++) at = put(out, at, values[i]!);
    return at;
  });
}
bench.add('double: String() alone', COUNT, () => {
  let length = 0;
  for (let i = 0; i < COUNT; i++) length += String(doubles[i]).length;
  return length;
});
bench.add('integer of 64 bits', COUNT, () => {
  let at = 0;
  for (let i = 0; i < COUNT; i++) at = putInteger64(out, at, wide[i]!, wide[COUNT - 1 - i]!, true);
  return at;
});
await bench.run();
