/** From `enqueue` to the answer, with an instance that answers at once: `node dist/bench/micro/dynamic-batch-scheduler.bench.js` */

import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import type { Model } from '../../server/repository/model.ts';
import { addSubRequest, answeredModel, CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 128;
const caller = new CountingCaller();

/** Requests as the door hands them on. */
function bound(): InferenceRequest {
  const request = addSubRequest(caller);
  request.boundInputs = request.inputs;
  return request;
}

// Made once: the same ones are answered again and again.
const requests = Array.from({ length: COUNT }, bound);

function schedule(model: Model, clock: TickClock, requestsPerTick: number): number {
  const { scheduler } = model;
  for (let sent = 0; sent < COUNT; ) {
    for (let i = 0; i < requestsPerTick; i++, sent++) {
      const request = requests[sent]!;
      request.isDone = false;
      scheduler.enqueue(request);
    }
    clock.tick();
  }
  if (scheduler.inflightCount > 0) throw new Error(`${scheduler.inflightCount} requests were not answered`);
  return caller.count;
}

const bench = new CallBench('dynamic batch scheduler, a request of add_sub [1,16], at most 8 a batch');
for (const instances of [1, 4]) {
  const clock = new TickClock();
  const model = answeredModel(clock, instances);
  for (const perTick of [1, 8, 64]) {
    bench.add(`${perTick} a tick, ${instances} instances`, COUNT, () => schedule(model, clock, perTick));
  }
}
await bench.run();
