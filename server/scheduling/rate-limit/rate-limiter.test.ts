import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ModelInstanceGroup } from '../../../backends/api/model-config.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { DecoupledChannel, DecoupledExecution } from '../../execution/decoupled-execution.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { DynamicBatchScheduler } from '../dynamic-batch-scheduler.ts';
import { directPolicy } from '../form-batch.ts';
import { ManualClock } from '../manual-clock.ts';
import { identitySignature, int32Request, Ledger, ManualInstance } from '../scheduling-fixtures.ts';
import { LimitedChannel } from './limited-channel.ts';
import { LimitedDecoupledChannel } from './limited-decoupled-channel.ts';
import { LimitedInstances } from './limited-instances.ts';
import { type GivenResource, RateLimiter } from './rate-limiter.ts';

type Claims = Readonly<Record<string, number>>;

function group(name: string, claims: Claims, { priority = 0, count = 1, global: isGlobal = false } = {}): ModelInstanceGroup {
  const resources = Object.entries(claims).map(([resource, much]) => ({ name: resource, global: isGlobal, count: much }));
  return {
    ...{ name, count, kind: 'KIND_CPU', gpus: [], profile: [], passive: false, secondaryDevices: [], hostPolicy: '' },
    rateLimiter: { resources, priority },
  };
}

/** A model with a scheduler and instances that a test drives. */
function addModel(limiter: RateLimiter, clock: ManualClock, name: string, groups: ModelInstanceGroup[], ledger = new Ledger()) {
  const signature = { ...identitySignature(0, [[1]]), modelName: name };
  const registered = limiter.register(name, groups);
  const instances = registered.roles.map(() => new ManualInstance(1));
  const raw = { channels: instances as InstanceChannel[], revision: 0, aliveCount: instances.length, beginService: () => {} };
  const limited = new LimitedInstances<InstanceChannel, LimitedChannel>(
    raw,
    () => registered.roles,
    (channel, role) => new LimitedChannel(channel, role, limiter, () => scheduler.poke()),
  );
  const scheduler: DynamicBatchScheduler = new DynamicBatchScheduler({
    signature,
    policy: directPolicy,
    maxQueueSize: 1000,
    instances: limited,
    reporter: new ModelReporter(name, '1', {}),
    clock,
    onFault: (error) => {
      throw error;
    },
  });
  let sent = 0;
  const send = (count = 1) =>
    Array.from({ length: count }, () => {
      const request = int32Request(`${name}${sent++}`, ledger, [{ shape: [1], values: [1] }]);
      scheduler.enqueue(request);
      return request;
    });
  const running = (): number => instances.reduce((sum, one) => sum + one.running.length, 0);
  return { name, registered, instances, raw, scheduler, ledger, send, running };
}

describe('RateLimiter', () => {
  const setUp = (given: GivenResource[] = []) => {
    const clock = new ManualClock();
    return { clock, limiter: new RateLimiter(given, clock) };
  };

  it('lets instances run while their resources are free, and holds them for the whole execution', () => {
    const { clock, limiter } = setUp([{ name: 'R', count: 4, device: null }]);
    const a = addModel(limiter, clock, 'a', [group('a_0', { R: 2 }, { count: 3 })]);
    a.send(3);
    clock.tick();
    expect([a.running(), limiter.usedOf('R')]).toEqual([2, 4]);
    a.instances.find((one) => one.running.length > 0)!.answer();
    clock.tick();
    expect([a.running(), limiter.usedOf('R'), a.ledger.endings.length]).toEqual([2, 4, 1]);
  });

  it('has as much as the instance claims that claims most, and forgets what left', () => {
    const { clock, limiter } = setUp();
    const a = addModel(limiter, clock, 'a', [group('a_0', { R: 2 })]);
    const b = limiter.register('b', [group('b_0', { R: 5 })]);
    expect(limiter.limitOf('R')).toBe(5);
    a.send(1);
    clock.tick();
    b.remove();
    expect(limiter.limitOf('R')).toBe(2);
    a.registered.update([group('a_0', { R: 3 })]);
    expect(limiter.limitOf('R')).toBe(3);
    a.instances[0]!.answer();
    clock.tick();
    expect(limiter.usedOf('R')).toBe(0);
    a.registered.remove();
    expect(limiter.limitOf('R')).toBe(0);
  });

  it('refuses a model whose instance could never run', () => {
    const { limiter } = setUp([
      { name: 'R', count: 3, device: null },
      { name: 'S', count: 9, device: null },
      { name: 'S', count: 1, device: 0 },
    ]);
    expect(() => limiter.register('m', [group('m_0', { R: 4 })])).toThrow(
      /^model 'm': Resource count for "R" is limited to 3 which will prevent scheduling of one or more model instances, the minimum required count is 4/,
    );
    expect(() => limiter.register('m', [group('m_0', { S: 2 })])).toThrow(/limited to 1/);
    // A global resource is no device's.
    expect(() => limiter.register('m', [group('m_0', { S: 2 }, { global: true })])).not.toThrow();
    // Names are case-sensitive.
    expect(() => limiter.register('n', [group('n_0', { r: 4 })])).not.toThrow();
  });

  it('refuses a name that is global and not', () => {
    const { limiter } = setUp();
    expect(() => limiter.register('m', [group('m_0', { R: 1 }), group('m_1', { R: 1 }, { global: true })])).toThrow(
      /Resource "R" is present as both global and device-specific resource/,
    );
    const first = limiter.register('first', [group('g', { R: 1 }, { global: true })]);
    expect(() => limiter.register('second', [group('g', { R: 1 })])).toThrow(/model 'first' has it as global/);
    first.remove();
    expect(() => limiter.register('second', [group('g', { R: 1 })])).not.toThrow();
  });

  it('shares by executions times priority', () => {
    const { clock, limiter } = setUp();
    const a = addModel(limiter, clock, 'a', [group('a_0', { R: 1 }, { priority: 1 })]);
    const b = addModel(limiter, clock, 'b', [group('b_0', { R: 1 }, { priority: 3 })]);
    a.send(100);
    b.send(100);
    let [fromA, fromB] = [0, 0];
    for (let i = 0; i < 80; i++) {
      clock.tick();
      expect(a.running() + b.running()).toBe(1);
      if (a.running() > 0) fromA++;
      else fromB++;
      (a.running() > 0 ? a : b).instances[0]!.answer();
    }
    expect([fromA, fromB]).toEqual([60, 20]);
  });

  it('does not let one that was idle take all until it has run as often', () => {
    const { clock, limiter } = setUp();
    const a = addModel(limiter, clock, 'a', [group('a_0', { R: 1 })]);
    for (let i = 0; i < 50; i++) {
      a.send(1);
      clock.tick();
      a.instances[0]!.answer();
    }
    const b = addModel(limiter, clock, 'b', [group('b_0', { R: 1 })]);
    a.send(10);
    b.send(10);
    const order: string[] = [];
    for (let i = 0; i < 10; i++) {
      clock.tick();
      const [one] = [a, b].filter((model) => model.running() > 0);
      order.push(one!.name);
      one!.instances[0]!.answer();
    }
    expect(order.filter((name) => name === 'a').length).toBe(5);
  });

  it('does not pass over one that claims much for ever', () => {
    const { clock, limiter } = setUp([{ name: 'R', count: 2, device: null }]);
    const small = addModel(limiter, clock, 'small', [group('s', { R: 1 }, { count: 2 })]);
    const large = addModel(limiter, clock, 'large', [group('l', { R: 2 })]);
    small.send(20);
    clock.tick();
    large.send(1);
    clock.tick();
    // The two small ones end in turns, so that never both resources are free by chance.
    for (let i = 0; i < 4 && large.running() === 0; i++) {
      small.instances.find((one) => one.running.length > 0)!.answer();
      clock.tick();
    }
    expect([large.running(), small.running()]).toEqual([1, 0]);
    large.instances[0]!.answer();
    clock.tick();
    expect(small.running()).toBe(2);
  });

  it('goes on to the next when one that waits does not want to run any more', () => {
    const { clock, limiter } = setUp();
    const models = ['a', 'b', 'c'].map((name) => addModel(limiter, clock, name, [group('g', { R: 1 })]));
    const [a, b, c] = models;
    a!.send(1);
    clock.tick();
    const [gone] = b!.send(1);
    clock.tick();
    c!.send(1);
    clock.tick();
    expect(limiter.waitingCount).toBe(2);
    gone!.cancel();
    a!.instances[0]!.answer();
    clock.tick();
    expect([b!.running(), c!.running(), limiter.waitingCount]).toEqual([0, 1, 0]);
  });

  it('has the resources back when a batch fails, as with its host, or finds no tensor memory', () => {
    const { clock, limiter } = setUp();
    const a = addModel(limiter, clock, 'a', [group('a_0', { R: 1 })]);
    a.send(1);
    clock.tick();
    a.raw.channels = [];
    a.raw.revision++;
    a.instances[0]!.fail(new InferenceError('UNAVAILABLE', 'the host died'));
    clock.tick();
    expect(limiter.usedOf('R')).toBe(0);

    const b = addModel(limiter, clock, 'b', [group('b_0', { R: 1 })]);
    b.instances[0]!.isOutOfMemory = true;
    b.send(1);
    clock.tick();
    expect([b.running(), limiter.usedOf('R'), b.scheduler.pendingCount]).toEqual([0, 0, 1]);
  });

  it('holds what a decoupled instance claims from its first request to the end of the last', () => {
    const { limiter } = setUp();
    const { roles } = limiter.register('m', [group('m_0', { R: 1 })]);
    const started: DecoupledExecution[] = [];
    const channel: DecoupledChannel = {
      ...{ hasCapacity: true, isFree: true, isAlive: true, expect: () => {}, release: async () => {} },
      get inflightCount() {
        return started.length;
      },
      start: (execution) => {
        started.push(execution);
        return { cancel: () => {}, resume: () => {} };
      },
    };
    const limited = new LimitedDecoupledChannel(channel, roles[0]!, limiter, () => {});
    const ended: string[] = [];
    const execution = (id: string): DecoupledExecution => ({
      ...{ inputs: [], parameters: {}, isPaused: false, writeInput: () => {}, respond: () => {} },
      complete: () => ended.push(`${id} complete`),
      fail: () => ended.push(`${id} fail`),
    });
    for (const id of ['a', 'b', 'c']) limited.start(execution(id));
    expect(limiter.usedOf('R')).toBe(1);
    started[0]!.complete();
    started[1]!.fail(new InferenceError('INTERNAL', 'no'));
    expect(limiter.usedOf('R')).toBe(1);
    // Cancelled: the model stops later.
    started[2]!.stopped!();
    expect([limiter.usedOf('R'), ended]).toEqual([0, ['a complete', 'b fail']]);
  });

  it('never gives more than there is, and everybody gets what they wait for', () => {
    const claims = fc.dictionary(fc.constantFrom('R', 'S', 'T'), fc.integer({ min: 1, max: 3 }), { maxKeys: 3 });
    const models = fc.array(fc.record({ claims, priority: fc.nat(3), count: fc.integer({ min: 1, max: 2 }) }), {
      minLength: 1,
      maxLength: 4,
    });
    const event = fc.oneof(
      fc.record({ kind: fc.constant('send' as const), which: fc.nat(3) }),
      fc.record({ kind: fc.constant('end' as const), which: fc.nat(7) }),
      fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(30) }),
      fc.record({ kind: fc.constant('tick' as const), which: fc.constant(0) }),
    );
    fc.assert(
      fc.property(models, fc.array(event, { maxLength: 60 }), fc.option(fc.integer({ min: 3, max: 5 })), (descriptions, events, given) => {
        const { clock, limiter } = setUp(given === null ? [] : [{ name: 'R', count: given, device: null }]);
        const all = descriptions.map(({ claims: claimed, priority, count }, i) =>
          addModel(limiter, clock, `m${i}`, [group('g', claimed, { priority, count })]),
        );
        const requests: ReturnType<(typeof all)[0]['send']> = [];
        const busy = () => all.flatMap(({ instances }) => instances).filter(({ running }) => running.length > 0);
        const check = (): void => {
          for (const name of ['R', 'S', 'T']) {
            const used = all.reduce((sum, { registered, instances }) => {
              return (
                sum +
                instances.reduce((own, { running }, i) => {
                  return own + (running.length > 0 ? (registered.roles[i]!.claims.find((one) => one.name === name)?.count ?? 0) : 0);
                }, 0)
              );
            }, 0);
            expect(used).toBe(limiter.usedOf(name));
            expect(used).toBeLessThanOrEqual(limiter.limitOf(name));
          }
        };
        for (const { kind, which } of events) {
          if (kind === 'send') requests.push(...(all[which % all.length]?.send() ?? []));
          else if (kind === 'cancel') requests[which % Math.max(1, requests.length)]?.cancel();
          else if (kind === 'end') busy()[which % Math.max(1, busy().length)]?.answer();
          else clock.tick();
          check();
        }
        clock.tick();
        // Whatever ends first, nobody is left behind.
        for (let i = 0; busy().length > 0; i++) {
          busy()[i % busy().length]!.answer();
          clock.tick();
          check();
          expect(i).toBeLessThan(200);
        }
        expect(requests.filter(({ isDone }) => !isDone)).toEqual([]);
        expect(limiter.waitingCount).toBe(0);
      }),
      { numRuns: 400 },
    );
  });
});
