/** Frames out of a socket's chunks: `node dist/bench/micro/frame-reader.bench.js` */

import { FrameReader } from '../../server/execution/frame-reader.ts';
import { FRAME_KIND, frameHeader } from '../../server/execution/messages.ts';
import { CallBench } from './call-bench.ts';

const CHUNK_BYTES = 64 * 1024;
let received = 0;
const reader = new FrameReader((_, payload) => {
  received += payload.length;
});

function chunksOf(payloadBytes: number, frames: number, chunkBytes: number): Buffer[] {
  const one = [frameHeader(FRAME_KIND.result, payloadBytes), Buffer.alloc(payloadBytes)];
  const stream = Buffer.concat(Array.from({ length: frames }, () => one).flat());
  return Array.from({ length: Math.ceil(stream.length / chunkBytes) }, (_, i) => stream.subarray(i * chunkBytes, (i + 1) * chunkBytes));
}

const bench = new CallBench('frame reader, a frame');
const cases: [string, number, number, number][] = [
  ['512 bytes, many to a chunk', 512, 256, CHUNK_BYTES],
  ['512 bytes, a chunk each', 512, 256, 517],
  ['64 KiB', 64 * 1024, 16, CHUNK_BYTES],
  ['4 MiB in chunks of 64 KiB', 4 * 1024 * 1024, 1, CHUNK_BYTES],
];
for (const [what, payloadBytes, frames, chunkBytes] of cases) {
  const chunks = chunksOf(payloadBytes, frames, chunkBytes);
  bench.add(what, frames, () => {
    for (let i = 0; i < chunks.length; i++) reader.push(chunks[i]!);
    return received;
  });
}
await bench.run();
