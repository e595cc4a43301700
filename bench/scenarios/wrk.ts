import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface WrkResult {
  readonly perSecond: number;
  readonly answered: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/**
 * A closed loop by wrk (Debian package `wrk`): it costs little more than half the processor time that autocannon does, so on a machine with few cores more of it
 * is left for what is measured. Rejects when wrk is not installed, and on any answer but 200.
 */
export async function runWrk(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  connections: number,
  seconds: number,
): Promise<WrkResult> {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-wrk-'));
  const script = join(folder, 'post.lua');
  // Lua takes any byte as \ddd.
  const text = [...body].map((byte) => `\\${String(byte).padStart(3, '0')}`).join('');
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"]="${value}"`);
  writeFileSync(script, ['wrk.method="POST"', `wrk.body="${text}"`, ...lines].join('\n'));
  try {
    const { stdout } = await promisify(execFile)('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', script, url]);
    if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`${url}: ${stdout}`);
    return {
      perSecond: Number(/Requests\/sec: +([0-9.]+)/.exec(stdout)?.[1]),
      answered: Number(/([0-9]+) requests in/.exec(stdout)?.[1]),
      p50Us: microseconds(/50% +([0-9.]+)(us|ms|s)/.exec(stdout)),
      p99Us: microseconds(/99% +([0-9.]+)(us|ms|s)/.exec(stdout)),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function microseconds(found: RegExpExecArray | null): number {
  const unit = { us: 1, ms: 1e3, s: 1e6 }[found?.[2] ?? ''] ?? Number.NaN;
  return Number(found?.[1]) * unit;
}
