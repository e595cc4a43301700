/** One literal to a number, by each of the ways that there are; against Number() of the text. `node dist/bench/micro/decimal-reader.bench.js` */

import { DecimalReader } from '../../server/protocols/oip-json/decimal-reader.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1000;
const reader = new DecimalReader();
const values = Array.from({ length: COUNT }, (_, i) => Math.sin(i) * 3);
const kinds: [string, (value: number) => string][] = [
  ['3 digits', (value) => value.toFixed(2)],
  ['7 digits', (value) => value.toPrecision(7)],
  ['a float32 as a double (17 digits)', (value) => String(Math.fround(value))],
  ['exponent', (value) => (value * 1e-12).toExponential(6)],
  ['30 digits', (value) => `${value.toFixed(15)}123456789012345`],
  ['40 digits, by text', (value) => `${value.toFixed(15)}1234567890123456789012345`],
];

const bench = new CallBench('a decimal literal');
for (const [what, textOf] of kinds) {
  const texts = values.map(textOf);
  const bytes = Buffer.from(`${texts.join(',')},`);
  const finish = (toNumber: 'toFloat32' | 'toDouble') => (): number => {
    let sum = 0;
    for (let at = 0; at < bytes.length; at = reader.end + 1) {
      reader.read(bytes, at);
      sum += reader[toNumber](bytes);
    }
    return sum;
  };
  bench
    .add(`${what}: float32`, COUNT, finish('toFloat32'))
    .add(`${what}: double`, COUNT, finish('toDouble'))
    .add(`${what}: Number()`, COUNT, () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) sum += Number(texts[i]);
      return sum;
    });
}
await bench.run();
