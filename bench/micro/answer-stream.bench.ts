import { AnswerStream, type StreamWire } from '../../server/transports/answer-stream.ts';
import { CallBench } from './call-bench.ts';

/** A streamed answer's parts without a socket: a token's event is some 100 to 200 bytes. */
const COUNT = 256;

let writes = 0;
let bytesWritten = 0;
const wire: StreamWire = {
  writePart(bytes) {
    writes++;
    bytesWritten += bytes.length;
    return true;
  },
  endParts() {},
  cutOff() {},
  onFault(error) {
    throw error;
  },
};

const text = `data: {"model_name":"tiny_llm","model_version":"1","text_output":" word"}${' '.repeat(60)}\n\n`;
const bytes = Buffer.from(text);
const bench = new CallBench('a part of a streamed answer');
for (const [what, part] of [
  ['text', text],
  ['bytes', bytes],
] as const) {
  bench.add(`${part.length} bytes of ${what}, a stream each, one tick`, COUNT, () => {
    const before = bytesWritten;
    for (const stream of streams) {
      stream.write(part);
      stream.flushQueued();
    }
    return bytesWritten - before;
  });
  bench.add(`${part.length} bytes of ${what}, one stream, one tick`, COUNT, () => {
    const before = writes;
    for (let i = 0; i < COUNT; i++) streams[0]!.write(part);
    streams[0]!.flushQueued();
    return writes - before;
  });
}
const streams = Array.from({ length: COUNT }, () => new AnswerStream(wire));
await bench.run();
