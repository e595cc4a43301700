/** What a request pays for its place where a queue policy orders it: `node dist/bench/micro/policy-queue.bench.js` */

import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import { PolicyQueue } from '../../server/scheduling/policy-queue.ts';
import type { QueuePolicies } from '../../server/scheduling/queue-policy.ts';
import { addSubRequest, CountingCaller } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 4096;
const caller = new CountingCaller();
/** Request i is of level 1 + i mod `levels`. */
function requestsOf(levels: number): InferenceRequest[] {
  return Array.from({ length: COUNT }, (_, i) => Object.assign(addSubRequest(caller), { priority: 1 + (i % levels), queuedNs: i }));
}

function policies(levels: number, timeoutNs: number, allowsOverride: boolean): QueuePolicies {
  const defaultPolicy = { maxSize: COUNT, timeoutNs, allowsOverride, isDelayed: false };
  return { levels, defaultLevel: 1, defaultPolicy, byLevel: new Map() };
}

const bench = new CallBench('queue with a policy');
for (const levels of [1, 3, 1000]) {
  const queue = new PolicyQueue(policies(levels, 1e9, false));
  const requests = requestsOf(levels);
  bench
    .add(`push + shift, empty queue, ${levels} levels`, COUNT, () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) {
        queue.push(requests[i]!);
        sum += queue.shift().batchSize;
      }
      return sum;
    })
    .add(`push + look at + shift, 4,096 waiting, ${levels} levels`, COUNT, () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) queue.push(requests[i]!);
      for (let i = 0; i < COUNT; i++) sum += queue.at(i).batchSize;
      while (queue.length > 0) sum += queue.shift().batchSize;
      return sum;
    });
}
for (const [name, allowsOverride] of [
  ['one timeout for all', false],
  ['timeouts of their own', true],
] as const) {
  const queue = new PolicyQueue(policies(3, 1e9, allowsOverride));
  const requests = requestsOf(3);
  bench.add(`push + timeout, 16 at a time, ${name}`, COUNT, () => {
    const rejected: InferenceRequest[] = [];
    for (let i = 0; i < COUNT; i++) queue.push(requests[i]!);
    for (let i = 15; i < COUNT; i += 16) queue.expire(1e9 + i, rejected);
    return rejected.length;
  });
}
await bench.run();
