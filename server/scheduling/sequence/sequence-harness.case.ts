import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { ExecutionBatch, InstanceChannel } from '../../execution/execution-host.ts';
import type { InstanceGroup } from '../../execution/instance-group.ts';
import { InferenceRequest } from '../../inference/inference-request.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { fillSchedulerDefaults } from '../../model-config/normalise-model-config.ts';
import { parseModelConfig } from '../../model-config/parse-model-config.ts';
import { createSequenceScheduler } from '../../repository/create-sequence-scheduler.ts';
import { createSignature } from '../../repository/create-signature.ts';
import { ManualClock } from '../manual-clock.ts';
import { Ledger } from '../scheduling-fixtures.ts';
import { planSequences } from './sequence-plan.ts';
import type { SequenceScheduler } from './sequence-scheduler.ts';

/** One row of an execution, as the model got it. */
export interface Row {
  readonly input: number;
  readonly start: number;
  readonly end: number;
  readonly ready: number;
  readonly correlation: bigint | string;
  /** Of implicit state; 0 where the model has none. */
  readonly state: number;
}

const controls = (correlationType: string): string => `
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
  control_input { name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] } }
  control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] } }
  control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: ${correlationType} } }`;
const state = 'state { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: 1 }';

export interface HarnessOptions {
  /** Fields of sequence_batching besides the controls. */
  readonly batching?: string;
  readonly maxBatchSize?: number;
  readonly hasState?: boolean;
  readonly instances?: number;
  readonly maxQueueSize?: number;
  readonly correlationType?: string;
  /** -1: rows of any width. */
  readonly columns?: number;
  readonly maxStateBytes?: number;
  readonly initialStates?: ReadonlyMap<string, Uint8Array>;
  /** The whole text of `state`; instead of a number that begins as 0. */
  readonly state?: string;
}

/** The scheduler of a model that adds up what each sequence brings, on a clock and instances that a test turns. */
export class SequenceHarness {
  readonly clock: ManualClock = new ManualClock();
  readonly ledger: Ledger = new Ledger();
  readonly reporter: ModelReporter = new ModelReporter('adder', '1', {});
  readonly faults: unknown[] = [];
  readonly instances: AdderInstance[];
  readonly scheduler: SequenceScheduler;
  #revision = 1;

  constructor(options: HarnessOptions = {}) {
    const {
      batching = '',
      maxBatchSize = 4,
      hasState = false,
      instances = 1,
      maxQueueSize = 1000,
      correlationType = 'TYPE_UINT64',
    } = options;
    const { columns = 1 } = options;
    const states = options.state ?? (hasState ? state : '');
    const text = `name: "adder" max_batch_size: ${maxBatchSize}
      input { name: "IN" data_type: TYPE_INT32 dims: ${columns} } output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
      sequence_batching { ${controls(correlationType)} ${states} ${batching} }`;
    const config = fillSchedulerDefaults(parseModelConfig(text, 'pbtxt', 'config.pbtxt'));
    const signature = createSignature(config, '1', new Map());
    const plan = planSequences(config, signature, { inputs: [], outputs: [] }, options.initialStates ?? new Map());
    const isBatched = maxBatchSize > 0;
    this.instances = Array.from({ length: instances }, () => new AdderInstance(hasState || states !== '', isBatched));
    const harness = this;
    const group = {
      get channels(): InstanceChannel[] {
        return harness.instances.filter(({ isListed }) => isListed);
      },
      get revision(): number {
        return harness.#revision;
      },
      beginService: () => {},
    };
    this.scheduler = createSequenceScheduler({
      config,
      plan,
      instances: group as unknown as InstanceGroup,
      maxQueueSize,
      maxStateBytes: options.maxStateBytes ?? 2 ** 30,
      reporter: this.reporter,
      clock: this.clock,
      onFault: (error) => this.faults.push(error),
    });
  }

  /** Kills an instance: what runs there fails, and another takes its place when `isReplaced`. */
  kill(instance: AdderInstance, isReplaced: boolean): void {
    instance.isAlive = false;
    instance.isListed = false;
    if (isReplaced) this.instances.push(new AdderInstance(instance.hasState, instance.isBatched));
    while (instance.running.length > 0) instance.fail(new InferenceError('UNAVAILABLE', 'the host died'));
    this.#revision++;
    this.scheduler.poke();
  }

  /** A request of sequence `id`; `flags`: 's' starts, 'e' ends. */
  send(
    id: bigint | string,
    flags: string,
    value: number,
    more: { timeoutUs?: number; width?: number; name?: string } = {},
  ): InferenceRequest {
    const request = this.request(id, flags, value, more);
    this.scheduler.enqueue(request);
    return request;
  }

  request(
    id: bigint | string | null,
    flags: string,
    value: number,
    { timeoutUs = 0, width = 1, name }: { timeoutUs?: number; width?: number; name?: string } = {},
  ): InferenceRequest {
    const isBatched = this.scheduler.plan.signature.maxBatchSize > 0;
    const inputs: Tensor[] = [
      { name: 'IN', datatype: 'INT32', shape: isBatched ? [1, width] : [width], data: bytesOf(new Array(width).fill(value)) },
    ];
    const request = new InferenceRequest({
      modelName: 'adder',
      modelVersion: '',
      id: name ?? `${id}:${value}`,
      inputs,
      outputs: [],
      parameters: {},
      priority: 0,
      timeoutUs,
      sequence: id === null ? null : { id, isStart: flags.includes('s'), isEnd: flags.includes('e') },
      caller: this.ledger,
    });
    request.boundInputs = inputs;
    return request;
  }

  /** Lets every instance run all that there is. */
  runAll(): void {
    this.clock.tick();
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (const instance of this.instances) {
        while (instance.running.length > 0) {
          instance.answer();
          isBusy = true;
        }
      }
      this.clock.tick();
    }
  }

  /** By request: the sum it was answered, or the code of its error. */
  get answers(): string[] {
    return this.ledger.endings.map(({ id, error, outputs }) => `${id} ${error === null ? int32s(outputs[0]!.data)[0] : error.code}`);
  }
}

export class AdderInstance implements InstanceChannel {
  readonly hasState: boolean;
  readonly isBatched: boolean;
  readonly running: { readonly batch: ExecutionBatch; readonly rows: readonly Row[]; readonly shape: readonly number[] }[] = [];
  /** All that it was given, one list for each execution. */
  readonly executions: (readonly Row[])[] = [];
  /** Of a model that keeps its state itself, by row. */
  readonly #sums: Map<number, number> = new Map();
  isAlive = true;
  isListed = true;
  isOutOfMemory = false;
  capacity = 1;

  constructor(hasState: boolean, isBatched: boolean) {
    this.hasState = hasState;
    this.isBatched = isBatched;
  }

  get hasCapacity(): boolean {
    return this.isAlive && this.running.length < this.capacity;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.running.length;
  }

  expect(): void {}

  async release(): Promise<void> {}

  execute(batch: ExecutionBatch): boolean {
    if (this.isOutOfMemory) return false;
    const columns = new Map<string, readonly (number | bigint | string)[]>();
    let rowCount = 1;
    let shape: readonly number[] = [];
    batch.inputs.forEach(({ name, datatype, byteLength, shape: inputShape }, index) => {
      const data = new Uint8Array(byteLength);
      batch.writeInput(index, data);
      if (name === 'IN') {
        shape = inputShape;
        if (this.isBatched) rowCount = inputShape[0]!;
      }
      columns.set(name, datatype === 'INT32' ? int32s(data) : datatype === 'BYTES' ? texts(data) : [...new BigUint64Array(data.buffer)]);
    });
    const width = columns.get('IN')!.length / rowCount;
    const rows = Array.from({ length: rowCount }, (_, row): Row => {
      const at = (name: string, size = 1): number => Number(columns.get(name)?.[row * size] ?? 0);
      return {
        input: at('IN', width),
        start: at('START'),
        end: at('END'),
        ready: at('READY'),
        correlation: columns.get('CORRID')![row] as bigint | string,
        state: at('STATE_IN'),
      };
    });
    this.executions.push(rows);
    this.running.push({ batch, rows, shape });
    return true;
  }

  /** Runs the oldest execution: the sum of each row, from its state or from what the row had before. */
  answer(): void {
    const { batch, rows } = this.running.shift()!;
    const sums = rows.map(({ input, start, ready, state }, row) => {
      if (ready === 0) return -1;
      const before = this.hasState ? state : start === 1 ? 0 : (this.#sums.get(row) ?? 0);
      this.#sums.set(row, before + input);
      return before + input;
    });
    const shape = this.isBatched ? [rows.length, 1] : [1];
    const output = (name: string): Tensor => ({ name, datatype: 'INT32', shape, data: bytesOf(sums) });
    const outputs = this.hasState ? [output('OUT'), output('STATE_OUT')] : [output('OUT')];
    batch.complete(outputs, { inferNs: 10, outputNs: 5 });
    // A host takes its memory back.
    for (const { data } of outputs) data.fill(0xee);
  }

  fail(error: InferenceError, mayDivide = false): void {
    this.running.shift()!.batch.fail(error, mayDivide);
  }
}

export function bytesOf(values: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(values).buffer);
}

export function int32s(data: Uint8Array): number[] {
  return [...new Int32Array(data.slice().buffer)];
}

function texts(data: Uint8Array): string[] {
  const found: string[] = [];
  const view = new DataView(data.buffer);
  for (let at = 0; at < data.length; ) {
    const length = view.getUint32(at, true);
    found.push(Buffer.from(data.subarray(at + 4, at + 4 + length)).toString());
    at += 4 + length;
  }
  return found;
}
