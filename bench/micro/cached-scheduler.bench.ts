/** The response cache, beside the scheduler without it: `node dist/bench/micro/cached-scheduler.bench.js` */

import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import { InferenceResponse } from '../../server/inference/inference-response.ts';
import { CacheKeys } from '../../server/scheduling/cache/cache-keys.ts';
import { CachedScheduler } from '../../server/scheduling/cache/cached-scheduler.ts';
import { LocalStore } from '../../server/scheduling/cache/local-store.ts';
import { decodeValue, encodeValue } from '../../server/scheduling/cache/redis-value.ts';
import type { Scheduler } from '../../server/scheduling/scheduler.ts';
import { addSubRequest, answeredModel, COLUMNS, CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const caller = new CountingCaller();

/** The scheduler asks for the end of the tick, and so does the cache in front of it. */
class SharedTickClock extends TickClock {
  #waiting: (() => void)[] = [];

  override endOfTick(callback: () => void): void {
    this.#waiting.push(callback);
  }

  override tick(): void {
    while (this.#waiting.length > 0) {
      const callbacks = this.#waiting;
      this.#waiting = [];
      for (const callback of callbacks) callback();
    }
  }
}

function bound(value: number): InferenceRequest {
  const request = addSubRequest(caller);
  const data = new Uint8Array(new Float32Array(COLUMNS).fill(value).buffer);
  request.boundInputs = request.inputs.map((input) => ({ ...input, data }));
  request.inputBytes = 2 * data.length;
  return request;
}

const alike = Array.from({ length: COUNT }, () => bound(1));
const different = Array.from({ length: COUNT }, (_, i) => bound(i));

function schedule(scheduler: Scheduler, clock: SharedTickClock, requests: readonly InferenceRequest[], perTick: number): number {
  for (let sent = 0; sent < COUNT; ) {
    for (let i = 0; i < perTick; i++, sent++) {
      const request = requests[sent]!;
      request.isDone = false;
      scheduler.enqueue(request);
    }
    clock.tick();
  }
  if (scheduler.inflightCount > 0) throw new Error(`${scheduler.inflightCount} requests were not answered`);
  return caller.count;
}

function cachedModel(clock: SharedTickClock, maxBytes: number): { scheduler: CachedScheduler; keys: CacheKeys } {
  const { scheduler: inner, signature, reporter } = answeredModel(clock);
  const identity = (): string => 'one load';
  const onFault = (error: unknown): never => {
    throw error;
  };
  const store = new LocalStore(maxBytes);
  const scheduler = new CachedScheduler({ inner, signature, store, identity, reporter, clock, onFault });
  return { scheduler, keys: new CacheKeys(signature, identity) };
}

const bench = new CallBench('response cache, a request of add_sub [1,16]');
const plain = new SharedTickClock();
const { scheduler: plainScheduler, signature } = answeredModel(plain);
for (const perTick of [1, 8]) bench.add(`no cache, ${perTick} a tick`, COUNT, () => schedule(plainScheduler, plain, different, perTick));

for (const perTick of [1, 8]) {
  const clock = new SharedTickClock();
  const { scheduler } = cachedModel(clock, 1 << 24);
  bench.add(`hit, ${perTick} a tick`, COUNT, () => schedule(scheduler, clock, alike, perTick));
}
for (const perTick of [1, 8]) {
  const clock = new SharedTickClock();
  // Holds half of the requests, which come in turns: each has been pushed out when it comes again.
  const { scheduler } = cachedModel(clock, 32 * 1024);
  bench.add(`miss, ${perTick} a tick`, COUNT, () => schedule(scheduler, clock, different, perTick));
}
{
  const clock = new SharedTickClock();
  // Too small for any response: all that is left is the run that they share.
  const { scheduler } = cachedModel(clock, 8);
  bench.add(`shared run, ${COUNT} alike a tick`, COUNT, () => schedule(scheduler, clock, alike, COUNT));
}

const { keys } = cachedModel(new SharedTickClock(), 1 << 20);
for (const bytes of [128, 16 * 1024, 150_528, 1 << 20]) {
  const request = bound(1);
  const data = new Uint8Array(bytes / 2);
  request.boundInputs = request.inputs.map((input) => ({ ...input, data }));
  request.inputBytes = bytes;
  const count = bytes > 100_000 ? 2 : 16;
  bench.add(`key of ${bytes} bytes`, count, () => {
    let length = 0;
    for (let i = 0; i < count; i++) length += keys.keyOf(request).length;
    return length;
  });
}
{
  const request = bound(1);
  request.boundInputs = request.inputs.map((input) => ({ ...input, data: new Uint8Array(1 << 19) }));
  bench.add('key of 1 MiB, in steps', 1, () => {
    let count = 0;
    const steps = keys.stepsOf(request, 256 * 1024);
    while (steps.next().done !== true) count++;
    return count;
  });
}

const outputs = ['OUTPUT0', 'OUTPUT1'].map((name) => ({
  ...{ name, datatype: 'FP32' as const, shape: [1, COLUMNS], data: new Uint8Array(4 * COLUMNS) },
}));
const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const response = new InferenceResponse('add_sub', '1', outputs, null, timing);
const value = encodeValue(response, 1 << 20)!;
bench.add('value for Redis, written', 16, () => {
  let length = 0;
  for (let i = 0; i < 16; i++) length += encodeValue(response, 1 << 20)!.length;
  return length;
});
bench.add('value from Redis, read and checked', 16, () => {
  let count = 0;
  for (let i = 0; i < 16; i++) count += decodeValue(value, signature)!.outputs.length;
  return count;
});
await bench.run();
