import type { MachineFacts } from '../report/bench-report.ts';
import type { MeasuredRatio, ScenarioResult } from './run-scenario.ts';
import type { Ratio } from './scenario.ts';

/** `2 cores of ..., Node v20.20.2, Linux ...`. */
export function machineLine({ cores, cpu, node, system }: MachineFacts): string {
  return `${cores} cores of ${cpu}, Node ${node}, ${system}`;
}

/** A result as lines of text: medians of each contender, and the ratios with their goals. */
export function renderResult(result: ScenarioResult): string[] {
  const { rows, ratios, rounds, keptRounds, seconds, warnings } = result;
  const width = Math.max(...rows.map(({ name, note }) => label(name, note).length), ...ratios.map(({ ratio }) => ratio.what.length));
  const lines = [
    `${rounds} rounds of ${seconds} s${keptRounds < rounds && keptRounds > 0 ? `, of which ${keptRounds} count` : ''}; medians`,
    '',
    `${''.padEnd(width)}     per s    p50 us    p99 us    cpu us  generator`,
  ];
  for (const row of rows) {
    const cells = [number(row.perSecond), number(row.p50Us), number(row.p99Us), number(row.cpuUsPerRequest, 1)];
    lines.push(
      `${label(row.name, row.note).padEnd(width)}${cells.join('')}${(row.generatorBusy === 0 ? '-' : `${(row.generatorBusy * 100).toFixed(0)} %`).padStart(11)}`,
    );
  }
  lines.push('', `${'ratio'.padEnd(width)}  measured    95 % between      goal`);
  const counted = keptRounds === 0 ? rounds : keptRounds;
  for (const measured of ratios) lines.push(renderRatio(measured, width, counted >= FEWEST_FOR_INTERVAL));
  if (warnings.length > 0) lines.push('', ...warnings);
  return lines;
}

/** Fewer rounds have no interval to speak of. */
const FEWEST_FOR_INTERVAL = 5;

function renderRatio({ ratio, estimate: { value, low, high } }: MeasuredRatio, width: number, hasInterval: boolean): string {
  const interval = hasInterval ? `${low.toFixed(2)} and ${high.toFixed(2)}` : '-';
  return `${ratio.what.padEnd(width)}${number(value, 2)}${interval.padStart(16)}${(goalText(ratio) || 'none').padStart(10)}  ${verdict(ratio, value)}`.trimEnd();
}

function goalText({ goal, isFloor }: Ratio): string {
  return goal === null ? '' : `${isFloor ? '>=' : '<='} ${goal}`;
}

/** '' where there is no goal. */
export function verdict({ goal, isFloor }: Ratio, value: number): string {
  if (goal === null) return '';
  return (isFloor ? value >= goal : value <= goal) ? 'met' : 'NOT MET';
}

function label(name: string, note: string): string {
  return note === '' ? name : `${name} (${note})`;
}

function number(value: number, digits = 0): string {
  return (Number.isNaN(value) ? '-' : value.toFixed(digits)).padStart(10);
}
