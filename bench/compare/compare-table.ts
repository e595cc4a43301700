import { serverOf, subjectOf } from '../report/describe-report.ts';
import { formatDuration, formatNumber } from '../report/quantity.ts';
import { type Colour, paint, printable } from '../report/terminal-text.ts';
import { type TextColumn, textTable } from '../report/text-table.ts';
import type { MeasureComparison, Verdict } from './compare-points.ts';
import type { RunComparison } from './compare-reports.ts';
import type { NamedReport } from './named-report.ts';

const COLOUR_OF: Readonly<Record<Verdict, Colour | null>> = { better: 'green', worse: 'red', unclear: null };
const MINUTE_MS = 60_000;

/** A comparison for a terminal: a row for each load and measure, and below it what speaks against it. Ends with a line break. */
export function compareTable({ base, other, points, warnings }: RunComparison, hasColours: boolean): string {
  const columns: TextColumn[] = [
    { title: 'load', unit: '', align: 'left' },
    { title: 'measure', unit: '', align: 'left' },
    { title: base.name, unit: '', align: 'right' },
    { title: other.name, unit: '', align: 'right' },
    { title: 'ratio', unit: '', align: 'right' },
    { title: '95 % interval', unit: '', align: 'left' },
    { title: '', unit: '', align: 'left' },
  ];
  const rows = points.flatMap(({ base: point, measures }) =>
    measures.map((compared, i) => {
      const { measure, ratio, verdict } = compared;
      const words = [i === 0 ? point.name : '', measure.name, figureOf(compared, 'base'), figureOf(compared, 'other')];
      const plain = [...words, ratioOf(compared), ratio === null ? '-' : intervalOf(compared)].map((text) => ({ text, colour: null }));
      return [...plain, { text: verdictWords(compared), colour: COLOUR_OF[verdict] }];
    }),
  );
  const lines = [
    paint(`${other.name} against ${base.name}`, 'bold', hasColours),
    ...[base, other].map((run) => `  ${runLine(run)}`),
    '',
    ...(points.length === 0 ? ['no load is in both'] : textTable(columns, rows, hasColours)),
  ];
  if (warnings.length > 0) lines.push('', paint('Warnings', 'yellow', hasColours), ...warnings.map((warning) => `  ${warning}`));
  lines.push('', intervalNote(base, other));
  return `${lines.join('\n')}\n`;
}

export function runLine({ name, report }: NamedReport): string {
  return `${name}: ${subjectOf(report)}, ${serverOf(report)}, ${printable(report.startedAt)}`;
}

/** What the intervals do not know. */
export function intervalNote(base: NamedReport, other: NamedReport): string {
  const apart = Math.abs(Date.parse(other.report.startedAt) - Date.parse(base.report.startedAt));
  const time = apart >= MINUTE_MS ? `, which began ${apartWords(apart)} apart` : '';
  return `The intervals know how windows of a run differ, not what else changed between the runs${time}; and of twenty intervals, one misses. Run both again, in turn, before you rely on a small difference.`;
}

/** 'faster', 'slower', 'cheaper', 'dearer', or that it cannot be told, and why. */
export function verdictWords({ measure, ratio, verdict }: MeasureComparison): string {
  if (ratio === null) return 'too few windows to tell';
  if (verdict === 'unclear') return 'no difference that can be told';
  return measure.words[verdict === 'better' ? 0 : 1];
}

export function figureOf({ measure, base, other }: MeasureComparison, run: 'base' | 'other'): string {
  const value = run === 'base' ? base : other;
  if (measure.unit === 'duration') return formatDuration(value);
  return measure.unit === 'us' ? `${formatNumber(value)} us` : formatNumber(value);
}

export function ratioOf({ base, other }: MeasureComparison): string {
  return formatRatio(other / base);
}

/** '0.981 to 1.02'; only where there is a ratio with an interval. */
export function intervalOf({ ratio }: MeasureComparison): string {
  return ratio === null ? '' : `${formatRatio(ratio.low)} to ${formatRatio(ratio.high)}`;
}

function formatRatio(ratio: number): string {
  return ratio >= 100 ? formatNumber(ratio) : ratio.toFixed(ratio < 10 ? 3 : 1);
}

function apartWords(ms: number): string {
  const minutes = Math.round(ms / MINUTE_MS);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}
