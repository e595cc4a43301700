/** JSON strings to length-prefixed UTF-8, by what is in them; against JSON.parse and the bytes of its strings. `node dist/bench/micro/string-scanner.bench.js` */

import { encodeBytes } from '../../proto/bytes.ts';
import { ArrayWalker } from '../../server/protocols/oip-json/array-walker.ts';
import { scanStrings } from '../../server/protocols/oip-json/string-scanner.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1000;
const lists: [string, (index: number) => string][] = [
  ['5 bytes', (index) => String(10_000 + index)],
  ['40 bytes', (index) => `${index}`.padStart(40, 'abc ')],
  ['400 bytes', (index) => `${index}`.padStart(400, 'abc ')],
  ['40 bytes with escapes', (index) => `${index}`.padStart(40, 'a "quote"\n')],
  ['40 characters that are no ASCII', (index) => `${index}`.padStart(40, 'naïve Größe ')],
];

const bench = new CallBench(`a string of a BYTES tensor of ${COUNT}`);
for (const [what, textOf] of lists) {
  const bytes = Buffer.from(JSON.stringify(Array.from({ length: COUNT }, (_, i) => textOf(i))));
  bench
    .add(`${what}: scanner`, COUNT, () => scanStrings(new ArrayWalker(bytes, 0, 'X', 'BYTES', [COUNT], COUNT), 0).length)
    .add(`${what}: JSON.parse`, COUNT, () => encodeBytes(JSON.parse(bytes.toString('utf8')) as string[]).length);
}
await bench.run();
