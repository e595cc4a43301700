/** What deciding on a batch costs: `node dist/bench/micro/form-batch.bench.js` */

import { type BatchDecision, type BatchPolicy, directPolicy, formBatch } from '../../server/scheduling/form-batch.ts';
import { PendingQueue } from '../../server/scheduling/pending-queue.ts';
import { addSubRequest, CountingCaller } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1024;
const caller = new CountingCaller();
const queue = new PendingQueue(64);
for (let i = 0; i < 64; i++) {
  const request = addSubRequest(caller);
  request.boundInputs = request.inputs;
  request.queuedNs = i;
  queue.push(request);
}
const one = new PendingQueue(1);
one.push(queue.at(0));
const plain: BatchPolicy = { ...directPolicy, maxBatchSize: 32 };
const decision: BatchDecision = { take: 0, waitNs: 0, isComplete: false, requests: 0, rows: 0 };

const bench = new CallBench('form batch, 64 requests of one row wait');
const cases: [string, PendingQueue, BatchPolicy][] = [
  ['no scheduler: one at a time', queue, directPolicy],
  ['one waits, up to 32', one, plain],
  ['batch of 32', queue, plain],
  ['batch of 32, preferred sizes 4, 8, 16', queue, { ...plain, preferredBatchSizes: [4, 8, 16] }],
  ['batch of 32, delay not over', queue, { ...plain, maxQueueDelayNs: 1e6 }],
  ['batch of 32, two inputs with open dimensions', queue, { ...plain, variableInputs: [0, 1] }],
  ['batch of 32, optional inputs', queue, { ...plain, hasOptionalInputs: true }],
];
for (const [name, waiting, policy] of cases) {
  bench.add(name, COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) {
      formBatch(waiting, policy, 100, decision);
      sum += decision.take;
    }
    return sum;
  });
}
await bench.run();
