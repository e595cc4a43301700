/** The 16-bit floating-point types to doubles and back: `node dist/bench/micro/float16.bench.js` */

import { fromBf16, fromFp16, toBf16, toFp16 } from '../../proto/float16.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1000;
const values = Float64Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3);
const small = values.map((value) => value * 1e-6);

function convert(from: ArrayLike<number>, one: (value: number) => number): () => number {
  return () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) sum += one(from[i]!);
    return sum;
  };
}

const bench = new CallBench('16-bit floating point, a number')
  .add('to FP16', COUNT, convert(values, toFp16))
  .add('to FP16, subnormal', COUNT, convert(small, toFp16))
  .add('to BF16', COUNT, convert(values, toBf16))
  .add('from FP16', COUNT, convert(Uint16Array.from(values, toFp16), fromFp16))
  .add('from FP16, subnormal', COUNT, convert(Uint16Array.from(small, toFp16), fromFp16))
  .add('from BF16', COUNT, convert(Uint16Array.from(values, toBf16), fromBf16));
await bench.run();
