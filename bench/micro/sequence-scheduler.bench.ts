/** A request of a live sequence, from `enqueue` to the answer, with an instance that answers at once: `node dist/bench/micro/sequence-scheduler.bench.js` */

import type { Tensor } from '../../proto/tensor.ts';
import type { ExecutionBatch, InstanceChannel } from '../../server/execution/execution-host.ts';
import { InstanceGroup } from '../../server/execution/instance-group.ts';
import { InferenceRequest, type RequestSequence } from '../../server/inference/inference-request.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { fillSchedulerDefaults } from '../../server/model-config/normalise-model-config.ts';
import { parseModelConfig } from '../../server/model-config/parse-model-config.ts';
import { createSequenceScheduler } from '../../server/repository/create-sequence-scheduler.ts';
import { createSignature } from '../../server/repository/create-signature.ts';
import { planSequences } from '../../server/scheduling/sequence/sequence-plan.ts';
import type { SequenceScheduler } from '../../server/scheduling/sequence/sequence-scheduler.ts';
import { CountingCaller, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 128;
const ROWS = 32;
const caller = new CountingCaller();

/** No timer, which would keep the process waiting. */
class TimelessClock extends TickClock {
  override readonly schedule = (): number => 0;
  override readonly clear = (): void => {};
}

/** Answers inside `execute` with what is there already: what is left is the server's own work. */
class AnsweringInstance implements InstanceChannel {
  readonly hasCapacity = true;
  readonly isFree = true;
  readonly inflightCount = 0;
  readonly isAlive = true;
  readonly #memory = new Uint8Array(64 * 1024);
  /** By rows. */
  readonly #outputs: readonly (readonly Tensor[])[];

  constructor(names: readonly string[]) {
    this.#outputs = Array.from({ length: ROWS + 1 }, (_, rows) =>
      names.map((name) => ({ name, datatype: 'INT32', shape: [rows, 1], data: new Uint8Array(rows * 4) })),
    );
  }

  expect(): void {}

  execute(batch: ExecutionBatch): boolean {
    const { inputs } = batch;
    for (let i = 0; i < inputs.length; i++) batch.writeInput(i, this.#memory.subarray(0, inputs[i]!.byteLength));
    batch.complete(this.#outputs[inputs[0]!.shape[0]!]!, { inferNs: 100, outputNs: 50 });
    return true;
  }

  async release(): Promise<void> {}
}

function requestOf(id: bigint, isStart: boolean): InferenceRequest {
  const inputs: Tensor[] = [{ name: 'IN', datatype: 'INT32', shape: [1, 1], data: new Uint8Array(4) }];
  const sequence: RequestSequence = { id, isStart, isEnd: false };
  const request = new InferenceRequest({
    modelName: 'adder',
    modelVersion: '',
    id: '',
    inputs,
    outputs: [],
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    sequence,
    caller,
  });
  request.boundInputs = inputs;
  return request;
}

/** A scheduler with so many live sequences, each with a slot. */
function startedScheduler(live: number, hasState: boolean, strategy: string): { scheduler: SequenceScheduler; clock: TickClock } {
  const text = `name: "adder" max_batch_size: ${ROWS}
    input { name: "IN" data_type: TYPE_INT32 dims: 1 } output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
    sequence_batching { ${strategy} max_sequence_idle_microseconds: 1000000000000
      control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
      control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] } }
      control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
      ${hasState ? 'state { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: 1 }' : ''} }`;
  const config = fillSchedulerDefaults(parseModelConfig(text, 'pbtxt', 'config.pbtxt'));
  const onFault = (error: unknown): never => {
    throw error;
  };
  const metadata = { inputs: [], outputs: [] };
  const init = { key: 'adder:1', metadata, onCapacity: () => {}, onFailed: onFault, onStop: () => Promise.resolve() };
  const instances = new InstanceGroup(init);
  instances.add([new AnsweringInstance(hasState ? ['OUT', 'STATE_OUT'] : ['OUT'])]);
  const clock = new TimelessClock();
  const plan = planSequences(config, createSignature(config, '1', new Map()), metadata, new Map());
  const reporter = new ModelReporter('adder', '1', {});
  const scheduler = createSequenceScheduler({ config, plan, instances, maxQueueSize: 20_000, reporter, clock, onFault });
  for (let id = 1; id <= live; id++) scheduler.enqueue(requestOf(BigInt(id), true));
  clock.tick();
  if (scheduler.liveCount !== live || scheduler.inflightCount > 0) throw new Error(`${scheduler.liveCount} of ${live} sequences began`);
  return { scheduler, clock };
}

const bench = new CallBench(`sequence scheduler, at most ${ROWS} rows an execution`);
for (const hasState of [false, true]) {
  for (const [strategy, live] of [
    ['direct { }', ROWS],
    ['oldest { max_candidate_sequences: 100000 }', 100],
    ['oldest { max_candidate_sequences: 100000 }', 10_000],
  ] as const) {
    const { scheduler, clock } = startedScheduler(live, hasState, strategy);
    // Made once and spread over all sequences: the same ones are answered again and again, with inputs as they came.
    const requests = Array.from({ length: live }, (_, index) => requestOf(BigInt(((index * 7919) % live) + 1), false));
    let next = 0;
    for (const perTick of [1, ROWS]) {
      const name = `${strategy.split(' ')[0]}, ${live} live, ${perTick} a tick${hasState ? ', implicit state' : ''}`;
      bench.add(name, COUNT, () => {
        for (let sent = 0; sent < COUNT; ) {
          for (let i = 0; i < perTick; i++, sent++) {
            const request = requests[next]!;
            next = next + 1 === live ? 0 : next + 1;
            request.isDone = false;
            request.boundInputs = request.inputs;
            scheduler.enqueue(request);
          }
          clock.tick();
        }
        if (scheduler.inflightCount > 0) throw new Error(`${scheduler.inflightCount} requests were not answered`);
        return caller.count;
      });
    }
  }
}
await bench.run();
