/** The JSON of an infer request by what it has beside numbers, against JSON.parse: `node dist/bench/micro/request-json.bench.js` */

import { RequestJsonParser } from '../../server/protocols/oip-json/request-json.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const expected = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'FP32' as const }));
const expectedOutputs = ['OUTPUT0', 'OUTPUT1'].map((name) => ({ name }));
const binary = expected.map(({ name, datatype }) => ({ name, shape: [1, 16], datatype, parameters: { binary_data_size: 64 } }));
const numbers = expected.map(({ name, datatype }) => ({
  name,
  shape: [1, 16],
  datatype,
  data: Array.from({ length: 16 }, (_, i) => i / 8),
}));
const nested = numbers.map((input) => ({ ...input, data: [input.data] }));
const outputs = expectedOutputs.map(({ name }) => ({ name, parameters: { binary_data: true } }));
const documents: [string, object, number][] = [
  ['2 binary inputs', { inputs: binary }, 128],
  ['2 inputs of 16 numbers', { inputs: numbers }, 0],
  ['the same, nested', { inputs: nested }, 0],
  ['with id and outputs', { id: '42', inputs: binary, outputs }, 128],
  ['with parameters', { inputs: binary, parameters: { priority: 1, timeout: 5000, binary_data_output: true, user: 'me', top_k: 5 } }, 128],
  ['with keys that are ignored', { inputs: binary, client: 'x', trace: { id: 'abc', parts: [1, 2, 3] } }, 128],
  ['32 binary inputs of other names', { inputs: Array.from({ length: 32 }, (_, i) => ({ ...binary[0], name: `x${i}` })) }, 32 * 64],
];

const bench = new CallBench('the JSON of an infer request');
for (const [what, document, tailBytes] of documents) {
  const json = Buffer.from(JSON.stringify(document));
  const body = Buffer.concat([json, new Uint8Array(tailBytes)]);
  bench
    .add(`${what}: ours`, COUNT, () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) {
        const parser = new RequestJsonParser(body, json.length, expected, expectedOutputs);
        parser.parse();
        sum += parser.inputs.length;
      }
      return sum;
    })
    .add(`${what}: JSON.parse`, COUNT, () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) sum += (JSON.parse(json.toString('utf8')) as { inputs: object[] }).inputs.length;
      return sum;
    });
}
await bench.run();
