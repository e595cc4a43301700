import { Bench } from 'tinybench';
import type { Datatype } from '../../proto/datatype.ts';
import { scanTensorData } from '../../server/protocols/oip-json/number-scanner.ts';
import { printThroughput } from './throughput.ts';

/** JSON `data` arrays of 150,000 numbers: the scanner against JSON.parse and the typed array made of it. */
const COUNT = 150_000;

const random = ((): (() => number) => {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
})();

const singles = Array.from({ length: COUNT }, () => Math.fround(random() * 2 - 1));
const lists: [string, Datatype, string, (values: number[]) => ArrayBufferView][] = [
  ['FP32, 6 digits', 'FP32', JSON.stringify(singles.map((value) => Number(value.toPrecision(6)))), (values) => Float32Array.from(values)],
  ['FP32, as doubles (17 digits)', 'FP32', JSON.stringify(singles), (values) => Float32Array.from(values)],
  [
    'FP64, random (17 digits)',
    'FP64',
    JSON.stringify(singles.map(() => random() + random() * 2 ** -32)),
    (values) => Float64Array.from(values),
  ],
  ['INT32, to 1000', 'INT32', JSON.stringify(singles.map(() => Math.floor(random() * 1000))), (values) => Int32Array.from(values)],
  [
    'INT64, to 2^53 (JSON.parse is exact no further)',
    'INT64',
    JSON.stringify(singles.map(() => Math.floor(random() * 2 ** 53))),
    (values) => BigInt64Array.from(values, BigInt),
  ],
  ['UINT8', 'UINT8', JSON.stringify(singles.map(() => Math.floor(random() * 256))), (values) => Uint8Array.from(values)],
];

const bench = new Bench({ time: 400, warmupTime: 200 });
const sizes = new Map<string, number>();
for (const [what, datatype, text, convert] of lists) {
  const bytes = Buffer.from(text);
  sizes.set(`${what}: scanner`, bytes.length).set(`${what}: JSON.parse`, bytes.length);
  bench.add(`${what}: scanner`, () => {
    scanTensorData(bytes, 0, 0, 'X', datatype, [COUNT], COUNT);
  });
  bench.add(`${what}: JSON.parse`, () => {
    convert(JSON.parse(bytes.toString('utf8')) as number[]);
  });
}
const strings = Buffer.from(JSON.stringify(singles.map((value) => `token ${value}`)));
sizes.set('BYTES: scanner', strings.length).set('BYTES: JSON.parse', strings.length);
bench.add('BYTES: scanner', () => {
  scanTensorData(strings, 0, 0, 'X', 'BYTES', [COUNT], COUNT);
});
bench.add('BYTES: JSON.parse', () => {
  for (const one of JSON.parse(strings.toString('utf8')) as string[]) Buffer.from(one);
});
await bench.run();
printThroughput(bench, sizes);
