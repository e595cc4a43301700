import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { DecoupledChannel, DecoupledExecution, DecoupledRun } from '../execution/decoupled-execution.ts';
import { type InferenceCaller, InferenceRequest } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { DecoupledScheduler } from './decoupled-scheduler.ts';
import { ManualClock } from './manual-clock.ts';
import { identitySignature } from './scheduling-fixtures.ts';

/** A request in an instance that a test drives. */
class ManualRun implements DecoupledRun {
  readonly execution: DecoupledExecution;
  readonly input: number;
  isCancelled = false;
  resumeCount = 0;

  constructor(execution: DecoupledExecution) {
    this.execution = execution;
    const bytes = new Uint8Array(execution.inputs[0]!.byteLength);
    execution.writeInput(0, bytes);
    this.input = new Int32Array(bytes.buffer)[0]!;
  }

  cancel(): void {
    this.isCancelled = true;
  }

  resume(): void {
    this.resumeCount++;
  }

  respond(value: number): void {
    const output: Tensor = { name: 'OUT0', datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(value).buffer) };
    this.execution.respond([output]);
    output.data.fill(0xee);
  }
}

class ManualChannel implements DecoupledChannel {
  readonly capacity: number;
  readonly isAlive = true;
  readonly runs: ManualRun[] = [];
  isOutOfMemory = false;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get hasCapacity(): boolean {
    return this.runs.length < this.capacity;
  }

  get isFree(): boolean {
    return this.hasCapacity;
  }

  get inflightCount(): number {
    return this.runs.length;
  }

  take(): DecoupledChannel | null {
    return this.hasCapacity ? this : null;
  }

  expect(): void {}

  start(execution: DecoupledExecution): DecoupledRun | null {
    if (this.isOutOfMemory) return null;
    const run = new ManualRun(execution);
    this.runs.push(run);
    return run;
  }

  remove(run: ManualRun): void {
    this.runs.splice(this.runs.indexOf(run), 1);
  }

  async release(): Promise<void> {}
}

/** What each request was told, in order: numbers, then `end` or a code. */
class Told implements InferenceCaller {
  readonly of: Map<string, (number | string)[]> = new Map();
  onEach: (request: InferenceRequest) => void = () => {};

  onResponse(request: InferenceRequest, { outputs }: InferenceResponse, isFinal: boolean): void {
    const { data } = outputs[0]!;
    this.#add(request, isFinal ? 'final' : new DataView(data.buffer, data.byteOffset).getInt32(0, true));
    this.onEach(request);
  }

  onComplete(request: InferenceRequest): void {
    this.#add(request, 'end');
  }

  onError(request: InferenceRequest, error: InferenceError): void {
    this.#add(request, error.code);
  }

  #add({ id }: InferenceRequest, what: number | string): void {
    this.of.set(id, [...(this.of.get(id) ?? []), what]);
  }
}

function setUp(capacity: number, maxQueueSize = 100) {
  const clock = new ManualClock();
  const channel = new ManualChannel(capacity);
  const reporter = new ModelReporter('identity', '1', {}, true);
  const told = new Told();
  const faults: unknown[] = [];
  const scheduler = new DecoupledScheduler({
    signature: identitySignature(0, [[1]]),
    maxQueueSize,
    instances: channel,
    modelOutputCount: 1,
    reporter,
    clock,
    onFault: (error) => faults.push(error),
  });
  let next = 0;
  const send = (deadlineNs = Number.POSITIVE_INFINITY): InferenceRequest => {
    const value = next++;
    const inputs: Tensor[] = [{ name: 'IN0', datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(value).buffer) }];
    const request = new InferenceRequest({
      modelName: 'identity',
      modelVersion: '',
      id: String(value),
      inputs,
      outputs: [],
      parameters: {},
      priority: 0,
      timeoutUs: 0,
      caller: told,
    });
    request.boundInputs = inputs;
    request.receivedNs = clock.nowNs();
    request.deadlineNs = deadlineNs;
    scheduler.enqueue(request);
    return request;
  };
  const complete = (run: ManualRun): void => {
    channel.remove(run);
    run.execution.complete();
    scheduler.poke();
  };
  return { clock, channel, reporter, told, faults, scheduler, send, complete };
}

describe('DecoupledScheduler', () => {
  it('starts requests in their order, at the end of the tick, as many as instances take', () => {
    const { clock, channel, scheduler, send, complete } = setUp(2);
    for (let i = 0; i < 4; i++) send();
    expect(channel.runs).toHaveLength(0);
    clock.tick();
    expect(channel.runs.map(({ input }) => input)).toEqual([0, 1]);
    expect([scheduler.pendingCount, scheduler.inflightCount]).toEqual([2, 4]);
    complete(channel.runs[1]!);
    clock.tick();
    expect(channel.runs.map(({ input }) => input)).toEqual([0, 2]);
  });

  it('hands responses over as they come, and the end', () => {
    const { clock, channel, told, reporter, send, complete } = setUp(2);
    const requests = [send(), send()];
    clock.tick();
    const [first, second] = channel.runs as [ManualRun, ManualRun];
    clock.advance(5e6);
    first.respond(10);
    second.respond(20);
    clock.advance(2e6);
    first.respond(11);
    complete(second);
    expect(told.of.get('0')).toEqual([10, 11]);
    expect(told.of.get('1')).toEqual([20, 'end']);
    expect(requests[1]!.timing).toMatchObject({ queueNs: 0, computeInferNs: 7e6 });
    expect(reporter.executionCount).toBe(1);
    expect(reporter.responses.map(({ success, empty }) => [success.count, empty.count])).toEqual([
      [2, 0],
      [1, 1],
    ]);
    expect(reporter.responses[1]!.computeInfer.ns).toBe(2e6);
  });

  it('tells the run of a pause that is over', () => {
    const { clock, channel, send } = setUp(1);
    const request = send();
    clock.tick();
    const [run] = channel.runs as [ManualRun];
    request.pauseResponses();
    expect(run.execution.isPaused).toBe(true);
    request.resumeResponses();
    expect([run.execution.isPaused, run.resumeCount]).toEqual([false, 1]);
  });

  it('cancels what runs and drops what waits; the caller hears at once', () => {
    const { clock, channel, told, reporter, scheduler, send, complete } = setUp(1);
    const [running, waiting] = [send(), send()];
    clock.tick();
    const [run] = channel.runs as [ManualRun];
    waiting!.cancel();
    running!.cancel();
    expect(run.isCancelled).toBe(true);
    expect([told.of.get('0'), told.of.get('1')]).toEqual([['CANCELLED'], ['CANCELLED']]);
    clock.tick();
    expect([scheduler.inflightCount, reporter.pendingCount]).toEqual([0, 0]);
    expect(reporter.responses[0]!.cancel.count).toBe(1);
    // The model takes its time to stop; what it still says is nobody's.
    run.respond(1);
    complete(run);
    expect(told.of.get('0')).toEqual(['CANCELLED']);
  });

  it('may be cancelled from within a response', () => {
    const { clock, channel, told, send } = setUp(1);
    told.onEach = (request) => request.cancel();
    send();
    clock.tick();
    channel.runs[0]!.respond(1);
    channel.runs[0]!.respond(2);
    clock.tick();
    expect(told.of.get('0')).toEqual([1, 'CANCELLED']);
  });

  it('ends requests at their deadlines, waiting or running', () => {
    const { clock, channel, told, reporter, scheduler, send } = setUp(1);
    const [running, waiting] = [send(clock.nowNs() + 40e6), send(clock.nowNs() + 30e6)];
    clock.tick();
    clock.advance(30e6);
    waiting!.expire();
    channel.runs[0]!.respond(7);
    clock.advance(10e6);
    running!.expire();
    expect([told.of.get('0'), told.of.get('1')]).toEqual([[7, 'DEADLINE_EXCEEDED'], ['DEADLINE_EXCEEDED']]);
    clock.tick();
    expect([channel.runs[0]!.isCancelled, scheduler.inflightCount]).toEqual([true, 0]);
    // Not a cancel: its model was too slow.
    expect([reporter.responses[1]!.cancel.count, reporter.responses[1]!.fail.count]).toEqual([0, 1]);
  });

  it('counts as wasted what a model did since its last response for a request that ended, until it has stopped', () => {
    const { clock, channel, reporter, send, complete } = setUp(3);
    const [first, , third] = [send(), send(), send()];
    clock.tick();
    const [one, two, three] = channel.runs as [ManualRun, ManualRun, ManualRun];
    clock.advance(5e6);
    one.respond(1);
    clock.advance(3e6);
    first!.cancel();
    third!.expire();
    expect(reporter.wastedWork).toMatchObject({ count: 0, ns: 0 });
    clock.advance(2e6);
    one.execution.stopped!();
    one.execution.stopped!();
    expect(reporter.wastedWork).toMatchObject({ count: 1, ns: 5e6 });
    three.execution.stopped!();
    expect(reporter.wastedWork).toMatchObject({ count: 2, ns: 15e6 });
    complete(two);
    two.execution.stopped!();
    expect(reporter.wastedWork.count).toBe(2);
  });

  it('refuses what its queue cannot hold', () => {
    const { clock, send } = setUp(1, 2);
    send();
    clock.tick();
    send();
    send();
    expect(() => send()).toThrow(/Exceeds maximum queue size: 2 requests/);
  });

  it('keeps a request that found no memory first in its queue', () => {
    const { clock, channel, scheduler, send } = setUp(2);
    channel.isOutOfMemory = true;
    send();
    send();
    clock.tick();
    expect([scheduler.pendingCount, channel.runs.length]).toEqual([2, 0]);
    channel.isOutOfMemory = false;
    scheduler.poke();
    clock.tick();
    expect(channel.runs.map(({ input }) => input)).toEqual([0, 1]);
  });

  it('ends a request whose caller throws, and no other', () => {
    const { clock, channel, told, faults, send } = setUp(2);
    told.onEach = (request) => {
      if (request.id === '0') throw new Error('broken caller');
    };
    send();
    send();
    clock.tick();
    const [first, second] = channel.runs as [ManualRun, ManualRun];
    first.respond(1);
    second.respond(2);
    expect(faults).toHaveLength(1);
    expect(first.isCancelled).toBe(true);
    expect([told.of.get('0'), told.of.get('1')]).toEqual([[1, 'INTERNAL'], [2]]);
  });

  it('stops when the last request has ended, and takes none meanwhile', async () => {
    const { clock, channel, scheduler, send, complete } = setUp(1);
    send();
    send();
    clock.tick();
    let isStopped = false;
    const stopped = scheduler.stop().then(() => {
      isStopped = true;
    });
    expect(() => send()).toThrow(/stopping/);
    for (let i = 0; i < 2; i++) {
      await Promise.resolve();
      expect(isStopped).toBe(false);
      complete(channel.runs[0]!);
      clock.tick();
    }
    await stopped;
  });

  it('fails what waits when no instance will come', () => {
    const { clock, channel, told, scheduler, send } = setUp(1);
    send();
    send();
    clock.tick();
    scheduler.failPending(new InferenceError('UNAVAILABLE', 'gone'));
    expect([told.of.get('0'), told.of.get('1')]).toEqual([undefined, ['UNAVAILABLE']]);
    channel.runs[0]!.execution.fail(new InferenceError('UNAVAILABLE', 'gone'));
    expect(scheduler.inflightCount).toBe(0);
  });

  it('loses no request, ends none twice, and keeps the order of responses, whatever happens', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('send' as const), at: fc.nat(50) }) },
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('respond' as const), at: fc.nat(50) }) },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constantFrom('complete' as const, 'fail' as const, 'leave' as const), at: fc.nat(50) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constantFrom('cancel' as const, 'advance' as const, 'memory' as const), at: fc.nat(50) }),
      },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('tick' as const), at: fc.nat(50) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 4 }), (steps, capacity) => {
        const { clock, channel, told, faults, scheduler, send, complete, reporter } = setUp(capacity, 8);
        const sent: InferenceRequest[] = [];
        const given = new Map<number, number>();
        let refused = 0;
        for (const { kind, at } of steps) {
          const run = channel.runs[at % Math.max(1, channel.runs.length)];
          if (kind === 'send') {
            try {
              sent.push(send(at > 25 ? Number.POSITIVE_INFINITY : clock.nowNs() + at * 1e6 + 1));
            } catch {
              refused++;
            }
          } else if (kind === 'cancel') sent[at % Math.max(1, sent.length)]?.[at % 2 === 0 ? 'cancel' : 'expire']();
          else if (kind === 'advance') clock.advance(at * 1e5);
          else if (kind === 'memory') channel.isOutOfMemory = !channel.isOutOfMemory;
          else if (kind === 'tick') clock.tick();
          else if (run === undefined) continue;
          else if (kind === 'respond') {
            const count = given.get(run.input) ?? 0;
            given.set(run.input, count + 1);
            run.respond(count);
          } else if (kind === 'complete') {
            if (run.isCancelled) channel.remove(run);
            else complete(run);
          } else if (kind === 'fail') {
            channel.remove(run);
            if (!run.isCancelled) run.execution.fail(new InferenceError('INTERNAL', 'the model failed'));
            scheduler.poke();
          } else if (run.isCancelled) {
            channel.remove(run);
            scheduler.poke();
          }
        }
        channel.isOutOfMemory = false;
        scheduler.poke();
        for (let i = 0; i < 300 && scheduler.inflightCount > 0; i++) {
          clock.tick();
          for (const run of [...channel.runs]) {
            if (run.isCancelled) channel.remove(run);
            else complete(run);
          }
          scheduler.poke();
        }
        clock.tick();
        expect(faults).toEqual([]);
        expect([scheduler.inflightCount, reporter.pendingCount]).toEqual([0, 0]);
        expect(told.of.size).toBe(sent.length);
        for (const [id, all] of told.of) {
          const numbers = all.slice(0, -1);
          expect(numbers, id).toEqual(numbers.map((_, i) => i));
          expect(['end', 'INTERNAL', 'CANCELLED', 'DEADLINE_EXCEEDED'], id).toContain(all.at(-1));
        }
        expect(refused).toBeLessThanOrEqual(steps.length);
      }),
      { numRuns: 400 },
    );
  });
});
