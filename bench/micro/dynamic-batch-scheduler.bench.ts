/** From `enqueue` to the answer, with an instance that answers at once: `node dist/bench/micro/dynamic-batch-scheduler.bench.js` */

import type { InstanceGroup } from '../../server/execution/instance-group.ts';
import { systemClock } from '../../server/inference/clock.ts';
import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import type { Model } from '../../server/repository/model.ts';
import { DynamicBatchScheduler, type DynamicBatchSchedulerOptions } from '../../server/scheduling/dynamic-batch-scheduler.ts';
import { directPolicy } from '../../server/scheduling/form-batch.ts';
import { LearnedBatching } from '../../server/scheduling/learned/learned-batching.ts';
import type { Scheduler } from '../../server/scheduling/scheduler.ts';
import { addSubRequest, answeredModel, CountingCaller, MAX_BATCH_SIZE, TickClock } from './answered-model.ts';
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

function schedule(scheduler: Scheduler, clock: TickClock, requestsPerTick: number): number {
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
    bench.add(`${perTick} a tick, ${instances} instances`, COUNT, () => schedule(model.scheduler, clock, perTick));
  }
}
// By itself, before anything else has run: what most servers run.
await bench.run();

/** The scheduler of the model, with what a configuration may ask for. */
function special(clock: TickClock, options: (model: Model) => Partial<DynamicBatchSchedulerOptions>): Scheduler {
  const model = answeredModel(clock);
  const { signature, reporter } = model;
  const instances = model.instances as InstanceGroup;
  const policy = { ...directPolicy, maxBatchSize: MAX_BATCH_SIZE, preferredBatchSizes: [MAX_BATCH_SIZE] };
  const onFault = (error: unknown): never => {
    throw error;
  };
  return new DynamicBatchScheduler({ signature, policy, maxQueueSize: 4096, instances, reporter, clock, onFault, ...options(model) });
}

const wait = { maxSize: 4096, timeoutNs: 1e9, allowsOverride: false, isDelayed: false };
const cases: [string, (model: Model) => Partial<DynamicBatchSchedulerOptions>][] = [
  ['priorities and timeouts', () => ({ queuePolicies: { levels: 2, defaultLevel: 1, defaultPolicy: wait, byLevel: new Map() } })],
  ['order preserved', () => ({ preservesOrder: true })],
  [
    'speed learned',
    ({ signature, reporter }) => ({
      advisor: new LearnedBatching({
        signature,
        maxBatchSize: MAX_BATCH_SIZE,
        variableInputs: [],
        maxQueueTimeNs: 1e10,
        instances: { aliveCount: 1 },
        reporter,
        clock: systemClock,
      }),
    }),
  ],
];
const specials = new CallBench('the same, after all of the above');
for (const [name, options] of cases) {
  const clock = new TickClock();
  const scheduler = special(clock, options);
  for (const perTick of [1, 64]) specials.add(`${perTick} a tick, ${name}`, COUNT, () => schedule(scheduler, clock, perTick));
}
await specials.run();
