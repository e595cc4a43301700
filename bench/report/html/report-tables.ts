import type { BenchPoint, LatencySummary } from '../bench-report.ts';
import { failuresOf } from '../describe-report.ts';
import { pointColumns } from '../point-columns.ts';
import { formatBytes, formatCount, formatDuration, formatNumber, formatShare, NOT_KNOWN } from '../quantity.ts';
import { printable } from '../terminal-text.ts';
import { type Html, html, NOTHING } from './html-text.ts';

/** A row for each point: what the terminal shows. */
export function resultTable(points: readonly BenchPoint[], hasGoodput: boolean): Html {
  const columns = pointColumns(points, { hasGoodput });
  const heads = columns.map(({ title, unit, align }) => html`<th class="${align}" scope="col">${title}<small>${unit}</small></th>`);
  const rows = points.map((point) => {
    const cells = columns.map(({ cell, align }) => {
      const { text, colour } = cell(point);
      return html`<td class="${`${align} ${colour ?? ''}`.trim()}">${text}</td>`;
    });
    return html`<tr>${cells}</tr>`;
  });
  return html`<div class="scroll wide"><table><thead><tr>${heads}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** What went wrong, the most frequent first. NOTHING when nothing did. */
export function errorTable(points: readonly BenchPoint[]): Html {
  const rows = points.flatMap((point) => {
    const failures = failuresOf(point);
    if (failures === '') return [];
    const kinds = point.errors.map(
      ({ status, message, count }) =>
        html`<tr><td class="left"></td><td>${formatCount(count)}</td><td class="left">${printable(status)}</td><td class="words">${printable(message)}</td></tr>`,
    );
    return [html`<tr><th class="left" scope="row">${point.name}</th><td class="words" colspan="3">${failures}</td></tr>`, ...kinds];
  });
  if (rows.length === 0) return NOTHING;
  return html`<h2>Errors</h2><div class="scroll wide"><table>
<thead><tr><th class="left">load</th><th>count</th><th class="left">status</th><th class="left">first message</th></tr></thead>
<tbody>${rows}</tbody></table></div>`;
}

/** Every quantile with its interval, of everything that was timed. */
export function quantileTable(point: BenchPoint): Html {
  const timed: readonly [string, LatencySummary | null][] = [
    ['latency', point.latency],
    ['first token', point.text?.firstToken ?? null],
    ['between tokens', point.text?.betweenTokens ?? null],
    ['refusals', point.refusal],
    ['sent late by', point.lag],
  ];
  const known = timed.flatMap(([name, summary]) => (summary === null ? [] : [[name, summary] as const]));
  if (known.length === 0) return NOTHING;
  const percentiles = [...new Set(known.flatMap(([, { quantiles }]) => Object.keys(quantiles)))].sort((a, b) => Number(a) - Number(b));
  const rows = known.map(([name, summary]) => {
    const quantiles = percentiles.map((percentile) => {
      const quantile = summary.quantiles[percentile];
      if (quantile === undefined) return html`<td>${NOT_KNOWN}</td>`;
      const { value, low, high } = quantile;
      const interval = low === high ? '' : `${formatDuration(low)} to ${formatDuration(high)}`;
      return html`<td>${formatDuration(value)}<br><small class="soft">${interval}</small></td>`;
    });
    const ends = [summary.mean, summary.min, summary.max].map((us) => html`<td>${formatDuration(us)}</td>`);
    return html`<tr><th class="left" scope="row">${name}</th><td>${formatCount(summary.count)}</td>${ends}${quantiles}</tr>`;
  });
  const heads = ['samples', 'mean', 'least', 'most', ...percentiles.map((percentile) => `p${percentile}`)];
  return html`<div class="scroll"><table><thead><tr><th class="left"></th>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** Everything else that is known of a point. */
export function pointFacts(point: BenchPoint): Html {
  const { serverUse, generator, split, text } = point;
  const facts: [string, string][] = [
    ['sent', formatCount(point.sent)],
    ...Object.entries(point.outcomes).map(([outcome, count]): [string, string] => [outcome, formatCount(count)]),
    ['due and not sent', formatCount(point.unsent)],
    ['looked at as a whole', formatCount(point.validated)],
    ['good', `${formatNumber(point.goodput.value)}/s`],
    ['bytes sent', formatBytes(point.bytesSent)],
    ['bytes received', formatBytes(point.bytesReceived)],
    ['warm-up', formatDuration(point.warmUpMs * 1000)],
    ['measured', `${formatDuration(point.measuredMs * 1000)} in ${formatCount(point.windows.length)} windows`],
    [
      'generator',
      `busy ${formatShare(generator.busy)}, ${formatNumber(generator.cpu)} cores, ${generator.sockets} sockets, ${formatCount(generator.processes)} ${generator.processes === 1 ? 'process' : 'processes'}`,
    ],
  ];
  if (serverUse !== null)
    facts.push(['server', `${formatNumber(serverUse.cpu)} cores, ${formatCount(serverUse.memoryMiB)} MiB (${serverUse.source})`]);
  if (split !== null) facts.push(['requests in an execution', formatNumber(split.batchSize)]);
  if (text !== null) facts.push(['tokens', formatCount(text.tokens)]);
  return factList(facts);
}

/** Names and values, as many beside each other as there is room for. */
export function factList(facts: readonly (readonly [string, string])[]): Html {
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
