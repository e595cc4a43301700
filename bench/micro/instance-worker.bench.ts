/** The host's end of an execution, for a model that copies its inputs: `node dist/bench/micro/instance-worker.bench.js` */

import type { ModelInstance } from '../../backends/api/backend.ts';
import { requestBytes, WORD_BYTES } from '../../server/execution/execution-record.ts';
import { InstanceWorker } from '../../server/execution/instance-worker.ts';
import { ModelTensors } from '../../server/execution/model-tensors.ts';
import { createPrivateMemory } from '../../server/execution/shared-memory.ts';
import { inputAreaBytes, writeRequest } from '../../server/execution/write-request.ts';
import { CallBench } from './call-bench.ts';
import { EXAMPLES } from './execution-records.ts';

const memory = createPrivateMemory(32 * 1024 * 1024);
const words = new Float64Array(memory.buffer);
const bytes = new Uint8Array(memory.buffer);
const worker = new InstanceWorker();

const bench = new CallBench('instance worker, an execution: record read, outputs written, record of the answer');
for (const { what, metadata, batch } of EXAMPLES) {
  const tensors = new ModelTensors('model:1', metadata);
  const instance: ModelInstance = {
    execute: (inputs, sink) => {
      for (let i = 0; i < inputs.length; i++) {
        const { data, datatype, shape } = inputs[i]!;
        sink.allocate(metadata.outputs[i]!.name, datatype, shape, data.length).set(data);
      }
    },
    dispose: () => {},
  };
  const calls = batch.inputs[0]!.byteLength > 1e6 ? 1 : 128;
  bench.add(what, calls, () => {
    worker.instances.set(1, { instance, metadata, modelName: 'model' });
    const recordBytes = requestBytes(batch.inputs);
    writeRequest(words, bytes, 0, recordBytes, 1, 1, tensors, batch);
    const response = recordBytes + inputAreaBytes(batch);
    const area = response + tensors.responseBytes;
    const areaBytes = tensors.outputBytes(batch) + 64 * 1024;
    let sum = 0;
    for (let i = 0; i < calls; i++) {
      const error = worker.run(words, 0, bytes, bytes, area, areaBytes);
      if (error !== null) throw error;
      sum += worker.writeResponse(words, response / WORD_BYTES, i, error);
    }
    return sum;
  });
}
await bench.run();
memory.close();
