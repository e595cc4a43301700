import type { EngineStatistics as ReportedStatistics } from '../../api/backend.ts';

/** An engine's state and counters since it was opened. */
export interface EngineStatistics extends ReportedStatistics {
  readonly failedSteps: number;
  /** That got a sequence; `jobsWithPrefix`: and found the beginning of their prompt in it. */
  readonly jobs: number;
  readonly jobsWithPrefix: number;
  /** Of those that run. */
  readonly prefillingSequences: number;
  /** Of those that run: left out of steps, as their client is behind. */
  readonly parkedSequences: number;
  readonly waitingJobs: number;
  readonly sequences: number;
}
