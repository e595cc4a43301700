import type { LoadPlan, Pace } from './load-plan.ts';
import type { LoadWindow } from './load-window.ts';

/** A load process, as the one who runs the measurement sees it. One point of load at a time. */
export interface LoadProcess {
  readonly pid: number;
  /** Which sockets it took: 'native' or 'node'. */
  readonly sockets: 'native' | 'node';
  /** Resolves when the process is gone, whoever ended it; `stop` says how. */
  readonly ended: Promise<void>;
  /** Opens what connections `pace` needs and sends; `onWindow` hears of each `windowMs`, until `stop`. */
  start(pace: Pace, windowMs: number, onWindow: (window: LoadWindow) => void): Promise<void>;
  /** Sends no more, waits for what is in flight (as long as the plan's timeout at the most), and gives the last, shorter window. */
  stop(): Promise<LoadWindow>;
  /** Ends the process. */
  close(): Promise<void>;
}

/** Starts a load process and gives it `plan`. Rejects with an InferenceError that says what is wrong with it, or why the server cannot be reached. */
export type StartLoadProcess = (plan: LoadPlan) => Promise<LoadProcess>;
