/** A whole scenario, as short as it goes: all of it from dist/. */

import { expect, test } from 'vitest';
import { followMemory } from './memory-slope.ts';
import { tinyRequests } from './requests.ts';
import { empty, INLINE, nereid, rawRun, throughput } from './rows/contenders.ts';
import { runScenario } from './run-scenario.ts';
import type { Scenario } from './scenario.ts';

const requests = tinyRequests('binary');
const scenario: Scenario = {
  name: 'short',
  title: 'Short',
  about: '',
  cores: 'one',
  models: ['tiny'],
  seconds: 0,
  contenders: [
    empty('control', 'node', INLINE, { protocol: 'http-binary', requests, concurrency: 2 }),
    nereid('HTTP', INLINE, { protocol: 'http-binary', requests, concurrency: 2 }),
    rawRun('raw', 'tiny', requests),
  ],
  ratios: [throughput('HTTP / control', { of: 'HTTP', to: 'control' }, null)],
};
const options = { rounds: 2, seconds: 0.1, warmUpSeconds: 0.05, onProgress: () => {} };

test('a scenario measures its contenders in turns and compares them', async () => {
  const { rows, ratios, rounds } = await runScenario(scenario, options);
  expect(rounds).toBe(2);
  expect(rows.map(({ name }) => name)).toEqual(['control', 'HTTP', 'raw']);
  for (const { perSecond, p50Us } of rows) {
    expect(perSecond).toBeGreaterThan(0);
    expect(p50Us).toBeGreaterThanOrEqual(0);
  }
  expect(ratios[0]!.estimate.value).toBeGreaterThan(0);
});

test('a contender whose answers are wrong ends the scenario with what is wrong', async () => {
  const wrong = requests.map((request) => ({ ...request, expected: [{ name: 'OUTPUT0', data: new Uint8Array(64), tolerance: 0 }] }));
  const contenders = [nereid('HTTP', INLINE, { protocol: 'http-binary', requests: wrong, concurrency: 2 })];
  await expect(runScenario({ ...scenario, contenders, ratios: [] }, options)).rejects.toThrow(/wrong.*OUTPUT0/s);
  const unknown = requests.map((request) => ({ ...request, infer: { ...request.infer!, modelName: 'absent' } }));
  const absent = [nereid('HTTP', INLINE, { protocol: 'http-binary', requests: unknown, concurrency: 2 })];
  await expect(runScenario({ ...scenario, contenders: absent, ratios: [] }, options)).rejects.toThrow(/absent/);
});

test.each(['http-binary', 'grpc-stream', 'websocket-json'] as const)('memory is followed over %s', async (protocol) => {
  const { requests: done, startMiB, endMiB, slope } = await followMemory(protocol, 20, { requests: 200, onProgress: () => {} });
  expect(done).toBeGreaterThanOrEqual(200);
  expect(startMiB).toBeGreaterThan(10);
  expect(endMiB).toBeGreaterThan(10);
  expect(slope.low).toBeLessThanOrEqual(slope.value);
  expect(slope.value).toBeLessThanOrEqual(slope.high);
});
