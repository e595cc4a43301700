import type { PointProgress } from '../measure/measure-rules.ts';
import type { LiveStream } from '../report/live-view.ts';
import { formatNumber } from '../report/quantity.ts';
import { paint, printable } from '../report/terminal-text.ts';
import { describeKnobs, type Knobs } from './knobs.ts';
import type { TrialReport } from './metered-trial.ts';
import { milliseconds, objectionTo, type TuneGoal } from './tune-goal.ts';

const ERASE_LINE = '\r\x1b[K';
const DEFAULT_COLUMNS = 80;

/** What is shown while it runs: a line for each measurement, and on a terminal one that changes below them. */
export class TuneProgress {
  readonly #stream: LiveStream;
  readonly #hasColours: boolean;
  readonly #present: Knobs;
  readonly #goal: Pick<TuneGoal, 'percentile' | 'ratePerSecond'>;
  #isLineOpen = false;

  constructor(stream: LiveStream, hasColours: boolean, present: Knobs, goal: Pick<TuneGoal, 'percentile' | 'ratePerSecond'>) {
    this.#stream = stream;
    this.#hasColours = hasColours;
    this.#present = present;
    this.#goal = goal;
  }

  window({ phase, window }: PointProgress): void {
    if (this.#stream.isTTY !== true) return;
    const perSecond = (window.outcomes.ok * 1000) / Math.max(1, window.toMs - window.fromMs);
    const text = `        ${phase} ${formatNumber(perSecond)}/s`;
    this.#stream.write(ERASE_LINE + paint(text.slice(0, (this.#stream.columns ?? DEFAULT_COLUMNS) - 1), 'dim', this.#hasColours));
    this.#isLineOpen = true;
  }

  /** `goal`: to say what is over a limit. */
  trial({ knobs, level, effort, outcome, leftMs }: TrialReport, goal: TuneGoal | null): void {
    const { percentile, ratePerSecond } = this.#goal;
    const load = ratePerSecond === null ? `${level} at once` : `${level}/s`;
    const words = `${describeKnobs(knobs, this.#present)}, ${load}`;
    const point = outcome.point;
    const objection = point === null ? `not loaded: ${outcome.failure}` : goal === null ? '' : objectionTo(goal, point);
    const figures = point === null ? '' : `${formatNumber(point.throughput.value)}/s, p${percentile} ${milliseconds(point.latencyUs)} ms`;
    const parts = [figures, printable(objection)].filter((part) => part !== '').join('; ');
    this.line(`${timeLeft(leftMs)} left  ${effort === 'final' ? 'again: ' : ''}${words}: ${parts}`);
  }

  line(text: string): void {
    this.close();
    this.#stream.write(`${text}\n`);
  }

  close(): void {
    if (this.#isLineOpen) this.#stream.write(ERASE_LINE);
    this.#isLineOpen = false;
  }
}

function timeLeft(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(3)}:${String(seconds % 60).padStart(2, '0')}`;
}
