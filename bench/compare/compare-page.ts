import { htmlPage } from '../report/html/html-page.ts';
import { type Html, html, NOTHING } from '../report/html/html-text.ts';
import { evenly, latencyThroughputChart, percentileChart } from '../report/html/latency-charts.ts';
import type { MeasureComparison } from './compare-points.ts';
import type { RunComparison } from './compare-reports.ts';
import { figureOf, intervalNote, intervalOf, ratioOf, runLine, verdictWords } from './compare-table.ts';

/** Percentile curves, one drawing for a load; of more loads than this some are shown. */
const MAX_CURVES = 8;
const COLOUR_OF = { better: 'green', worse: 'red', unclear: '' } as const;

/** One HTML file that needs nothing else: a table for each run against the first, and all runs' curves in one drawing. Throws a RangeError of no comparison. */
export function comparePage(comparisons: readonly RunComparison[]): string {
  const first = comparisons[0];
  if (first === undefined) throw new RangeError('compare page: expected at least one comparison, got none');
  const runs = [first.base, ...comparisons.map(({ other }) => other)];
  const title = `${comparisons.map(({ other }) => other.name).join(', ')} against ${first.base.name}`;
  return htmlPage(
    `nereid bench compare: ${title}`,
    html`<h1>${title}</h1>
<p class="soft">${runs.map((run) => html`${runLine(run)}<br>`)}</p>
${comparisons.map(section)}
<h2>Curves</h2>
<div class="charts">
${latencyThroughputChart(runs.map(({ name, report }) => ({ name, points: report.points })))}
${percentileCharts(comparisons)}
</div>`,
  );
}

function section({ base, other, points, warnings }: RunComparison): Html {
  const rows = points.flatMap(({ base: point, measures }) =>
    measures.map((compared, i) => measureRow(i === 0 ? point.name : '', compared)),
  );
  const list = warnings.map((warning) => html`<li>${warning}</li>`);
  return html`<h2>${other.name} against ${base.name}</h2>
${warnings.length === 0 ? NOTHING : html`<section class="warnings"><h2>Warnings</h2><ul>${list}</ul></section>`}
<div class="scroll"><table>
<thead><tr><th class="left">load</th><th class="left">measure</th><th>${base.name}</th><th>${other.name}</th><th>ratio</th><th class="left">95 % interval</th><th class="left"></th></tr></thead>
<tbody>${rows}</tbody></table></div>
<p class="soft">${intervalNote(base, other)}</p>`;
}

function measureRow(load: string, compared: MeasureComparison): Html {
  const { measure, verdict } = compared;
  return html`<tr><th class="left" scope="row">${load}</th><td class="left">${measure.name}</td>
<td>${figureOf(compared, 'base')}</td><td>${figureOf(compared, 'other')}</td><td>${ratioOf(compared)}</td>
<td class="left">${intervalOf(compared)}</td><td class="${`left ${COLOUR_OF[verdict]}`.trim()}">${verdictWords(compared)}</td></tr>`;
}

/** A drawing for each load that the first comparison has, with every run that has it. */
function percentileCharts(comparisons: readonly RunComparison[]): Html[] {
  const { base, points } = comparisons[0]!;
  return evenly(points, MAX_CURVES).map(({ base: point }) => {
    const others = comparisons.map(({ other, points: pairs }) => {
      const pair = pairs.find((one) => one.base === point);
      return { name: other.name, summary: pair?.other.latency ?? null };
    });
    return percentileChart(`Latency by percentile, ${point.name}`, [{ name: base.name, summary: point.latency }, ...others]);
  });
}
