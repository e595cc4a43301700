import { writeFile } from 'node:fs/promises';
import type { BenchReport } from './bench-report.ts';

/** Everything that was measured, for `nereid bench compare` and for whoever reads JSON. What is not a number (a window without an answer has no p50) becomes null. */
export function reportJson(report: BenchReport): string {
  return `${JSON.stringify(report, null, 1)}\n`;
}

/** Replaces what `file` held. Rejects with the operating system's error. */
export async function writeJson(file: string, report: BenchReport): Promise<void> {
  await writeFile(file, reportJson(report));
}
