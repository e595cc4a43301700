import type { LoadProcess } from '../load/load-client.ts';
import type { LoadWindow } from '../load/load-window.ts';
import type { BenchPoint } from '../report/bench-report.ts';
import type { StatisticsSample, UseSample } from '../target/target.ts';
import type { MeasurePoint, PointOptions } from './measure-rules.ts';
import { orNullSoonAfter } from './or-null-soon-after.ts';
import { type MeasuredWindow, summarizePoint } from './summarize-point.ts';
import { isWarm, whatIsWide } from './when-to-stop.ts';

export type { MeasurePoint, MeasureRules, PointOptions, PointProgress } from './measure-rules.ts';

/** A load process that is alive says something every window; some of them may come late on a machine that has other work. */
const MISSED_WINDOWS = 20;
const LEAST_SILENCE_MS = 15_000;

/**
 * Sends until windows in a row are alike, measures until the intervals are narrow enough, and stops. What the server took and where it says that the time went are of the measured windows alone.
 * Rejects with what the load process rejects with; a load that does not come to rest, or ends early, is a point with a warning.
 */
export const measurePoint: MeasurePoint = async (load: LoadProcess, options: PointOptions): Promise<BenchPoint> => {
  const { pace, rules, signal } = options;
  const point = new RunningPoint(options);
  const onAbort = (): void => point.end();
  signal?.addEventListener('abort', onAbort, { once: true });
  let hasStarted: boolean | null;
  try {
    if (signal?.aborted === true) point.end();
    void load.ended.then(() => point.end());
    const starting = load.start(pace, rules.windowMs, (window) => point.onWindow(window)).then(() => true);
    hasStarted = await orNullSoonAfter(signal, starting);
    await orNullSoonAfter(signal, point.ended);
  } finally {
    point.close();
    signal?.removeEventListener('abort', onAbort);
  }
  const after = await orNullSoonAfter(signal, point.statistics());
  options.onStopping?.();
  const rest = hasStarted === null ? null : await orNullSoonAfter(signal, load.stop());
  return summarizePoint({
    options,
    load,
    windows: point.measured,
    warmUp: point.warmUp,
    rest,
    warmUpMs: point.warmUpMs,
    isWarm: point.isWarm,
    wide: point.wide,
    isCutShort: signal?.aborted === true,
    useBefore: point.useBefore,
    statisticsBefore: point.statisticsBefore,
    statisticsAfter: after,
  });
};

class RunningPoint {
  readonly measured: MeasuredWindow[] = [];
  readonly ended: Promise<void>;
  warmUpMs = 0;
  isWarm = false;
  wide: string | null = 'windows';
  useBefore: UseSample | null = null;
  statisticsBefore: StatisticsSample | null = null;
  readonly warmUp: LoadWindow[] = [];
  readonly #options: PointOptions;
  #isMeasuring = false;
  #isEnded = false;
  #resolve: () => void = () => {};
  /** A load process that hangs sends no windows. */
  readonly #silence: NodeJS.Timeout;
  /** Samples are taken one after the other, so that those of a window lie before those of the next. */
  #sampling: Promise<void> = Promise.resolve();

  constructor(options: PointOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#silence = setTimeout(() => this.end(), Math.max(LEAST_SILENCE_MS, MISSED_WINDOWS * options.rules.windowMs));
  }

  close(): void {
    clearTimeout(this.#silence);
  }

  end(): void {
    this.#isEnded = true;
    void this.#sampling.then(() => this.#resolve());
  }

  onWindow(window: LoadWindow): void {
    if (this.#isEnded) return;
    this.#silence.refresh();
    const { rules, onProgress } = this.#options;
    onProgress({ phase: this.#isMeasuring ? 'measuring' : 'warm-up', window, elapsedMs: window.toMs });
    if (this.#isMeasuring) this.#measure(window);
    else {
      this.warmUp.push(window);
      this.isWarm = isWarm(this.warmUp, rules);
      if (this.isWarm || window.toMs >= rules.maxWarmUpMs) this.#beginToMeasure(window);
    }
  }

  #beginToMeasure(window: LoadWindow): void {
    this.#isMeasuring = true;
    this.warmUpMs = window.toMs;
    this.#sampling = this.#sampling.then(async () => {
      this.useBefore = await this.#use();
      this.statisticsBefore = await this.statistics();
    });
  }

  #measure(window: LoadWindow): void {
    const { rules } = this.#options;
    const measured: MeasuredWindow = { window, use: null };
    this.measured.push(measured);
    this.#sampling = this.#sampling.then(async () => {
      measured.use = await this.#use();
    });
    this.wide = whatIsWide(
      this.measured.map((one) => one.window),
      rules,
    );
    if (this.wide === null || window.toMs - this.warmUpMs >= rules.maxMs) this.end();
  }

  /** A server that stops answering about itself is a result without that, not a failed run. */
  async statistics(): Promise<StatisticsSample | null> {
    return (await this.#options.target?.statistics().catch(() => null)) ?? null;
  }

  async #use(): Promise<UseSample | null> {
    return (await this.#options.target?.use().catch(() => null)) ?? null;
  }
}
