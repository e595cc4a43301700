/** Holding a host's answer against the model and its memory: `node dist/bench/micro/check-response.bench.js` */

import { type ResponseArea, readOutputs, readResponseError } from '../../server/execution/check-response.ts';
import {
  alignTensor,
  OUTPUT_BYTES,
  OUTPUT_OFFSET,
  OUTPUT_RANK,
  OUTPUT_WORDS,
  RESPONSE_COUNT,
  RESPONSE_SEQUENCE,
  RESPONSE_STATUS,
  RESPONSE_WORDS,
  STATUS_OK,
} from '../../server/execution/execution-record.ts';
import { CallBench } from './call-bench.ts';
import { EXAMPLES } from './execution-records.ts';

const RECORD_WORDS = 128;

const bench = new CallBench('check response, an answer');
for (const { what, metadata, outputs } of EXAMPLES) {
  const total = outputs.reduce((sum, { data }) => sum + alignTensor(data.length), 0);
  const bytes = new Uint8Array(RECORD_WORDS * 8 + total);
  const words = new Float64Array(bytes.buffer, 0, RECORD_WORDS);
  words[RESPONSE_SEQUENCE] = 7;
  words[RESPONSE_STATUS] = STATUS_OK;
  words[RESPONSE_COUNT] = outputs.length;
  let word = RESPONSE_WORDS;
  let offset = words.byteLength;
  for (const { shape, data } of outputs) {
    words[word + OUTPUT_BYTES] = data.length;
    words[word + OUTPUT_OFFSET] = offset;
    words[word + OUTPUT_RANK] = shape.length;
    words.set(shape, word + OUTPUT_WORDS);
    word += OUTPUT_WORDS + shape.length;
    bytes.set(data, offset);
    offset += alignTensor(data.length);
  }
  const area: ResponseArea = { words, at: 0, wordCount: RECORD_WORDS, bytes, start: words.byteLength, end: bytes.length };
  bench.add(what, 128, () => {
    let sum = 0;
    for (let i = 0; i < 128; i++) {
      if (readResponseError(area, 7) === null) sum += readOutputs(area, metadata, null)!.length;
    }
    return sum;
  });
}
await bench.run();
