import { writeFile } from 'node:fs/promises';
import type { BenchPoint, BenchReport, LatencySummary } from './bench-report.ts';

/**
 * The columns, in their order. Those of perf_analyzer's -f have its names and meaning: durations in microseconds, means unless a percentile is named. `Network+Server Send/Recv` is,
 * as there, what is left of the client's mean beside queue and compute; `Server Overhead` and `Network` are its two parts. perf_analyzer's `Inferences/Second` counts the rows of a
 * batch; `Requests/Second` here counts answers. A figure that is not known is empty.
 */
export const CSV_COLUMNS: Readonly<Record<string, (point: BenchPoint) => string | number | null | undefined>> = {
  Concurrency: ({ load }) => (load.kind === 'concurrency' ? load.value : null),
  'Request Rate': ({ load }) => (load.kind === 'rate' ? load.value : null),
  Schedule: ({ load }) => load.schedule,
  'Requests/Second': ({ throughput }) => throughput.value,
  'Requests/Second Low': ({ throughput }) => throughput.low,
  'Requests/Second High': ({ throughput }) => throughput.high,
  'Goodput/Second': ({ goodput }) => goodput.value,
  'Network+Server Send/Recv': ({ split }) => split && split.overhead + split.network,
  'Server Queue': ({ split }) => split?.queue,
  'Server Compute Input': ({ split }) => split?.computeInput,
  'Server Compute Infer': ({ split }) => split?.computeInfer,
  'Server Compute Output': ({ split }) => split?.computeOutput,
  'Server Overhead': ({ split }) => split?.overhead,
  Network: ({ split }) => split?.network,
  'Batch Size': ({ split }) => split?.batchSize,
  ...latencyColumns('latency', ({ latency }) => latency),
  'Avg latency': ({ latency }) => latency?.mean,
  'Min latency': ({ latency }) => latency?.min,
  'Max latency': ({ latency }) => latency?.max,
  'p99 latency Low': ({ latency }) => latency?.quantiles['99']?.low,
  'p99 latency High': ({ latency }) => latency?.quantiles['99']?.high,
  ...latencyColumns('TTFT', ({ text }) => text?.firstToken ?? null),
  ...latencyColumns('ITL', ({ text }) => text?.betweenTokens ?? null),
  'Tokens/Second': ({ text }) => text?.tokensPerSecond.value,
  Sent: ({ sent }) => sent,
  OK: ({ outcomes }) => outcomes.ok,
  Refused: ({ outcomes }) => outcomes.refused,
  Expired: ({ outcomes }) => outcomes.expired,
  Failed: ({ outcomes }) => outcomes.failed,
  Wrong: ({ outcomes }) => outcomes.wrong,
  Unsent: ({ unsent }) => unsent,
  Validated: ({ validated }) => validated,
  'Bytes Sent': ({ bytesSent }) => bytesSent,
  'Bytes Received': ({ bytesReceived }) => bytesReceived,
  'Server CPU Cores': ({ serverUse }) => serverUse?.cpu,
  'Server CPU us/Request': ({ serverUse, outcomes }) => (outcomes.ok === 0 ? null : serverUse?.cpuUsPerRequest),
  'Server Memory MiB': ({ serverUse }) => serverUse?.memoryMiB,
  'Generator Busy': ({ generator }) => generator.busy,
  'Measured ms': ({ measuredMs }) => measuredMs,
  Warnings: ({ warnings }) => warnings.join('; '),
};

function latencyColumns(name: string, of: (point: BenchPoint) => LatencySummary | null): typeof CSV_COLUMNS {
  return Object.fromEntries(
    ['50', '90', '95', '99', '99.9', '99.99'].map((percentile) => [
      `p${percentile} ${name}`,
      (point: BenchPoint) => of(point)?.quantiles[percentile]?.value,
    ]),
  );
}

/** A line of names, then a line for each point (RFC 4180, but with line feeds alone). */
export function reportCsv({ points }: BenchReport): string {
  const rows = points.map((point) => Object.values(CSV_COLUMNS).map((of) => field(of(point))));
  return [Object.keys(CSV_COLUMNS).map(field), ...rows].map((row) => `${row.join(',')}\n`).join('');
}

/** Replaces what `file` held. Rejects with the operating system's error. */
export async function writeCsv(file: string, report: BenchReport): Promise<void> {
  await writeFile(file, reportCsv(report));
}

function field(value: string | number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '';
  if (typeof value === 'number') return String(Number(value.toPrecision(9)));
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
