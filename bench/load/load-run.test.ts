import { afterEach, describe, expect, it } from 'vitest';
import { ClosedLoop } from './closed-loop.ts';
import { runUntil } from './create-loop.ts';
import type { LaneFactory } from './lane.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import { lineLanes, linePlan } from './line-lane.case.ts';
import { LineServer, type LineServerOptions } from './line-server.case.ts';
import type { ClosedPace, LoadPlan, OpenPace } from './load-plan.ts';
import { LoadRun } from './load-run.ts';
import type { HistogramData, LoadWindow, Outcome } from './load-window.ts';
import { NativeLoop } from './native-loop.ts';
import { NodeLoop } from './node-loop.ts';
import { OpenLoop } from './open-loop.ts';
import { SequencePool } from './sequence-pool.ts';
import type { SocketLoop } from './socket-loop.ts';

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(options: LineServerOptions = {}): Promise<LineServer> {
  const server = await LineServer.start(options);
  closers.push(() => server.stop());
  return server;
}

function makeLoop(): SocketLoop {
  const loop = process.platform === 'linux' ? new NativeLoop() : new NodeLoop('http/1.1');
  closers.push(() => loop.close());
  return loop;
}

interface RunOptions {
  readonly plan: LoadPlan;
  readonly pace: ClosedPace | OpenPace;
  readonly capacity?: number;
  readonly windowMs?: number;
  readonly factory?: LaneFactory;
  /** Ends the run when it is so; asked after each window. */
  readonly until: (all: Totals) => boolean;
  readonly onWindow?: (all: Totals, run: LoadRun) => void;
}

/** All windows of a run together. */
class Totals {
  readonly windows: LoadWindow[] = [];

  sum(of: (window: LoadWindow) => number): number {
    return this.windows.reduce((total, window) => total + of(window), 0);
  }

  outcome(outcome: Outcome): number {
    return this.sum((window) => window.outcomes[outcome]);
  }

  histogram(of: (window: LoadWindow) => HistogramData): LatencyHistogram {
    const histogram = new LatencyHistogram();
    for (const window of this.windows) histogram.add(of(window));
    return histogram;
  }

  get errors(): ReadonlyMap<string, string> {
    return new Map(this.windows.flatMap((window) => window.errors.map(({ status, message }) => [status, message] as const)));
  }

  /** Each request that was sent has ended in one way. */
  check(): void {
    expect(this.sum(({ outcomes }) => Object.values(outcomes).reduce((a, b) => a + b))).toBe(this.sum(({ sent }) => sent));
    for (let i = 1; i < this.windows.length; i++) expect(this.windows[i]!.fromMs).toBe(this.windows[i - 1]!.toMs);
  }
}

async function run(options: RunOptions): Promise<Totals> {
  const { plan, pace } = options;
  const loop = makeLoop();
  const all = new Totals();
  const endMs = loop.now() + 15_000;
  const load: LoadRun = new LoadRun({
    plan,
    loop,
    factory: options.factory ?? lineLanes(plan.target, options.capacity ?? 1),
    pacing: pace.kind === 'closed' ? new ClosedLoop(pace) : new OpenLoop(pace, plan.seed),
    sequences: plan.sequence === null ? null : new SequencePool(plan.sequence, plan.seed),
    windowMs: options.windowMs ?? 50,
    onWindow: (window) => {
      all.windows.push(window);
      options.onWindow?.(all, load);
      if (options.until(all) || loop.now() > endMs) load.stop();
    },
  });
  await runUntil(loop, load.open());
  all.windows.push(await load.run());
  all.check();
  return all;
}

const closed = (concurrency: number): ClosedPace => ({ kind: 'closed', concurrency });
const open = (perSecond: number, changes: Partial<OpenPace> = {}): OpenPace => ({
  kind: 'open',
  perSecond,
  schedule: 'fixed',
  maxInFlight: 1000,
  ...changes,
});

describe('a closed loop', () => {
  it('keeps as many requests in flight as there are workers, taken in turn, and counts them and their bytes', async () => {
    const server = await serve();
    const all = await run({ plan: linePlan(server.port), pace: closed(4), until: (so) => so.outcome('ok') > 300 });
    await server.closed();
    const { seen } = await server.report();
    expect(seen).toHaveLength(all.outcome('ok'));
    expect(all.sum(({ good }) => good)).toBe(all.outcome('ok'));
    expect(all.sum(({ bytesSent }) => bytesSent)).toBe(seen.join('\n').length + 1);
    expect(all.sum(({ bytesReceived }) => bytesReceived)).toBe(seen.reduce((sum, line) => sum + line.indexOf(' ') + 4, 0));
    const indexes = [0, 1, 2].map((index) => seen.filter((line) => line.split(' ')[1] === String(index)).length);
    expect(Math.max(...indexes) - Math.min(...indexes)).toBeLessThanOrEqual(1);
    expect(all.histogram(({ latency }) => latency).count).toBe(all.outcome('ok'));
    expect(all.histogram(({ lag }) => lag).count).toBe(0);
    for (const { generator } of all.windows) expect(generator.busy).toBeLessThanOrEqual(1);
  });

  it('shares few lanes, evenly', async () => {
    const server = await serve({ answer: 'silence' });
    const plan = linePlan(server.port, { connections: 3, timeoutMs: 200 });
    await run({ plan, pace: closed(9), capacity: 100, until: () => true });
    const { seen } = await server.report();
    // Numbers count on each connection, so three of each show that each had three.
    expect(
      seen
        .slice(0, 9)
        .map((line) => line.split(' ')[0])
        .sort(),
    ).toEqual(['1', '1', '1', '2', '2', '2', '3', '3', '3']);
  });

  it('waits for a lane where there are fewer than workers, and measures from the sending', async () => {
    const server = await serve();
    const plan = linePlan(server.port, { connections: 2, timeoutMs: 2000 });
    const all = await run({ plan, pace: closed(50), until: (so) => so.outcome('ok') > 2000 });
    expect(all.outcome('expired')).toBe(0);
    // Fifty behind two would wait 25 answers long each.
    expect(all.histogram(({ latency }) => latency).valueAt(0.5)).toBeLessThan(
      (all.sum(({ toMs, fromMs }) => toMs - fromMs) * 1000 * 10) / all.outcome('ok'),
    );
  });

  it('gives up after the timeout, opens a new connection, and goes on', async () => {
    const server = await serve({ answer: 'silence' });
    const plan = linePlan(server.port, { timeoutMs: 80, connections: 2 });
    let wasSilent = 0;
    const all = await run({
      plan,
      pace: closed(2),
      onWindow: (so) => {
        if (wasSilent === 0 && so.outcome('expired') >= 4) {
          wasSilent = so.outcome('expired');
          void server.tell({ answer: 'ok' });
        }
      },
      until: (so) => so.outcome('ok') > 20,
    });
    expect(all.outcome('expired')).toBeGreaterThanOrEqual(4);
    expect(all.errors.get('timeout')).toBe('no answer within 80 ms');
    expect(all.outcome('ok')).toBeGreaterThan(20);
    expect(all.outcome('failed')).toBe(0);
  });

  it('opens again what the server closes, without a failure', async () => {
    const server = await serve({ closeAfter: 5 });
    const all = await run({ plan: linePlan(server.port), pace: closed(4), until: (so) => so.outcome('ok') >= 200 });
    // A server that says nothing before it closes may do so while the next request is on its way.
    expect(all.outcome('ok')).toBeGreaterThanOrEqual(200);
    expect(all.outcome('failed')).toBeLessThanOrEqual(all.outcome('ok'));
  });

  it('counts failures of a server that has died, in no hurry, and works on when it is back', async () => {
    const server = await serve();
    let isStopped = false;
    let diedMs = Number.POSITIVE_INFINITY;
    let revivedMs = Number.POSITIVE_INFINITY;
    let failuresWhileDead = 0;
    const all = await run({
      plan: linePlan(server.port),
      pace: closed(4),
      onWindow: (so) => {
        const { toMs, outcomes } = so.windows.at(-1)!;
        if (!isStopped && so.outcome('ok') > 20) {
          isStopped = true;
          void server.stop();
        } else if (diedMs === Number.POSITIVE_INFINITY) {
          if (outcomes.failed > 0) diedMs = toMs;
        } else if (revivedMs === Number.POSITIVE_INFINITY && toMs > diedMs + 500) {
          failuresWhileDead = so.outcome('failed');
          revivedMs = toMs;
          void serve({ port: server.port });
        }
      },
      until: (so) => so.windows.at(-1)!.fromMs >= revivedMs && so.windows.at(-1)!.outcomes.ok > 0,
    });
    expect(all.errors.get('cannot connect')).toMatch(/ECONNREFUSED; no server listens there/);
    expect(failuresWhileDead).toBeGreaterThan(4);
    // Four lanes, each with waits of 0, 10, 20, 40, ... ms.
    expect(failuresWhileDead).toBeLessThan(60);
    expect(all.sum(({ fromMs, outcomes }) => (fromMs >= revivedMs ? outcomes.ok : 0))).toBeGreaterThan(0);
  });

  it('tells refusals from failures, and groups what was said', async () => {
    const server = await serve({ answer: 'refused' });
    const all = await run({ plan: linePlan(server.port), pace: closed(2), until: (so) => so.outcome('refused') > 20 });
    expect(all.histogram(({ refusal }) => refusal).count).toBe(all.outcome('refused'));
    expect(all.histogram(({ latency }) => latency).count).toBe(0);
    expect([...all.errors]).toEqual([['line refused', 'the server says so']]);
    expect(all.sum(({ good }) => good)).toBe(0);
  });

  it('times the parts of an answer, and holds them to the limits', async () => {
    const server = await serve({ answer: 'parts' });
    for (const [limits, isGood] of [
      [{}, true],
      [{ perTokenMs: 1000, firstTokenMs: 1000 }, true],
      [{ perTokenMs: 20 }, false],
      [{ deadlineMs: 40 }, false],
    ] as const) {
      const all = await run({ plan: linePlan(server.port, limits), pace: closed(1), until: () => true });
      const answers = all.outcome('ok');
      expect(all.sum(({ parts }) => parts)).toBe(answers * 3);
      expect(all.histogram(({ firstPart }) => firstPart).count).toBe(answers);
      const between = all.histogram(({ betweenParts }) => betweenParts);
      expect(between.count).toBe(answers * 2);
      expect(between.mean()).toBeGreaterThan(25_000);
      expect(all.histogram(({ latency }) => latency).valueAt(0)).toBeGreaterThan(55_000);
      expect(all.sum(({ good }) => good)).toBe(isGood ? answers : 0);
    }
  });

  it('does not follow a lane that fails at once into the depth', async () => {
    const server = await serve();
    const inner = lineLanes(linePlan(server.port).target, 1);
    const factory: LaneFactory = {
      open: async (loop, sink) => {
        const lane = await inner.open(loop, sink);
        return {
          capacity: 1,
          isOpen: true,
          send: (slot) => sink.ended(slot, 'failed', 'at once', 'no way'),
          abandon: () => {},
          close: () => lane.close(),
        };
      },
    };
    const all = await run({ plan: linePlan(server.port), pace: closed(1), factory, until: (so) => so.outcome('failed') > 20_000 });
    expect(all.errors.get('at once')).toBe('no way');
  });

  it('walks sequences in order, one request of each at a time, and begins a new one after a failure', async () => {
    const server = await serve();
    const plan = linePlan(server.port, { sequence: { minLength: 2, maxLength: 5, firstId: 1_000_000_001 } });
    const all = await run({ plan, pace: closed(4), until: (so) => so.outcome('ok') > 300 });
    const { seen } = await server.report();
    const lengths = checkSequences(seen);
    expect(Math.min(...lengths)).toBe(2);
    expect(Math.max(...lengths)).toBe(5);
    expect(all.outcome('ok')).toBe(seen.length);

    const refusing = await serve({ answer: 'refused' });
    await run({
      plan: { ...plan, target: { ...plan.target, port: refusing.port } },
      pace: closed(2),
      until: (so) => so.outcome('refused') > 10,
    });
    for (const line of (await refusing.report()).seen) expect(line).toMatch(/ 1 0 0$/);
  });
});

/** Lengths of the complete sequences that a server saw; each begins, goes on and ends as it must. */
function checkSequences(lines: readonly string[]): number[] {
  const positions = new Map<string, number>();
  const lengths: number[] = [];
  for (const line of lines) {
    const [, index, id, isStart, isEnd] = line.split(' ') as [string, string, string, string, string];
    const position = positions.get(id) ?? 0;
    expect(isStart).toBe(position === 0 ? '1' : '0');
    expect(index).toBe(String(position % 3));
    expect(id).toHaveLength(10);
    positions.set(id, isEnd === '1' ? Number.NaN : position + 1);
    if (isEnd === '1') lengths.push(position + 1);
  }
  return lengths;
}

describe('an open loop', () => {
  it('sends at a fixed rate, each from its own time', async () => {
    const server = await serve();
    const all = await run({ plan: linePlan(server.port), pace: open(500), until: (so) => so.windows.at(-1)!.toMs > 400 });
    const ms = all.windows.at(-2)!.toMs - all.windows[0]!.fromMs;
    const sent = all.sum(({ sent }) => sent);
    expect(sent + all.sum(({ unsent }) => unsent)).toBeGreaterThanOrEqual(Math.floor(ms / 2));
    expect(sent).toBeLessThanOrEqual(ms / 2 + 30);
    expect(all.histogram(({ lag }) => lag).count).toBe(sent);
  });

  it('shows a stall in all the requests that fell into it', async () => {
    const server = await serve({ stallAt: 100, stallMs: 300 });
    const all = await run({ plan: linePlan(server.port), pace: open(1000), until: (so) => so.windows.at(-1)!.toMs > 800 });
    expect(all.outcome('ok')).toBe(all.sum(({ sent }) => sent));
    expect(all.sum(({ unsent }) => unsent)).toBe(0);
    const latency = all.histogram((window) => window.latency);
    // 300 requests were due in the stall. Their latencies fall evenly from 300 ms to nothing, though only four could be sent and measured from the sending.
    const slow = latency.data();
    const above = (limitUs: number): number => {
      let count = 0;
      for (let i = 0; i < slow.buckets.length; i++) {
        const one = new LatencyHistogram();
        one.add({ ...slow, buckets: slow.buckets.subarray(i, i + 1), counts: slow.counts.subarray(i, i + 1) });
        if (slow.buckets[i]! > bucketOf(limitUs)) count += slow.counts[i]!;
      }
      return count;
    };
    expect(above(100_000)).toBeGreaterThan(150);
    expect(above(200_000)).toBeGreaterThan(70);
    expect(latency.data().maxUs).toBeGreaterThan(290_000);
    expect(all.histogram(({ lag }) => lag).data().maxUs).toBeGreaterThan(250_000);
  });

  it('keeps a backlog of maxInFlight, and counts what is due beyond it', async () => {
    const server = await serve({ answer: 'silence' });
    const plan = linePlan(server.port, { connections: 2 });
    const all = await run({
      plan,
      pace: open(2000, { maxInFlight: 20 }),
      onWindow: (so) => {
        if (so.windows.length === 4) void server.tell({ drop: true, answer: 'ok' });
      },
      until: (so) => so.windows.length >= 4 && so.outcome('ok') > 100,
    });
    expect(all.sum((window) => (window.toMs < 190 ? window.unsent : 0))).toBeGreaterThan(100);
    expect(all.outcome('ok')).toBeGreaterThan(100);
  });

  it('lets requests that wait for a connection run out of time as well', async () => {
    const server = await serve({ answer: 'silence' });
    const plan = linePlan(server.port, { connections: 1, timeoutMs: 100 });
    const all = await run({ plan, pace: open(2000), until: (so) => so.outcome('expired') > 30 });
    expect(all.windows.flatMap(({ errors }) => errors.map(({ message }) => message))).toContain('no connection was free within 100 ms');
    expect(all.outcome('ok')).toBe(0);
  });

  it('tells the server how much time is left', async () => {
    const server = await serve({ stallAt: 10, stallMs: 150 });
    const plan = linePlan(server.port, { deadlineMs: 60, sendsDeadline: true, connections: 1 });
    const all = await run({ plan, pace: open(200), until: (so) => so.windows.at(-1)!.toMs > 400 });
    const left = (await server.report()).seen.map((line) => Number(line.split(' ').at(-1)));
    expect(Math.max(...left)).toBeLessThanOrEqual(60);
    expect(Math.min(...left)).toBe(0.001);
    expect(all.sum(({ good }) => good)).toBeLessThan(all.outcome('ok'));
    expect(all.sum(({ good }) => good)).toBeGreaterThan(20);
  });

  it('keeps sequences in order', async () => {
    const server = await serve({ stallAt: 50, stallMs: 50 });
    const plan = linePlan(server.port, { connections: 2, sequence: { minLength: 3, maxLength: 9, firstId: 1_000_000_001 } });
    await run({ plan, pace: open(1000, { schedule: 'poisson' }), capacity: 50, until: (so) => so.outcome('ok') > 400 });
    const { seen } = await server.report();
    expect(checkSequences(seen).length).toBeGreaterThan(20);
  });
});

/** As HistogramData has it. */
function bucketOf(us: number): number {
  const shift = 31 - Math.clz32(us) - 10;
  return us < 2048 ? us : (shift << 10) + (us >>> shift);
}
