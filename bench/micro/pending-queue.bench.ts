/** What a request pays for its place in the queue: `node dist/bench/micro/pending-queue.bench.js` */

import { PendingQueue } from '../../server/scheduling/pending-queue.ts';
import { addSubRequest, CountingCaller } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 4096;
const caller = new CountingCaller();
const requests = Array.from({ length: COUNT }, () => addSubRequest(caller));
const batch = requests.slice(0, 8);
const queue = new PendingQueue(COUNT);

const bench = new CallBench('pending queue')
  .add('push + shift, empty queue', COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) {
      queue.push(requests[i]!);
      sum += queue.shift().batchSize;
    }
    return sum;
  })
  .add('push + shift, 4,096 waiting', COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) queue.push(requests[i]!);
    while (queue.length > 0) sum += queue.shift().batchSize;
    return sum;
  })
  .add('growing from 16 to 4,096, per request', COUNT, () => {
    const growing = new PendingQueue(COUNT);
    for (let i = 0; i < COUNT; i++) growing.push(requests[i]!);
    return growing.length;
  })
  .add('8 requests back to the front, and out again', COUNT, () => {
    let sum = 0;
    for (let i = 0; i < COUNT; i++) {
      queue.unshift(batch);
      while (queue.length > 0) sum += queue.shift().batchSize;
    }
    return sum;
  })
  .add('removeIf over 4,096, every 16th gone, per request', COUNT, () => {
    for (let i = 0; i < COUNT; i++) queue.push(requests[i]!);
    const removed: typeof requests = [];
    let at = 0;
    queue.removeIf(() => (at++ & 15) === 0, removed);
    while (queue.length > 0) queue.shift();
    return removed.length;
  });
await bench.run();
