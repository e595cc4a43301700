import { linearAxis } from '../report/html/axis.ts';
import { formatTick } from '../report/html/format-tick.ts';
import { htmlPage } from '../report/html/html-page.ts';
import { type Html, html, NOTHING } from '../report/html/html-text.ts';
import { durationAxis } from '../report/html/latency-charts.ts';
import { factList } from '../report/html/report-tables.ts';
import { type ChartPoint, type ChartSeries, svgChart } from '../report/html/svg-chart.ts';
import { formatDuration, formatNumber } from '../report/quantity.ts';
import { printable } from '../report/terminal-text.ts';
import { describeGoal, milliseconds } from './tune-goal.ts';
import type { TuneCandidate, TuneReport } from './tune-report.ts';
import { candidateRows, tuneColumns } from './tune-table.ts';

/** Configurations in the plot; those that are worth most. */
const MAX_PLOTTED = 20;
const COLOURS = { tried: 7, frontier: 1, present: 0, chosen: 2 } as const;

/** The whole result as one HTML file that needs nothing else. */
export function tunePage(report: TuneReport): string {
  const { model, machine, protocol, input, startedAt, fixed, warnings, verdict, goal } = report;
  const facts: [string, string][] = [
    ['goal', describeGoal(goal)],
    ['load', `${protocol}, ${printable(input)}`],
    ['machine', `${printable(machine.cpu)}, ${machine.cores} cores, ${printable(machine.system)}, Node ${machine.node}`],
    ['began', printable(startedAt)],
    ['rounds of comparison', String(report.finalRounds)],
  ];
  const notes = [...warnings, ...fixed.map((line) => `left as it is: ${line}`)].map((note) => html`<li>${printable(note)}</li>`);
  return htmlPage(
    `nereid tune: ${printable(model)}`,
    html`<h1>${printable(model)}</h1>
<p><b>${printable(verdict)}</b></p>
${notes.length === 0 ? NOTHING : html`<section class="warnings"><ul>${notes}</ul></section>`}
<div class="charts">${chart(report)}</div>
<h2>What was tried</h2>
${table(report)}
<h2>The run</h2>
${factList(facts)}`,
  );
}

function chart(report: TuneReport): Html {
  const { candidates, chosen, goal } = report;
  const tried = candidateRows(report).filter(({ best }) => best !== null);
  const points = tried.slice(0, MAX_PLOTTED).flatMap((candidate) => plotted(candidate, goal.percentile));
  if (points.length === 0) return NOTHING;
  const present = candidates[0]!;
  const chosenPoint = plotted(candidates[chosen]!, goal.percentile);
  const all: ChartSeries[] = [
    // Dots alone: a point without a place between two of them breaks the line.
    { name: 'tried', colour: COLOURS.tried, points: points.flatMap((point, i) => (i === 0 ? [point] : [nowhere, point])) },
    { name: 'nothing is better in both', colour: COLOURS.frontier, points: frontier(points) },
    { name: 'as it is, by load', colour: COLOURS.present, isDashed: true, points: byLoad(present) },
  ];
  const series = chosen === 0 ? all : [...all, { name: 'chosen', colour: COLOURS.chosen, points: chosenPoint }];
  const shown = series.flatMap((one) => one.points).filter((point) => point !== nowhere);
  const left = tried.length > MAX_PLOTTED ? ` (${MAX_PLOTTED} of ${tried.length} configurations)` : '';
  return svgChart({
    title: `Latency over throughput${left}`,
    description: 'Each dot is a configuration under the load that suits it; down is quicker, right is more answers a second.',
    x: { axis: linearAxis(shown.map(({ x }) => x)), title: 'answers a second', format: formatTick },
    y: durationAxis(shown.map(({ y }) => y)),
    series,
  });
}

const nowhere: ChartPoint = { x: Number.NaN, y: Number.NaN, label: '' };

function plotted({ best, words }: TuneCandidate, percentile: string): ChartPoint[] {
  if (best === null || !Number.isFinite(best.point.latencyUs)) return [];
  const { throughput, latencyUs } = best.point;
  const label = `${words}\n${formatNumber(throughput.value)}/s\np${percentile} ${formatDuration(latencyUs)}`;
  return [{ x: throughput.value, y: latencyUs, label }];
}

function byLoad({ points }: TuneCandidate): ChartPoint[] {
  return points
    .filter(({ point }) => Number.isFinite(point.latencyUs))
    .map(({ level, point }) => ({
      x: point.throughput.value,
      y: point.latencyUs,
      label: `as it is, load ${level}\n${formatNumber(point.throughput.value)}/s\n${milliseconds(point.latencyUs)} ms`,
    }));
}

/** Those of which no other has more throughput and less latency, by throughput. */
function frontier(points: readonly ChartPoint[]): ChartPoint[] {
  const best: ChartPoint[] = [];
  for (const point of points.toSorted((a, b) => b.x - a.x || a.y - b.y)) {
    if (point.y < (best.at(-1)?.y ?? Number.POSITIVE_INFINITY)) best.push(point);
  }
  return best.reverse();
}

function table(report: TuneReport): Html {
  const columns = tuneColumns(report);
  const heads = columns.map(({ title, unit, align }) => html`<th class="${align}" scope="col">${title}<small>${unit}</small></th>`);
  const rows = candidateRows(report).map((candidate) => {
    const colour = candidate === report.candidates[report.chosen] ? 'green' : candidate.failure === '' ? '' : 'red';
    return html`<tr>${columns.map(({ cell, align }) => html`<td class="${`${align} ${colour}`.trim()}">${cell(candidate)}</td>`)}</tr>`;
  });
  return html`<div class="scroll wide"><table><thead><tr>${heads}</tr></thead><tbody>${rows}</tbody></table></div>`;
}
