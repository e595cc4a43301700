/** Loads an HTTP server in a process of its own, and prints what it did: for the benchmarks of the two transports. */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { HttpTransportOptions } from '../../server/transports/http-exchange.ts';

/** The part of autocannon that is used here; the package brings no types. */
type Autocannon = (options: {
  url: string;
  method: 'POST';
  body: Buffer;
  headers: Record<string, string>;
  connections: number;
  duration: number;
}) => Promise<{
  requests: { average: number; total: number };
  latency: { p50: number; p99: number };
  non2xx: number;
  errors: number;
}>;

const autocannon = createRequire(import.meta.url)('autocannon') as Autocannon;
const CONNECTIONS = 32;
const SECONDS = 3;
const PATH = '/v2/models/echo/infer';
const REQUEST_BODY = Buffer.from(
  JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 16], data: Array.from({ length: 16 }, (_, i) => i) }] }),
);

/** Answers with the request's body. */
export const ECHO_OPTIONS: HttpTransportOptions = {
  host: '127.0.0.1',
  port: 0,
  routes: [
    {
      method: 'POST',
      pattern: '/v2/models/{model}/infer',
      requestHeaders: ['content-type', 'inference-header-content-length'],
      allowContentCoding: true,
      handle: (exchange) => {
        const type = exchange.header('inference-header-content-length') === '' ? 'application/json' : 'application/octet-stream';
        exchange.respond(200, ['content-type', type], exchange.body);
      },
    },
  ],
  webSockets: [],
  allowOrigins: [],
  errorBody: { contentType: 'application/json', encode: (_, error) => JSON.stringify({ error }) },
  maxBodyBytes: 64 * 1024 * 1024,
  maxBufferedBodyBytes: 256 * 1024 * 1024,
  maxHeaderBytes: 16 * 1024,
  maxConnections: 1000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 60_000,
  tls: null,
  onError: (error) => console.error(error),
};

/**
 * Runs each server of the bench file `file` in turn, twice over so that drift shows. In its own process a server is started by its name and gives its port.
 */
export async function compareServers(file: string, servers: Readonly<Record<string, () => Promise<number>>>): Promise<void> {
  const name = process.argv[2];
  if (name !== undefined) {
    console.log(await servers[name]!());
    return;
  }
  const rows: Record<string, string | number>[] = [];
  for (const server of [...Object.keys(servers), ...Object.keys(servers)]) rows.push(await measure(file, server));
  console.log(`echo of ${REQUEST_BODY.length} bytes, ${CONNECTIONS} connections, ${SECONDS} s each, Node ${process.versions.node}`);
  console.table(rows);
}

async function measure(file: string, server: string): Promise<Record<string, string | number>> {
  const child = spawn(process.execPath, [file, server], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const port = await new Promise<number>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the server ${server} ended before it listened`)));
      child.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())));
    });
    const load = { url: `http://127.0.0.1:${port}${PATH}`, method: 'POST' as const, body: REQUEST_BODY, connections: CONNECTIONS };
    const headers = { 'content-type': 'application/json', accept: '*/*' };
    await autocannon({ ...load, headers, duration: 1 });
    const before = cpuUs(child.pid!);
    const result = await autocannon({ ...load, headers, duration: SECONDS });
    return {
      server,
      'requests/s': Math.round(result.requests.average),
      'p50 ms': result.latency.p50,
      'p99 ms': result.latency.p99,
      'server CPU us/request': ((cpuUs(child.pid!) - before) / result.requests.total).toFixed(2),
      failed: result.non2xx + result.errors,
    };
  } finally {
    child.kill('SIGKILL');
  }
}

/** User and system time of a process, microseconds; 0 where there is no /proc. A load generator on the same machine takes its share, this does not show it. */
function cpuUs(pid: number): number {
  if (process.platform !== 'linux') return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}
