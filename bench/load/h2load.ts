import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { frame } from './grpc-lane.ts';

/**
 * A closed loop of gRPC calls by h2load (Debian package `nghttp2-client`): a fraction of the processor time that a client in Node takes. It counts HTTP statuses and
 * does not look at `grpc-status`, so whoever calls this has seen one right answer before. Returns calls per second.
 */
export async function runH2load(
  port: number,
  path: string,
  message: Uint8Array,
  connections: number,
  inFlight: number,
  seconds: number,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-h2load-'));
  const body = join(folder, 'message');
  writeFileSync(body, frame(message));
  try {
    const { stdout } = await promisify(execFile)('h2load', [
      `--clients=${connections}`,
      `--max-concurrent-streams=${inFlight / connections}`,
      `--duration=${seconds}`,
      '--warm-up-time=1',
      `--data=${body}`,
      '--header=content-type: application/grpc',
      '--header=te: trailers',
      `http://127.0.0.1:${port}${path}`,
    ]);
    const counts = /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed/.exec(stdout);
    if (counts === null || counts[3] !== '0') throw new Error(`h2load on ${path}: ${stdout}`);
    return Number(counts[2]) / seconds;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
