import { type ChildProcess, spawn } from 'node:child_process';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../../server/e2e/serve.ts';
import { ownAddresses } from './own-addresses.ts';
import { findMetrics, metricValue, parseMetricsUrl, readMetrics } from './server-metrics.ts';
import { isProcess, listeningPids, ProcessUse } from './server-process.ts';
import { openServerUse } from './server-use.ts';
import { serveAnswers } from './small-server.case.ts';

/** A parent that listens, a child that has the same socket, and a grandchild that works without a pause. */
const FAMILY = `
const { fork, spawn } = require('node:child_process');
if (process.argv[1] === 'child') {
  process.on('message', (_, server) => { globalThis.server = server; process.send('ready'); });
  const busy = spawn(process.execPath, ['-e', 'const kept = Buffer.alloc(64 << 20, 1); for (;;) kept[0]++;'], { stdio: 'ignore' });
  process.on('disconnect', () => { busy.kill('SIGKILL'); process.exit(); });
  process.on('SIGTERM', () => {});
} else {
  const server = require('node:net').createServer().listen(0, '127.0.0.1', () => {
    const child = spawn(process.execPath, ['-e', process.env.SOURCE, 'child'], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: process.env });
    child.send('server', server);
    child.on('message', () => console.log(server.address().port));
  });
  process.stdin.on('end', () => process.exit()).resume();
}`;

describe('the process behind a port', () => {
  const started: ChildProcess[] = [];

  afterEach(async () => {
    for (const child of started.splice(0)) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stdin!.end();
      await ended;
    }
  });

  async function startFamily(): Promise<{ pid: number; port: number }> {
    const child = spawn(process.execPath, ['-e', FAMILY], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, SOURCE: FAMILY } });
    started.push(child);
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout.once('data', (text: Buffer) => resolve(Number(text)));
      child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
    });
    return { pid: child.pid!, port };
  }

  it('is the topmost of those that have the socket; what is below it counts', async () => {
    const { pid, port } = await startFamily();
    expect(listeningPids(port, ['127.0.0.1'])).toEqual([pid]);
    expect(listeningPids(port, ['127.0.0.2'])).toEqual([]);
    const use = new ProcessUse([pid]);
    const before = use.read()!;
    await until(() => use.read()!.cpuSeconds > before.cpuSeconds + 0.1);
    // What the grandchild keeps.
    await until(() => new ProcessUse([pid]).read()!.memoryMiB > 64);
  });

  it('is found again when another one has taken its place', async () => {
    const { pid, port } = await startFamily();
    const load = { host: '127.0.0.1', port, basePath: '', tls: null, headers: {} };
    const use = await openServerUse(load, ['127.0.0.1'], { serverPid: null, metricsUrl: null, timeoutMs: 1000 });
    expect((await use())!.source).toBe('process');
    const first = started.pop()!;
    const ended = new Promise((resolve) => first.once('exit', resolve));
    first.stdin!.end();
    await ended;
    await until(() => !isProcess(pid) && listeningPids(port, ['127.0.0.1']).length === 0);
    expect(await use()).toBeNull();
    const server = createServer().listen(port, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    expect((await use())!.cpuSeconds).toBeGreaterThan(0);
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    ['127.0.0.1', '127.0.0.1', ['127.0.0.1']],
    ['0.0.0.0', '127.0.0.1', ['127.0.0.1']],
    ['::', '127.0.0.1', ['127.0.0.1']],
    ['::1', '::1', ['::1']],
  ])('is found on %s, of whatever table', async (listenOn, connectTo, addresses) => {
    const server = createServer((socket) => socket.destroy());
    server.listen(0, listenOn);
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const client = connect(port, connectTo).on('error', () => {});
    await new Promise((resolve) => client.once('close', resolve));
    expect(listeningPids(port, addresses)).toEqual([process.pid]);
    await new Promise((resolve) => server.close(resolve));
    expect(listeningPids(port, addresses)).toEqual([]);
  });

  it('reads memory no more often than it costs', () => {
    const use = new ProcessUse([process.pid]);
    const nowMs = performance.now();
    const first = use.read(nowMs)!;
    const kept = Buffer.alloc(64 * 1024 * 1024, 1);
    // However long that took: as if no time had passed.
    expect(use.read(nowMs)!.memoryMiB).toBe(first.memoryMiB);
    expect(use.read(nowMs + 3_600_000)!.memoryMiB).toBeGreaterThan(first.memoryMiB + 30);
    expect(kept.length).toBeGreaterThan(0);
  });
});

describe('ownAddresses', () => {
  it('knows this machine and no other', async () => {
    expect(await ownAddresses('localhost')).not.toEqual([]);
    expect(await ownAddresses('127.0.0.7')).toEqual(['127.0.0.7']);
    expect(await ownAddresses('192.0.2.1')).toEqual([]);
    expect(await ownAddresses('no-such-host.invalid')).toEqual([]);
  });
});

describe('metrics', () => {
  const page = [
    '# HELP process_cpu_seconds_total Total',
    'process_cpu_seconds_total_more 9',
    'process_cpu_seconds_total{pool="a}b \\" {"} 1.5 1700000000',
    'process_cpu_seconds_total{pool="c"} 2.5e1',
    'process_resident_memory_bytes NaN',
    'nv_cpu_utilization 0.5',
  ].join('\n');

  it('reads the text format', () => {
    expect(metricValue(page, 'process_cpu_seconds_total')).toBe(26.5);
    expect(metricValue(page, 'process_resident_memory_bytes')).toBeNull();
    expect(metricValue(page, 'missing')).toBeNull();
  });

  it('takes what a process says of itself, and not what the machine does', async () => {
    const server = await serveAnswers({ 'GET /metrics': page, 'GET /triton': 'nv_cpu_utilization 0.5\nnv_cpu_memory_used_bytes 5e9\n' });
    const load = { host: '127.0.0.1', port: 9, basePath: '', tls: null, headers: { authorization: 'Bearer x' } };
    const url = `127.0.0.1:${server.port}`;
    expect(await readMetrics(parseMetricsUrl(url, load), 1000)).toEqual({ cpuSeconds: 26.5, memoryMiB: 0, source: 'metrics' });
    expect(await readMetrics(parseMetricsUrl(`http://${url}/triton`, load), 1000)).toBeNull();
    expect(await readMetrics(parseMetricsUrl(`http://localhost:${server.port}/metrics`, load), 1000)).not.toBeNull();
    // The credential went to the host that it is for.
    expect(server.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer x', 'Bearer x', undefined]);
    await expect(readMetrics(parseMetricsUrl(`${url}/none`, load), 1000)).rejects.toThrow('HTTP 404');
    expect(() => parseMetricsUrl('http://', load)).toThrow('metrics-url');
    // Not where Triton is: the page at its port is somebody else's.
    expect(await findMetrics({ ...load, port: server.port }, 1000)).toBeNull();
    await server.close();
  });
});
