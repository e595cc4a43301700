import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { type HarnessOptions, int32s, SequenceHarness } from './sequence-harness.case.ts';

/** What happens next; numbers choose among what there is at the moment. */
type Step =
  | { readonly kind: 'send'; readonly id: number; readonly isStart: boolean; readonly isEnd: boolean; readonly timeoutUs: number }
  | { readonly kind: 'tick' | 'answer' | 'fail' | 'divide' | 'kill' | 'cancel' | 'expire' | 'memory'; readonly which: number }
  | { readonly kind: 'advance'; readonly us: number };

const ids = 7;
const idleUs = 4000;

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      id: fc.integer({ min: 1, max: ids }),
      isStart: fc.integer({ min: 0, max: 3 }).map((one) => one === 0),
      isEnd: fc.integer({ min: 0, max: 5 }).map((one) => one === 0),
      timeoutUs: fc.constantFrom(0, 0, 0, 700, 3000),
    }),
  },
  { weight: 8, arbitrary: choice('tick') },
  { weight: 8, arbitrary: choice('answer') },
  { weight: 1, arbitrary: choice('fail') },
  { weight: 2, arbitrary: choice('divide') },
  { weight: 1, arbitrary: choice('kill') },
  { weight: 1, arbitrary: choice('cancel') },
  { weight: 1, arbitrary: choice('expire') },
  { weight: 1, arbitrary: choice('memory') },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('advance' as const), us: fc.integer({ min: 1, max: idleUs * 2 }) }) },
);

function choice<Kind extends string>(kind: Kind): fc.Arbitrary<{ kind: Kind; which: number }> {
  return fc.record({ kind: fc.constant(kind), which: fc.nat(1000) });
}

/** A request that was taken, and the life of its sequence that it is of: from one START to the next. */
interface Sent {
  readonly request: InferenceRequest;
  readonly life: string;
  readonly value: number;
}

/** Runs the steps and holds every execution and every answer to what was sent. */
class Trial {
  readonly harness: SequenceHarness;
  readonly #checksSums: boolean;
  readonly #sent: Sent[] = [];
  readonly #lives: number[] = new Array<number>(ids + 1).fill(0);
  #checked = 0;
  /** By life: the sum of what was answered. */
  readonly #sums: Map<string, number> = new Map();
  /** By life: the last value whose request ended well. */
  readonly #last: Map<string, number> = new Map();
  readonly #ended: Map<string, number> = new Map();
  readonly #seen: Map<object, number> = new Map();

  constructor(options: HarnessOptions, checksSums: boolean) {
    this.harness = new SequenceHarness({ ...options, batching: `${options.batching} max_sequence_idle_microseconds: ${idleUs}` });
    this.#checksSums = checksSums;
  }

  do(one: Step): void {
    const { harness } = this;
    const busy = harness.instances.filter(({ running }) => running.length > 0);
    if (one.kind === 'send') this.#send(one);
    else if (one.kind === 'advance') harness.clock.advance(one.us * 1000);
    else if (one.kind === 'tick') harness.clock.tick();
    else if (one.kind === 'answer') busy[one.which % busy.length]?.answer();
    else if (one.kind === 'fail' || one.kind === 'divide')
      busy[one.which % busy.length]?.fail(new InferenceError('INTERNAL', 'bad run'), one.kind === 'divide');
    else if (one.kind === 'kill') {
      const alive = harness.instances.filter(({ isAlive }) => isAlive);
      harness.kill(alive[one.which % alive.length]!, true);
    } else if (one.kind === 'memory') {
      for (const instance of harness.instances) instance.isOutOfMemory = one.which % 2 === 0;
      harness.scheduler.poke();
    } else {
      const open = this.#sent.filter(({ request }) => !request.isDone);
      const chosen = open[one.which % open.length]?.request;
      if (one.kind === 'cancel') chosen?.cancel();
      else chosen?.expire();
    }
    this.#check();
  }

  finish(): void {
    const { harness } = this;
    for (const instance of harness.instances) instance.isOutOfMemory = false;
    harness.scheduler.poke();
    this.#runAll();
    // Sequences without a request hold the slots that those in the backlog wait for.
    for (let i = 0; i < 50 && harness.scheduler.inflightCount > 0; i++) {
      harness.clock.advance(idleUs * 1001);
      this.#runAll();
    }
    expect(this.#sent.filter(({ request }) => this.#ended.get(request.id) !== 1).map(({ request }) => request.id)).toEqual([]);
    harness.clock.advance(idleUs * 1001);
    harness.clock.tick();
    const { liveCount, stateBytes, inflightCount, pendingCount } = harness.scheduler;
    expect({ liveCount, stateBytes, inflightCount, pendingCount, timers: harness.clock.timerCount }).toEqual({
      liveCount: 0,
      stateBytes: 0,
      inflightCount: 0,
      pendingCount: 0,
      timers: 0,
    });
    expect(harness.faults).toEqual([]);
  }

  #runAll(): void {
    const { clock, instances } = this.harness;
    for (let isBusy = true; isBusy; ) {
      clock.tick();
      this.#check();
      isBusy = false;
      for (const instance of instances) {
        if (instance.running.length === 0) continue;
        instance.answer();
        this.#check();
        isBusy = true;
      }
    }
  }

  #send({ id, isStart, isEnd, timeoutUs }: Extract<Step, { kind: 'send' }>): void {
    const value = this.#sent.length + 1;
    const flags = `${isStart ? 's' : ''}${isEnd ? 'e' : ''}`;
    const request = this.harness.request(BigInt(id), flags, value, { timeoutUs, name: String(value) });
    try {
      this.harness.scheduler.enqueue(request);
    } catch (error) {
      expect((error as InferenceError).code).toMatch(/^(INVALID_ARGUMENT|UNAVAILABLE)$/);
      return;
    }
    if (isStart) this.#lives[id]!++;
    this.#sent.push({ request, value, life: `${id}.${this.#lives[id]}` });
  }

  #check(): void {
    const { harness } = this;
    for (const instance of harness.instances) {
      const from = this.#seen.get(instance) ?? 0;
      for (const rows of instance.executions.slice(from)) {
        for (const row of rows) {
          if (row.ready === 0) {
            expect(row).toEqual({ input: 0, start: 0, end: 0, ready: 0, correlation: 0n, state: 0 });
            continue;
          }
          const { request, life } = this.#sent[row.input - 1]!;
          const { id, isStart, isEnd } = request.sequence!;
          expect([row.correlation, row.start, row.end]).toEqual([id, Number(isStart), Number(isEnd)]);
          if (instance.hasState) expect(row.state).toBe(isStart ? 0 : (this.#sums.get(life) ?? 0));
        }
      }
      this.#seen.set(instance, instance.executions.length);
    }
    const lives = harness.instances.flatMap(({ running }) =>
      running.flatMap(({ rows }) => rows.filter(({ ready }) => ready === 1).map(({ input }) => this.#sent[input - 1]!.life)),
    );
    expect(new Set(lives).size).toBe(lives.length);
    for (; this.#checked < harness.ledger.endings.length; this.#checked++) this.#checkEnding(harness.ledger.endings[this.#checked]!);
  }

  #checkEnding({ id, error, outputs }: SequenceHarness['ledger']['endings'][number]): void {
    this.#ended.set(id, (this.#ended.get(id) ?? 0) + 1);
    if (error !== null) return;
    const { life, value } = this.#sent[Number(id) - 1]!;
    expect(value).toBeGreaterThan(this.#last.get(life) ?? 0);
    this.#last.set(life, value);
    const sum = (this.#sums.get(life) ?? 0) + value;
    this.#sums.set(life, sum);
    if (this.#checksSums) expect(int32s(outputs[0]!.data)).toEqual([sum]);
  }
}

it.each([
  ['direct, implicit state', { batching: '', maxBatchSize: 2, hasState: true, instances: 2 }, true],
  ['direct, state in the model', { batching: '', maxBatchSize: 3, instances: 2 }, true],
  ['direct without batches', { batching: '', maxBatchSize: 0, hasState: true, instances: 3 }, true],
  [
    'direct with a delay',
    { batching: 'direct { max_queue_delay_microseconds: 500 minimum_slot_utilization: 0.6 }', maxBatchSize: 4, hasState: true },
    true,
  ],
  ['oldest, implicit state', { batching: 'oldest { max_candidate_sequences: 3 }', maxBatchSize: 2, hasState: true, instances: 2 }, true],
  ['oldest, state in the model', { batching: 'oldest { max_candidate_sequences: 5 }', maxBatchSize: 4 }, false],
  [
    'oldest with a delay, in order',
    {
      batching: 'oldest { max_candidate_sequences: 4 max_queue_delay_microseconds: 500 preserve_ordering: true }',
      maxBatchSize: 3,
      hasState: true,
      instances: 2,
    },
    true,
  ],
] as const)('keeps every sequence in order, alone and by itself: %s', (_name, options, checksSums) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
      const trial = new Trial(options, checksSums);
      for (const one of steps) trial.do(one);
      trial.finish();
    }),
    { numRuns: 150 },
  );
});
