import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { LoadProcess } from '../load/load-client.ts';
import type { LoadPlan } from '../load/load-plan.ts';
import { OUTCOMES } from '../load/load-window.ts';
import type { Target, UseSample } from '../target/target.ts';
import { startLoadGroup } from './load-group.ts';
import { measurePoint } from './measure-point.ts';
import type { MeasureRules, PointProgress } from './measure-rules.ts';
import { mergeErrors } from './summarize-point.ts';

const RULES: MeasureRules = {
  windowMs: 100,
  stableWindows: 3,
  stableWithin: 0.5,
  maxWarmUpMs: 400,
  minWindows: 3,
  precision: 0.5,
  quantile: '50',
  maxMs: 600,
};

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A V2 server of one model that answers every request with `status`, and counts them. */
async function countingServer(statusOf: (count: number) => number): Promise<{ port: number; count: () => number }> {
  let count = 0;
  const server: Server = createServer((request, response) => {
    request.resume().on('end', () => {
      const status = statusOf(++count);
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(status === 200 ? '{"model_name":"m","outputs":[]}' : '{"error":"no room"}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, count: () => count };
}

/** Takes connections and requests, and says nothing. */
async function silentServer(): Promise<number> {
  const server: Server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function planFor(port: number): LoadPlan {
  const data = new Uint8Array(4);
  const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [1], data }];
  return {
    protocol: 'http-json',
    target: { host: '127.0.0.1', port, basePath: '', tls: null, headers: {} },
    requests: [
      { infer: { modelName: 'm', modelVersion: '', id: '', parameters: {}, inputs, outputs: [], json: true }, text: null, expected: null },
    ],
    connections: 16,
    timeoutMs: 5_000,
    deadlineMs: 0,
    sendsDeadline: false,
    sequence: null,
    validation: { every: 0, outputs: [], isDeterministic: false },
    firstTokenMs: 0,
    perTokenMs: 0,
    seed: 1,
    sockets: 'auto',
  };
}

async function startGroup(plan: LoadPlan, count: number): Promise<LoadProcess & { readonly processes: number }> {
  const load = await startLoadGroup(plan, count);
  closers.push(() => load.close());
  return load;
}

describe('a point of load', () => {
  test.each([1, 3])('%i processes: what they counted is what the server counted', async (processes) => {
    const server = await countingServer(() => 200);
    const load = await startGroup(planFor(server.port), processes);
    const seen: PointProgress[] = [];
    const point = await measurePoint(load, {
      pace: { kind: 'closed', concurrency: 4 },
      rules: RULES,
      target: null,
      signal: null,
      onProgress: (progress) => seen.push(progress),
    });
    // All answers, of the warm-up too; what ended after the last window is in none of them.
    const answered = seen.reduce((sum, { window }) => sum + window.outcomes.ok, 0);
    expect(answered).toBeLessThanOrEqual(server.count());
    expect(answered).toBeGreaterThan(0);
    expect(point.generator.processes).toBe(processes);
    expect(point.outcomes.ok).toBe(
      seen.filter(({ phase }) => phase === 'measuring').reduce((sum, { window }) => sum + window.outcomes.ok, 0),
    );
    expect(point.latency!.count).toBe(point.outcomes.ok);
    expect(point.windows.length).toBeGreaterThanOrEqual(RULES.minWindows);
    expect(point.split).toBeNull();
    expect(point.serverUse).toBeNull();
    expect(seen.some(({ phase }) => phase === 'warm-up')).toBe(true);
  });

  test('refusals are counted apart, with what they say', async () => {
    const server = await countingServer((count) => (count % 4 === 0 ? 503 : 200));
    const load = await startGroup(planFor(server.port), 2);
    const point = await measurePoint(load, {
      pace: { kind: 'closed', concurrency: 2 },
      rules: RULES,
      target: null,
      signal: null,
      onProgress: () => {},
    });
    expect(point.outcomes.refused).toBeGreaterThan(0);
    const share = point.outcomes.refused / OUTCOMES.reduce((sum, outcome) => sum + point.outcomes[outcome], 0);
    expect(share).toBeCloseTo(0.25, 1);
    expect(point.errors).toEqual([{ status: 'HTTP 503', message: 'no room', count: point.outcomes.refused }]);
    expect(point.refusal!.count).toBe(point.outcomes.refused);
  });

  test('one process after the other can measure several loads', async () => {
    const server = await countingServer(() => 200);
    const load = await startGroup(planFor(server.port), 2);
    const names: string[] = [];
    for (const pace of [
      { kind: 'closed', concurrency: 1 },
      { kind: 'open', perSecond: 100, schedule: 'fixed', maxInFlight: 10 },
      { kind: 'closed', concurrency: 3 },
    ] as const) {
      const point = await measurePoint(load, { pace, rules: RULES, target: null, signal: null, onProgress: () => {} });
      names.push(point.name);
      expect(point.outcomes.ok).toBeGreaterThan(0);
    }
    expect(names).toEqual(['concurrency 1', 'rate 100/s', 'concurrency 3']);
  });

  test('a signal cuts it short, and what is there is reported', async () => {
    const server = await countingServer(() => 200);
    const load = await startGroup(planFor(server.port), 1);
    const cut = new AbortController();
    const point = await measurePoint(load, {
      pace: { kind: 'closed', concurrency: 1 },
      rules: { ...RULES, minWindows: 1_000, maxMs: 60_000 },
      target: null,
      signal: cut.signal,
      onProgress: ({ phase }) => {
        if (phase === 'measuring') cut.abort();
      },
    });
    expect(point.warnings).toContain('cut short');
  });

  test('the death of a load process is an error, not a result', async () => {
    const server = await countingServer(() => 200);
    const load = await startGroup(planFor(server.port), 1);
    const measured = measurePoint(load, {
      pace: { kind: 'closed', concurrency: 1 },
      rules: { ...RULES, minWindows: 1_000, maxMs: 60_000 },
      target: null,
      signal: null,
      onProgress: ({ phase }) => {
        if (phase === 'measuring') process.kill(load.pid, 'SIGKILL');
      },
    });
    await expect(measured).rejects.toThrow(/load process/);
  }, 8_000);

  test.each([1, 2])(
    'a server that never answers does not hold up Ctrl-C (%i processes)',
    async (processes) => {
      const port = await silentServer();
      const load = await startGroup({ ...planFor(port), timeoutMs: 60_000 }, processes);
      const cut = new AbortController();
      let isStopping = false;
      const point = await measurePoint(load, {
        pace: { kind: 'closed', concurrency: 2 },
        rules: RULES,
        target: null,
        signal: cut.signal,
        onProgress: ({ phase }) => {
          if (phase === 'measuring') cut.abort();
        },
        onStopping: () => {
          isStopping = true;
        },
      });
      expect(point.warnings).toContain('cut short');
      expect(isStopping).toBe(true);
    },
    8_000,
  );

  test('requests without an answer at the end are told of, and those that only came after the last window are not', async () => {
    const late = await startGroup({ ...planFor(await silentServer()), timeoutMs: 1_500 }, 1);
    const options = { pace: { kind: 'closed', concurrency: 2 }, rules: RULES, target: null, signal: null, onProgress: () => {} } as const;
    const silent = await measurePoint(late, options);
    expect(silent.warnings).toContain('2 of the requests in flight at the end had no answer within 1500 ms');
    const failing = await startGroup(planFor((await countingServer((count) => (count % 2 === 0 ? 500 : 200))).port), 1);
    const point = await measurePoint(failing, options);
    expect(point.outcomes.failed).toBeGreaterThan(0);
    expect(point.warnings.filter((warning) => /in flight|after the last window/.test(warning))).toEqual([]);
  });

  test('an answer that was wrong in the warm-up counts', async () => {
    const server = await countingServer(() => 200);
    const plan = planFor(server.port);
    // The first answer alone is looked at, and lacks what the model has.
    const validation = { every: 1_000_000, outputs: [{ name: 'y', datatype: 'FP32' }], isDeterministic: false };
    const load = await startGroup({ ...plan, validation }, 1);
    const point = await measurePoint(load, {
      pace: { kind: 'closed', concurrency: 1 },
      rules: RULES,
      target: null,
      signal: null,
      onProgress: () => {},
    });
    expect(point).toMatchObject({ validated: 1, outcomes: { wrong: 1, failed: 0 }, errors: [{ status: 'wrong answer', count: 1 }] });
    expect(point.warnings).toContain('1 of the wrong answers came during the warm-up');
  });

  test('the processor time of a server that was started again is not known', async () => {
    const server = await countingServer(() => 200);
    const load = await startGroup(planFor(server.port), 1);
    const samples = [5, 6, 7, 0.5, 8, 9];
    let asked = 0;
    const use = (): Promise<UseSample> => Promise.resolve({ cpuSeconds: samples[asked++] ?? 10 + asked, memoryMiB: 1, source: 'process' });
    const target = { use, statistics: () => Promise.resolve(null) } as unknown as Target;
    const point = await measurePoint(load, {
      pace: { kind: 'closed', concurrency: 1 },
      rules: { ...RULES, minWindows: 6, maxMs: 2_000 },
      target,
      signal: null,
      onProgress: () => {},
    });
    expect(point.windows.map(({ serverCpu }) => serverCpu === null)).toContain(true);
    expect(point.serverUse).toBeNull();
  });
});

describe('errors of windows', () => {
  test('messages that are all different do not become as many kinds', () => {
    const windows = Array.from({ length: 20 }, (_, i) => ({
      errors: [
        { status: 'HTTP 500', message: `request ${i}`, count: 2 },
        { status: 'HTTP 503', message: 'full', count: 1 },
      ],
    }));
    const merged = mergeErrors(windows);
    expect(merged.map(({ status, message }) => `${status} ${message}`)).toEqual([
      'HTTP 500 request 0',
      'HTTP 503 full',
      'HTTP 500 request 1',
      'HTTP 500 request 2',
    ]);
    expect(merged.reduce((sum, { count }) => sum + count, 0)).toBe(60);
  });
});
