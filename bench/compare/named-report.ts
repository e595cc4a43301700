import type { BenchReport } from '../report/bench-report.ts';

/** A run and what it is called: its file's name. */
export interface NamedReport {
  readonly name: string;
  readonly report: BenchReport;
}
