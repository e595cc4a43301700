import { LatencyHistogram } from '../load/latency-histogram.ts';
import { type LoadWindow, OUTCOMES } from '../load/load-window.ts';
import type { PointProgress } from '../measure/measure-rules.ts';
import type { BenchPoint } from './bench-report.ts';
import { errorsOf, formatPrecision } from './describe-report.ts';
import { countOf, formatDuration, formatNumber, formatShare, NOT_KNOWN } from './quantity.ts';
import { sparkline } from './sparkline.ts';
import { type Colour, paint } from './terminal-text.ts';

/** A terminal, or what stands for one: process.stderr. */
export interface LiveStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Windows that the sparkline shows. */
const SPARK_WINDOWS = 20;
const DEFAULT_COLUMNS = 80;
const ERASE_LINE = '\r\x1b[K';
/** Above it the generator may bound the figures. */
const BUSY = 0.85;

interface Part {
  readonly text: string;
  readonly colour: Colour | null;
}

/** What `nereid bench` shows while it runs: on a terminal a line that changes with every window, below a line for each point that is finished; elsewhere those alone. */
export class LiveView {
  readonly #stream: LiveStream;
  readonly #hasColours: boolean;
  readonly #rates: number[] = [];
  readonly #histogram = new LatencyHistogram();
  #title = '';
  #isLineOpen = false;

  constructor(stream: LiveStream, hasColours: boolean) {
    this.#stream = stream;
    this.#hasColours = hasColours;
  }

  /** The next point: `index` from 0, of `count`. */
  begin(name: string, index: number, count: number): void {
    this.#rates.length = 0;
    this.#title = count === 1 ? name : `${index + 1}/${count} ${name}`;
    this.#draw([{ text: this.#title, colour: 'bold' }, plain('starting')]);
  }

  progress({ phase, window, elapsedMs }: PointProgress): void {
    if (this.#stream.isTTY !== true) return;
    const rate = (window.outcomes.ok * 1000) / Math.max(1, window.toMs - window.fromMs);
    if (this.#rates.push(rate) > SPARK_WINDOWS) this.#rates.shift();
    this.#histogram.reset();
    this.#histogram.add(window.latency);
    const errors = errorsIn(window);
    const { busy } = window.generator;
    this.#draw([
      { text: this.#title, colour: 'bold' },
      { text: phase.padEnd('measuring'.length), colour: phase === 'measuring' ? 'green' : 'dim' },
      plain(`${Math.round(elapsedMs / 1000)} s`.padStart(5)),
      plain(`${formatNumber(rate).padStart(8)}/s`),
      plain(`p50 ${this.#quantile(0.5)}`),
      plain(`p99 ${this.#quantile(0.99)}`),
      { text: countOf(errors, 'error'), colour: errors > 0 ? 'red' : null },
      { text: `generator ${formatShare(busy)}`, colour: busy >= BUSY ? 'yellow' : null },
      { text: sparkline(this.#rates), colour: 'cyan' },
    ]);
  }

  /** No more is sent. */
  stopping(): void {
    this.#draw([{ text: this.#title, colour: 'bold' }, plain('waiting for the last answers')]);
  }

  /** A line that stays. */
  finished(point: BenchPoint): void {
    const { name, throughput, latency, warnings } = point;
    const precision = formatPrecision(throughput);
    const quantiles = ['50', '99'].flatMap((percentile) => {
      const quantile = latency?.quantiles[percentile];
      return quantile === undefined ? [] : [`p${percentile} ${formatDuration(quantile.value)}`];
    });
    const errors = errorsOf(point);
    const facts = [
      `${formatNumber(throughput.value)}/s${precision === '' ? '' : ` ±${precision}`}`,
      ...quantiles,
      paint(countOf(errors, 'error'), errors > 0 ? 'red' : null, this.#hasColours),
      ...(warnings.length === 0 ? [] : [paint(countOf(warnings.length, 'warning'), 'yellow', this.#hasColours)]),
    ];
    this.note(`${name}: ${facts.join(', ')}`);
  }

  /** A line that stays, of other text. */
  note(line: string): void {
    this.close();
    this.#stream.write(`${line}\n`);
  }

  /** Takes the changing line away. */
  close(): void {
    if (this.#isLineOpen) this.#stream.write(ERASE_LINE);
    this.#isLineOpen = false;
  }

  #quantile(share: number): string {
    const us = this.#histogram.valueAt(share);
    return (Number.isNaN(us) ? NOT_KNOWN : formatDuration(us)).padEnd(7);
  }

  /** As many parts as the line has room for: one that wraps could not be erased. */
  #draw(parts: readonly Part[]): void {
    if (this.#stream.isTTY !== true) return;
    let room = (this.#stream.columns ?? DEFAULT_COLUMNS) - 1;
    let line = '';
    for (const { text, colour } of parts) {
      if (text.length + 2 > room) break;
      room -= text.length + 2;
      line += `${paint(text, colour, this.#hasColours)}  `;
    }
    this.#stream.write(`${ERASE_LINE}${line.trimEnd()}`);
    this.#isLineOpen = true;
  }
}

function plain(text: string): Part {
  return { text, colour: null };
}

function errorsIn({ outcomes, unsent }: LoadWindow): number {
  return OUTCOMES.reduce((count, outcome) => count + (outcome === 'ok' ? 0 : outcomes[outcome]), unsent);
}
