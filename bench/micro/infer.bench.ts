/**
 * The door with everything behind it but the model: admission, validation, queue, batch, split, statistics. One request at a time, and as many in a tick as
 * make a full batch. `node dist/bench/micro/infer.bench.js`
 */

import { Admission } from '../../server/data-plane/admission.ts';
import { InferenceDoor } from '../../server/data-plane/infer.ts';
import { RequestRecorder } from '../../server/data-plane/request-recorder.ts';
import { MetricsRegistry } from '../../server/metrics/metrics.ts';
import { parseMetricsConfig } from '../../server/metrics/metrics-config.ts';
import { encodeRequest } from '../../server/protocols/oip-json/encode-request.ts';
import type { ModelRepository } from '../../server/repository/model-repository.ts';
import { addSubRequest, answeredModel, CountingCaller, MAX_BATCH_SIZE, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 128;
const clock = new TickClock();
const model = answeredModel(clock);
const metrics = new MetricsRegistry({ config: parseMetricsConfig([]) });
metrics.register(model.reporter);
// Requests come with their model here: nothing is looked up.
const open = (recorder: RequestRecorder | null): InferenceDoor =>
  new InferenceDoor(null as unknown as ModelRepository, new Admission(4096, 2 ** 30), clock, null, recorder);
const door = open(null);
// One whose requests have all been taken, as it is for all but the first ones.
const recordingDoor = open(new RequestRecorder({ directory: '', count: 0, encode: encodeRequest, warn: () => {} }));
const caller = new CountingCaller();
const kept: object[] = new Array(COUNT);

function answer(requestsPerTick: number, through: InferenceDoor = door): number {
  for (let sent = 0; sent < COUNT; ) {
    for (let i = 0; i < requestsPerTick; i++, sent++) through.infer(addSubRequest(caller), model);
    clock.tick();
  }
  return caller.count;
}

/** Each with a deadline that does not come. */
function answerInTime(): number {
  for (let sent = 0; sent < COUNT; ) {
    for (let i = 0; i < 64; i++, sent++) {
      const request = addSubRequest(caller);
      request.deadlineNs = clock.nowNs() + 3_600e9;
      door.infer(request, model);
    }
    clock.tick();
  }
  return caller.count;
}

const bench = new CallBench('an inference request from the door to its answer, add_sub [1,16]')
  .add('making the request alone', COUNT, () => {
    for (let i = 0; i < COUNT; i++) kept[i] = addSubRequest(caller);
    return kept.length;
  })
  .add('one request a tick', COUNT, () => answer(1))
  .add(`${MAX_BATCH_SIZE} requests a tick, one batch`, COUNT, () => answer(MAX_BATCH_SIZE))
  .add('64 requests a tick, 8 batches', COUNT, () => answer(64))
  .add('64 requests a tick, each with a deadline', COUNT, answerInTime)
  .add('64 requests a tick, and a recorder that has its requests', COUNT, () => answer(64, recordingDoor));
await bench.run();
if (model.scheduler.inflightCount > 0) throw new Error(`${model.scheduler.inflightCount} requests were not answered`);
await metrics.close();
