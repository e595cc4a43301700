/** Walking, taking apart and putting together the elements of a BYTES tensor: `node dist/bench/micro/bytes.bench.js` */

import { countBytesElements, decodeBytes, encodeBytes, skipBytesElements } from '../../proto/bytes.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 10_000;
const bench = new CallBench(`BYTES tensors of ${COUNT} elements, per element`);
const texts: [string, (index: number) => string][] = [
  ['8 bytes', (index) => String(10_000_000 + index)],
  ['200 bytes', (index) => `${index}`.padStart(200, 'abc')],
];
for (const [what, textOf] of texts) {
  const strings = Array.from({ length: COUNT }, (_, i) => textOf(i));
  const buffers = strings.map((text) => Buffer.from(text));
  const data = encodeBytes(strings);
  bench
    .add(`count, ${what}`, COUNT, () => countBytesElements(data, 'X'))
    .add(`skip, ${what}`, COUNT, () => skipBytesElements(data, 0, COUNT))
    .add(`decode, ${what}`, COUNT, () => decodeBytes(data, 'X').length)
    .add(`encode strings, ${what}`, COUNT, () => encodeBytes(strings).length)
    .add(`encode bytes, ${what}`, COUNT, () => encodeBytes(buffers).length);
}
await bench.run();
