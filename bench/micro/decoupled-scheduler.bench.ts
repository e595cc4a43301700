/** A request of a decoupled model from `enqueue` to its end, with an instance that responds at once: `node dist/bench/micro/decoupled-scheduler.bench.js` */

import type { Tensor } from '../../proto/tensor.ts';
import type { DecoupledChannel, DecoupledExecution, DecoupledRun } from '../../server/execution/decoupled-execution.ts';
import { InferenceRequest } from '../../server/inference/inference-request.ts';
import type { ModelSignature } from '../../server/inference/model-signature.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { DecoupledScheduler } from '../../server/scheduling/decoupled-scheduler.ts';
import { TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const REQUESTS = 64;
const value = { datatype: 'INT32', shape: [1], data: new Uint8Array(4) } as const;
const spec = { datatype: 'INT32', byteSize: 4, dims: [1], optional: false, reshape: null, labels: null } as const;
const outputs: readonly Tensor[] = [
  { name: 'OUT', ...value },
  { name: 'IDX', ...value },
];
const signature: ModelSignature = {
  modelName: 'counting',
  modelVersion: '1',
  maxBatchSize: 0,
  inputs: [{ name: 'IN', ...spec }],
  outputs: outputs.map(({ name }) => ({ name, ...spec })),
  inputIndex: new Map([['IN', 0]]),
  outputIndex: new Map(outputs.map(({ name }, i) => [name, i])),
  requiredInputs: 1,
};
const run: DecoupledRun = { cancel: () => {}, resume: () => {} };

/** Takes any number of requests, which are answered by `answer`. */
class EagerChannel implements DecoupledChannel {
  readonly hasCapacity = true;
  readonly isFree = true;
  readonly isAlive = true;
  readonly inflightCount = 0;
  readonly started: DecoupledExecution[] = [];
  readonly #memory = new Uint8Array(64);

  expect(): void {}

  start(execution: DecoupledExecution): DecoupledRun {
    execution.writeInput(0, this.#memory.subarray(0, execution.inputs[0]!.byteLength));
    this.started.push(execution);
    return run;
  }

  answer(responses: number): void {
    for (const execution of this.started) {
      for (let i = 0; i < responses; i++) execution.respond(outputs);
      execution.complete();
    }
    this.started.length = 0;
  }

  async release(): Promise<void> {}
}

let count = 0;
const caller = {
  onResponse: () => {
    count++;
  },
  onComplete: () => {
    count++;
  },
  onError: (_: unknown, error: Error) => {
    throw error;
  },
};
const inputs: readonly Tensor[] = [{ name: 'IN', ...value }];

function newRequest(namesOutput: boolean): InferenceRequest {
  const request = new InferenceRequest({
    modelName: 'counting',
    modelVersion: '',
    id: '',
    inputs,
    outputs: namesOutput ? [{ name: 'OUT', classification: 0, binaryData: false }] : [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller,
  });
  request.boundInputs = inputs;
  return request;
}

const bench = new CallBench('decoupled scheduler; per request');
for (const [responses, namesOutput] of [
  [0, false],
  [1, false],
  [100, false],
  [100, true],
] as const) {
  const clock = new TickClock();
  const channel = new EagerChannel();
  const onFault = (error: unknown): never => {
    throw error;
  };
  const scheduler = new DecoupledScheduler({
    signature,
    maxQueueSize: REQUESTS,
    instances: { take: () => channel },
    modelOutputCount: outputs.length,
    reporter: new ModelReporter('counting', '1', {}, true),
    clock,
    onFault,
  });
  bench.add(`${responses} responses${namesOutput ? ', one of two outputs wanted' : ''}`, REQUESTS, () => {
    for (let i = 0; i < REQUESTS; i++) scheduler.enqueue(newRequest(namesOutput));
    clock.tick();
    channel.answer(responses);
    clock.tick();
    return count;
  });
}
await bench.run();
