import type { LoadProcess } from '../load/load-client.ts';
import type { Pace } from '../load/load-plan.ts';
import type { LoadWindow } from '../load/load-window.ts';
import type { BenchPoint } from '../report/bench-report.ts';
import type { Target } from '../target/target.ts';

/** When a point has warmed up, and when it is known well enough. */
export interface MeasureRules {
  readonly windowMs: number;
  /** Warm when so many windows in a row lie within `stableWithin` of their mean, of throughput and of p50. */
  readonly stableWindows: number;
  readonly stableWithin: number;
  /** Warm or not, it goes on then, and the point carries a warning. */
  readonly maxWarmUpMs: number;
  readonly minWindows: number;
  /** Enough when the 95 % interval of throughput and of the quantile watched is narrower than this share of its middle on either side. */
  readonly precision: number;
  /** '50', '99': its interval is watched. */
  readonly quantile: string;
  readonly maxMs: number;
}

export interface PointProgress {
  readonly phase: 'warm-up' | 'measuring';
  readonly window: LoadWindow;
  readonly elapsedMs: number;
}

export interface PointOptions {
  readonly pace: Pace;
  readonly rules: MeasureRules;
  /** null: nobody asks the server. */
  readonly target: Target | null;
  readonly onProgress: (progress: PointProgress) => void;
  /** No more is sent; what is in flight is waited for. */
  readonly onStopping?: () => void;
  /** Ends the point early; what is there is reported. The load process may then be busy with answers that do not come, and is good for nothing but `close`. */
  readonly signal: AbortSignal | null;
}

/** One point of load: warms up, measures, stops. */
export type MeasurePoint = (load: LoadProcess, options: PointOptions) => Promise<BenchPoint>;
