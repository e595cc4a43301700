/** What keeping the order of responses costs, answers in order and not: `node dist/bench/micro/response-order.bench.js` */

import type { InferenceRequest } from '../../server/inference/inference-request.ts';
import { ResponseOrder } from '../../server/scheduling/response-order.ts';
import { ADD_SUB, addSubRequest, answeredModel, COLUMNS, CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 8;
const caller = new CountingCaller();
const { signature } = answeredModel(new TickClock());
const order = new ResponseOrder(signature, COUNT, (error) => {
  throw error;
});
const requests: InferenceRequest[] = Array.from({ length: COUNT }, () => addSubRequest(caller));
const outputs = ADD_SUB.outputs.map(({ name, datatype }) => ({ name, datatype, shape: [1, COLUMNS], data: new Uint8Array(COLUMNS * 4) }));
const timing = { queueNs: 1, computeInputNs: 1, computeInferNs: 1, computeOutputNs: 1 };

/** Answers request `first` first, and then the others in order. */
function answer(first: number): number {
  for (const request of requests) request.isDone = false;
  order.begin(requests);
  order.respond(requests[first]!, outputs, timing);
  for (let i = 0; i < COUNT; i++) if (i !== first) order.respond(requests[i]!, outputs, timing);
  return caller.count;
}

await new CallBench('response order, 8 requests of add_sub, per request')
  .add('in order', COUNT, () => answer(0))
  .add('the last is the first', COUNT, () => answer(COUNT - 1))
  .run();
