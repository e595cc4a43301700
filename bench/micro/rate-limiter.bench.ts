/** Executions of instances that claim resources, beside those of instances that claim none: `node dist/bench/micro/rate-limiter.bench.js` */

import type { ModelInstanceGroup } from '../../backends/api/model-config.ts';
import type { DecoupledChannel, DecoupledExecution } from '../../server/execution/decoupled-execution.ts';
import type { InstanceChannel } from '../../server/execution/execution-host.ts';
import type { InstanceGroup } from '../../server/execution/instance-group.ts';
import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import { DynamicBatchScheduler } from '../../server/scheduling/dynamic-batch-scheduler.ts';
import { directPolicy } from '../../server/scheduling/form-batch.ts';
import { LimitedChannel } from '../../server/scheduling/rate-limit/limited-channel.ts';
import { LimitedDecoupledChannel } from '../../server/scheduling/rate-limit/limited-decoupled-channel.ts';
import { LimitedInstances } from '../../server/scheduling/rate-limit/limited-instances.ts';
import { RateLimiter } from '../../server/scheduling/rate-limit/rate-limiter.ts';
import { addSubRequest, answeredModel, CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const caller = new CountingCaller();
const requests = Array.from({ length: COUNT }, (): InferenceRequest => {
  const request = addSubRequest(caller);
  request.boundInputs = request.inputs;
  return request;
});
const onFault = (error: unknown): never => {
  throw error;
};

function groupOf(count: number): ModelInstanceGroup {
  return {
    ...{ name: 'g', count, kind: 'KIND_CPU', gpus: [], profile: [], passive: false, secondaryDevices: [], hostPolicy: '' },
    rateLimiter: {
      resources: [
        { name: 'R', global: true, count: 1 },
        { name: 'S', global: true, count: 2 },
      ],
      priority: 1,
    },
  };
}

const bench = new CallBench('rate limiter, an execution of add_sub [1,16]');
for (const count of [1, 4]) {
  for (const isLimited of [false, true]) {
    const clock = new TickClock();
    const model = answeredModel(clock, count);
    const group = model.instances as InstanceGroup;
    const limiter = new RateLimiter([], clock);
    const registered = limiter.register('add_sub', [groupOf(count)]);
    const limited = new LimitedInstances<InstanceChannel, LimitedChannel>(
      group,
      () => registered.roles,
      (channel, role) => new LimitedChannel(channel, role, limiter, () => {}),
    );
    const { signature, reporter } = model;
    const instances = isLimited ? limited : group;
    const scheduler = new DynamicBatchScheduler({
      signature,
      policy: directPolicy,
      maxQueueSize: 4096,
      instances,
      reporter,
      clock,
      onFault,
    });
    bench.add(`${count} instances, ${isLimited ? 'two resources' : 'no limit'}`, COUNT, () => {
      for (const request of requests) {
        request.isDone = false;
        scheduler.enqueue(request);
        clock.tick();
      }
      return caller.count;
    });
  }
}

{
  const limiter = new RateLimiter([], new TickClock());
  const { roles } = limiter.register('decoupled', [groupOf(1)]);
  const run = { cancel: () => {}, resume: () => {} };
  let running: DecoupledExecution | null = null;
  const channel: DecoupledChannel = {
    ...{ hasCapacity: true, isFree: true, inflightCount: 0, isAlive: true, expect: () => {}, release: () => Promise.resolve() },
    start: (execution) => {
      running = execution;
      return run;
    },
  };
  const limited = new LimitedDecoupledChannel(channel, roles[0]!, limiter, () => {});
  let ended = 0;
  const execution: DecoupledExecution = {
    ...{ inputs: [], parameters: {}, isPaused: false, writeInput: () => {}, respond: () => {}, fail: onFault },
    complete: () => {
      ended++;
    },
  };
  bench.add('a request of a decoupled model', COUNT, () => {
    for (let i = 0; i < COUNT; i++) {
      if (limited.hasCapacity) limited.start(execution);
      running!.complete();
    }
    return ended;
  });
}
await bench.run();
