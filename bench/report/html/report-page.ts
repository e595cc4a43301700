import { writeFile } from 'node:fs/promises';
import type { BenchPoint, BenchReport } from '../bench-report.ts';
import { errorsOf, formatPrecision, goodputLimits, hasGoodputLimit, machineOf, serverOf, subjectOf } from '../describe-report.ts';
import { formatCount, formatDuration, formatNumber } from '../quantity.ts';
import { printable } from '../terminal-text.ts';
import { htmlPage } from './html-page.ts';
import { type Html, html, NOTHING } from './html-text.ts';
import { latencyThroughputChart, percentileChart } from './latency-charts.ts';
import { errorTable, factList, pointFacts, quantileTable, resultTable } from './report-tables.ts';
import { splitBars } from './split-bars.ts';
import { timeCharts } from './time-charts.ts';

/** The whole result as one HTML file that needs nothing else: no network, no library. */
export function reportPage(report: BenchReport): string {
  const { points } = report;
  const title = `${subjectOf(report)}, ${serverOf(report)}`;
  return htmlPage(
    `nereid bench: ${title}`,
    html`<h1>${subjectOf(report)}</h1>
<p class="soft">${serverOf(report)}<br>${printable(report.startedAt)}; input: ${printable(report.input)}</p>
${warnings(points)}
${points.length === 0 ? html`<p>No point was measured.</p>` : results(report)}
${errorTable(points)}
${points.length === 0 ? NOTHING : html`<h2>Each load</h2>${points.map(pointDetails)}`}
<h2>The run</h2>
${runFacts(report)}`,
  );
}

/** Replaces what `file` held. Rejects with the operating system's error. */
export async function writeHtml(file: string, report: BenchReport): Promise<void> {
  await writeFile(file, reportPage(report));
}

function warnings(points: readonly BenchPoint[]): Html {
  const all = points.flatMap(({ name, warnings: own }) => own.map((warning) => html`<li><b>${name}</b>: ${printable(warning)}</li>`));
  return all.length === 0 ? NOTHING : html`<section class="warnings"><h2>Warnings</h2><ul>${all}</ul></section>`;
}

function results(report: BenchReport): Html {
  const { points } = report;
  const limits = goodputLimits(report);
  return html`${tiles(points)}
<h2>Results</h2>
${resultTable(points, hasGoodputLimit(report))}
<p class="soft">Intervals hold the true mean with 95 %, as far as the windows of one run tell.${limits === '' ? '' : ` Goodput counts answers ${limits}.`}</p>
<div class="charts">
${latencyThroughputChart([{ name: '', points }])}
${percentileChart(
  'Latency by percentile',
  points.map(({ name, latency }) => ({ name, summary: latency })),
)}
${percentileChart(
  'Time to the first token',
  points.map(({ name, text }) => ({ name, summary: text?.firstToken ?? null })),
)}
${percentileChart(
  'Time between tokens',
  points.map(({ name, text }) => ({ name, summary: text?.betweenTokens ?? null })),
)}
${splitBars(points)}
</div>`;
}

function tiles(points: readonly BenchPoint[]): Html {
  const fastest = points.reduce((best, point) => (point.throughput.value > best.throughput.value ? point : best));
  const answered = points.filter(({ latency }) => latency !== null);
  const quickest = answered.reduce<BenchPoint | null>(
    (best, point) => (best === null || medianOf(point) < medianOf(best) ? point : best),
    null,
  );
  const errors = points.reduce((sum, point) => sum + errorsOf(point), 0);
  const precision = formatPrecision(fastest.throughput);
  const tail = fastest.latency?.quantiles['99'];
  const cheapest = points.reduce(
    (least, { serverUse }) => (serverUse === null || serverUse.cpuUsPerRequest === 0 ? least : Math.min(least, serverUse.cpuUsPerRequest)),
    Number.POSITIVE_INFINITY,
  );
  return html`<div class="tiles">
${tile(`${formatNumber(fastest.throughput.value)}/s`, `most answers, ${fastest.name}${precision === '' ? '' : `, ±${precision}`}`)}
${tail === undefined ? NOTHING : tile(formatDuration(tail.value), `p99 there`)}
${quickest === null ? NOTHING : tile(formatDuration(medianOf(quickest)), `lowest median latency, ${quickest.name}`)}
${Number.isFinite(cheapest) ? tile(`${formatNumber(cheapest)} us`, 'processor time of the server for an answer, at the least') : NOTHING}
${tile(formatCount(errors), 'requests not answered as they should be')}
</div>`;
}

function tile(figure: string, words: string): Html {
  return html`<div class="tile"><b>${figure}</b><span>${words}</span></div>`;
}

function medianOf({ latency }: BenchPoint): number {
  return latency?.quantiles['50']?.value ?? Number.POSITIVE_INFINITY;
}

function pointDetails(point: BenchPoint, index: number, all: readonly BenchPoint[]): Html {
  const { name, throughput, latency } = point;
  const median = latency?.quantiles['50'];
  const words = `${formatNumber(throughput.value)}/s${median === undefined ? '' : `, p50 ${formatDuration(median.value)}`}`;
  const latencies = quantileTable(point);
  const content = html`${timeCharts(point)}${latencies === NOTHING ? NOTHING : html`<h3>Latencies</h3>${latencies}`}<h3>Figures</h3>${pointFacts(point)}`;
  const summary = html`<summary>${name}<span>${words}</span></summary>`;
  return index === all.length - 1 ? html`<details open="">${summary}${content}</details>` : html`<details>${summary}${content}</details>`;
}

function runFacts(report: BenchReport): Html {
  const limits = goodputLimits(report);
  return html`<pre>${printable(report.command.map(quoted).join(' '))}</pre>
${factList([
  ['server', serverOf(report)],
  ['address', printable(report.server.url)],
  ['model', printable(`${report.model}${report.modelVersion === '' ? '' : `, version ${report.modelVersion}`}`)],
  ['protocol', report.protocol],
  ['input', printable(report.input)],
  ['goodput', limits === '' ? 'no limit' : limits],
  ['machine', machineOf(report)],
  ['server and generator', report.machine.isShared ? 'share the machine' : 'on machines of their own, or not known to share one'],
  ['started', printable(report.startedAt)],
])}`;
}

/** As a shell would need it. */
function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
