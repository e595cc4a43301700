/**
 * A response's outputs kept beyond its answer and released: where they lie in a host's tensor memory, and where they have to be copied.
 * `node dist/bench/micro/kept-outputs.bench.js`
 */

import { KeptRegions } from '../../server/execution/kept-regions.ts';
import { createPrivateMemory } from '../../server/execution/shared-memory.ts';
import { TensorArena } from '../../server/execution/tensor-arena.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import { KeptOutputs } from '../../server/inference/kept-outputs.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 16;
const MEMORY_BYTES = 64 * 1024 * 1024;
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const memory = createPrivateMemory(MEMORY_BYTES);
const arena = new TensorArena(0, MEMORY_BYTES);
const regions = new KeptRegions(memory, arena);
const bench = new CallBench('outputs kept and released');

function responseOf(data: Uint8Array): InferenceResponse {
  return new InferenceResponse('model', '1', [{ name: 'OUTPUT0', datatype: 'UINT8', shape: [1, data.length], data }], null, timing);
}

/** A batch's memory from its allocation to its end, with one response in it. */
function answered(bytes: number, keeps: boolean): number {
  const region = arena.allocate(bytes);
  const response = responseOf(new Uint8Array(memory.buffer, region, bytes));
  const outer = regions.enter(region);
  const kept = keeps ? new KeptOutputs(response) : null;
  regions.leave(outer);
  regions.free(region);
  kept?.release();
  return region;
}

for (const bytes of [256, 1024, 16 * 1024, 602_112]) {
  const heap = responseOf(new Uint8Array(bytes));
  bench.add(`${bytes} bytes: a batch without`, COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) sum += answered(bytes, false);
    return sum;
  });
  bench.add(`${bytes} bytes: left in tensor memory`, COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) sum += answered(bytes, true);
    return sum;
  });
  bench.add(`${bytes} bytes: copied`, COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) {
      const kept = new KeptOutputs(heap);
      sum += kept.tensors[0]!.data.length;
      kept.release();
    }
    return sum;
  });
}
await bench.run();
