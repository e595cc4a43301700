import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface H2loadRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** HTTP/1.1 in place of HTTP/2. */
  readonly isHttp1: boolean;
}

export interface H2loadResult {
  readonly answered: number;
  readonly perSecond: number;
  readonly latenciesUs: readonly number[];
}

/**
 * A closed loop by h2load (Debian package `nghttp2-client`), over HTTP/2 or HTTP/1.1: a fraction of the processor time that a client in Node takes. It counts HTTP statuses
 * and does not look at `grpc-status`, so whoever calls this has seen one right answer before.
 */
export async function runH2load(request: H2loadRequest, connections: number, inFlight: number, seconds: number): Promise<H2loadResult> {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-h2load-'));
  const [body, log] = [join(folder, 'body'), join(folder, 'log')];
  writeFileSync(body, request.body);
  try {
    const { stdout } = await promisify(execFile)('h2load', [
      ...(request.isHttp1 ? ['--h1'] : []),
      `--clients=${connections}`,
      `--max-concurrent-streams=${inFlight / connections}`,
      `--duration=${seconds}`,
      '--warm-up-time=1',
      `--data=${body}`,
      `--log-file=${log}`,
      ...Object.entries(request.headers).map(([name, value]) => `--header=${name}: ${value}`),
      request.url,
    ]);
    const counts = /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed/.exec(stdout);
    if (counts === null || counts[3] !== '0') throw new Error(`h2load on ${request.url}: ${stdout}`);
    // Lines of the log: time of the start, HTTP status, microseconds.
    const latenciesUs = readFileSync(log, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => Number(line.split('\t')[2]));
    return { answered: Number(counts[2]), perSecond: Number(counts[2]) / seconds, latenciesUs };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
