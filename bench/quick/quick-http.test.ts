import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { InferRequest, InputTensor } from '../../clients/typescript/src/transport.ts';
import { exampleRepository, ServerProcess } from '../../server/e2e/serve.ts';
import type { LoadPlan } from '../load/load-plan.ts';
import type { StatisticsSample, Target } from '../target/target.ts';
import { loadAutocannon } from './load-autocannon.ts';
import { measureQuick } from './quick-http.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

let nereid: ServerProcess;
beforeAll(async () => {
  nereid = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--model-control-mode=explicit', '--load-model=simple']);
});
afterAll(async () => {
  await nereid?.stop();
});

const port = (): number => Number(new URL(nereid.http).port);
const input = (name: string, count: number): InputTensor => ({
  name,
  datatype: 'INT32',
  shape: [1, count],
  data: new Uint8Array(4 * count),
});
const simple = (count = 16): InferRequest => ({
  modelName: 'simple',
  modelVersion: '',
  id: '',
  parameters: {},
  inputs: [input('INPUT0', count), input('INPUT1', count)],
  outputs: [],
  json: false,
});

function makePlan(at: number, changes: Partial<LoadPlan> = {}): LoadPlan {
  return {
    protocol: 'http-binary',
    target: { host: '127.0.0.1', port: at, basePath: '', tls: null, headers: { 'x-of-ours': 'yes' } },
    requests: [{ infer: simple(), text: null, expected: null }],
    connections: 4,
    timeoutMs: 5000,
    deadlineMs: 0,
    sendsDeadline: false,
    sequence: null,
    validation: { every: 1, outputs: [], isDeterministic: false },
    firstTokenMs: 0,
    perTokenMs: 0,
    seed: 1,
    sockets: 'auto',
    ...changes,
  };
}

async function serve(onRequest: RequestListener): Promise<number> {
  const server = createServer(onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  return (server.address() as { port: number }).port;
}

/** The server's counters, as the target of a bench reads them. */
function targetOf(server: ServerProcess): Target {
  const statistics = async (): Promise<StatisticsSample> => {
    const { model_stats } = (await (await fetch(`${server.http}/v2/models/simple/stats`)).json()) as {
      model_stats: { inference_count: number; execution_count: number; inference_stats: Record<string, { count: number; ns: number }> }[];
    };
    const { inference_count, execution_count, inference_stats: stats } = model_stats[0]!;
    return {
      requests: stats['success']!.count,
      executions: execution_count,
      inferences: inference_count,
      successNs: stats['success']!.ns,
      queueNs: stats['queue']!.ns,
      computeInputNs: stats['compute_input']!.ns,
      computeInferNs: stats['compute_infer']!.ns,
      computeOutputNs: stats['compute_output']!.ns,
    };
  };
  let cpuSeconds = 0;
  return {
    facts: { url: server.http, name: '', version: '' },
    load: makePlan(0).target,
    isLocal: true,
    statistics,
    use: async () => {
      cpuSeconds += 0.25;
      return { cpuSeconds, memoryMiB: 100, source: 'process' };
    },
    close: async () => {},
  };
}

test.each(['http-json', 'http-binary'] as const)('%s against Nereid', async (protocol) => {
  const target = targetOf(nereid);
  const before = await target.statistics();
  const point = await measureQuick(makePlan(port(), { protocol, deadlineMs: 0.001 }), 4, 2, target);
  const after = await target.statistics();
  expect(point).toMatchObject({
    name: 'concurrency 4',
    load: { kind: 'concurrency', value: 4, schedule: null },
    warmUpMs: 1000,
    validated: 0,
    unsent: 0,
    errors: [],
    text: null,
    refusal: null,
    outcomes: { refused: 0, expired: 0, failed: 0, wrong: 0 },
    generator: { sockets: 'autocannon', processes: 1 },
  });
  const { outcomes, latency, windows } = point;
  expect(outcomes.ok).toBeGreaterThan(0);
  expect(outcomes.ok).toBeLessThan(after!.requests - before!.requests);
  expect(latency!.count).toBe(outcomes.ok);
  // Fractions of a millisecond, which autocannon's own histogram does not have.
  expect(latency!.mean % 1000).not.toBe(0);
  expect(latency!.min).toBeGreaterThan(0);
  expect(windows.length).toBeGreaterThanOrEqual(2);
  expect(windows.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0)).toBeCloseTo(point.measuredMs, 3);
  expect(point.measuredMs).toBeGreaterThan(1900);
  expect(point.throughput.value).toBeCloseTo(windows.reduce((sum, { perSecond }) => sum + perSecond, 0) / windows.length, 0);
  // Nobody answers within a microsecond.
  expect(point.goodput.value).toBe(0);
  expect(point.bytesSent).toBeGreaterThan(100 * outcomes.ok);
  expect(point.bytesReceived).toBeGreaterThan(100 * outcomes.ok);
  expect(point.generator.busy).toBeGreaterThan(0);
  expect(point.isSaturated).toBe(point.generator.busy >= 0.95);
  expect(point.warnings.some((warning) => warning.includes('saturated') || warning.includes('generator was busy'))).toBe(
    point.generator.busy >= 0.85,
  );
  expect(point.warnings.join('\n')).toMatch(/autocannon.*not looked at/);
  expect(point.split!.computeInfer).toBeGreaterThan(0);
  expect(point.serverUse!.cpuUsPerRequest).toBeGreaterThan(0);
});

test('what is sent is what the lanes send, and bytes are counted as they are', async () => {
  const seen = new Set<string>();
  const at = await serve((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const head = request.rawHeaders.reduce((sum, text) => sum + text.length + 2, 0) + `POST ${request.url} HTTP/1.1\r\n\r\n`.length;
      const { 'x-of-ours': ours, 'inference-header-content-length': jsonBytes, host } = request.headers;
      seen.add([request.method, request.url, ours, jsonBytes, body.length - Number(jsonBytes), host, head + body.length].join(' '));
      setTimeout(() => response.end('{}'), 5);
    });
  });
  const requests = [1, 16].map((count) => ({ infer: simple(count), text: null, expected: null }));
  const plan = makePlan(at, { requests });
  const point = await measureQuick({ ...plan, target: { ...plan.target, basePath: '/gateway' } }, 1, 0.5, null);
  expect(seen.size).toBe(2);
  const rows = [...seen].map((row) => row.split(' '));
  expect(rows.map(([method, url, ours, , tail, host]) => [method, url, ours, tail, host])).toEqual(
    ['8', '128'].map((tail) => ['POST', '/gateway/v2/models/simple/infer', 'yes', tail, `127.0.0.1:${at}`]),
  );
  const mean = rows.reduce((sum, row) => sum + Number(row.at(-1)), 0) / 2;
  expect(point.bytesSent).toBe(Math.round(mean * point.sent));
  expect([point.split, point.serverUse]).toEqual([null, null]);
});

test('refusals, deadlines of the server and failures are counted apart', async () => {
  let count = 0;
  const statuses = [200, 503, 504, 400];
  const at = await serve((request, response) => {
    request.resume();
    request.on('end', () => setTimeout(() => response.writeHead(statuses[count++ % 4]!).end('{}'), 2));
  });
  const { outcomes, errors, latency, refusal, sent } = await measureQuick(makePlan(at), 1, 0.5, null);
  for (const name of ['ok', 'refused', 'expired', 'failed'] as const) expect(Math.abs(outcomes[name] - sent / 4)).toBeLessThanOrEqual(1);
  expect(errors.map(({ status }) => status).sort()).toEqual(['HTTP 400', 'HTTP 503', 'HTTP 504']);
  expect([latency!.count, refusal!.count]).toEqual([outcomes.ok, outcomes.refused]);
});

test('a server that does not answer, one that hangs up, one that is not there', async () => {
  const silent = await serve(() => {});
  const late = await measureQuick(makePlan(silent, { timeoutMs: 300 }), 2, 1.5, null);
  expect(late.outcomes).toMatchObject({ ok: 0, failed: 0 });
  expect(late.outcomes.expired).toBeGreaterThan(0);
  expect(late.warnings.join('\n')).toMatch(/no request succeeded[\s\S]*1000 ms instead of 300/);

  const hangsUp = createTcpServer((socket: Socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end());
  });
  await new Promise<void>((resolve) => hangsUp.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => hangsUp.close(() => resolve())));
  const cut = await measureQuick(makePlan((hangsUp.address() as { port: number }).port), 1, 0.3, null);
  expect(cut.outcomes.ok).toBe(0);
  expect(cut.warnings.join('\n')).toMatch(/requests ended without an answer|autocannon gave up/);

  const gone = await serve(() => {});
  for (const cleanup of cleanups.splice(0)) await cleanup();
  const nobody = await measureQuick(makePlan(gone), 1, 30, null);
  expect(nobody.outcomes.ok).toBe(0);
  expect(nobody.errors[0]).toMatchObject({ status: 'connection lost', message: expect.stringContaining('ECONNREFUSED') });
  expect(nobody.warnings.join('\n')).toMatch(/gave up after 10000/);
});

test('large requests are not copied for every connection beyond what memory has', async () => {
  const at = await serve((request, response) => {
    request.resume();
    request.on('end', () => response.end('{}'));
  });
  const requests = Array.from({ length: 5 }, () => ({ infer: simple(1_000_000), text: null, expected: null }));
  const point = await measureQuick(makePlan(at, { requests }), 4, 0.2, null);
  expect(point.warnings.join('\n')).toMatch(/only 2 of the 5 requests were sent/);
});

test('what autocannon cannot do is refused before it starts', async () => {
  await expect(measureQuick(makePlan(1, { protocol: 'grpc' }), 1, 1, null)).rejects.toThrow(
    /--quick: expected --protocol http-json or http-binary, got grpc/,
  );
  const sequence = { minLength: 1, maxLength: 1, firstId: 1_000_000_000 };
  await expect(measureQuick(makePlan(1, { sequence }), 1, 1, null)).rejects.toThrow(/--sequence-length/);
});

test('where it is not installed, it says how to install it', async () => {
  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
  await expect(loadAutocannon(() => Promise.reject(missing))).rejects.toMatchObject({
    code: 'UNIMPLEMENTED',
    message: expect.stringContaining('npm install autocannon'),
  });
  await expect(loadAutocannon(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
});
