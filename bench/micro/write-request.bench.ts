/** Laying a batch out for its host, record and inputs: `node dist/bench/micro/write-request.bench.js` */

import { requestBytes } from '../../server/execution/execution-record.ts';
import { ModelTensors } from '../../server/execution/model-tensors.ts';
import { createPrivateMemory } from '../../server/execution/shared-memory.ts';
import { inputAreaBytes, writeOutputRoom, writeRequest } from '../../server/execution/write-request.ts';
import { CallBench } from './call-bench.ts';
import { EXAMPLES } from './execution-records.ts';

const memory = createPrivateMemory(16 * 1024 * 1024);
const words = new Float64Array(memory.buffer);
const bytes = new Uint8Array(memory.buffer);

const bench = new CallBench('write request, a batch');
for (const { what, metadata, batch } of EXAMPLES) {
  const tensors = new ModelTensors('model:1', metadata);
  const calls = batch.inputs[0]!.byteLength > 1e6 ? 1 : 256;
  bench.add(what, calls, () => {
    let sum = 0;
    for (let i = 0; i < calls; i++) {
      const recordBytes = requestBytes(batch.inputs);
      const outputOffset = recordBytes + inputAreaBytes(batch);
      writeRequest(words, bytes, 0, recordBytes, 1, i, tensors, batch);
      writeOutputRoom(words, 0, outputOffset, tensors.responseBytes, outputOffset + tensors.responseBytes, tensors.outputBytes(batch));
      sum += outputOffset;
    }
    return sum;
  });
}
await bench.run();
memory.close();
