import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { madePoint, madeReport } from '../made-report.case.ts';
import { linearAxis } from './axis.ts';
import { escapeHtml, Html, html } from './html-text.ts';
import { percentileChart } from './latency-charts.ts';
import { reportPage } from './report-page.ts';
import { svgChart } from './svg-chart.ts';

const EVIL = `"><script>alert('x')</script><img src=http://example.com/x onerror=alert(1)>&amp;\u0000`;

/** Checks that markup nests; returns how often each element occurs. */
function elementsOf(markup: string): Map<string, number> {
  const counts = new Map<string, number>();
  const open: string[] = [];
  const body = markup.replace(/<(style|script)>[\s\S]*?<\/\1>/g, '<$1></$1>').replace('<!doctype html>', '');
  for (const [, closing, name, attributes] of body.matchAll(/<(\/?)([a-z0-9]+)((?:\s+[\w-]+="[^"<>]*")*\s*\/?)>/gi)) {
    if (closing === '/') expect(open.pop()).toBe(name);
    else {
      counts.set(name!, (counts.get(name!) ?? 0) + 1);
      if (!attributes!.endsWith('/') && !['meta', 'br'].includes(name!)) open.push(name!);
    }
  }
  expect(open).toEqual([]);
  // Nothing that begins like an element was passed over.
  expect(body.match(/<\/?[a-z]/gi)).toHaveLength(body.match(/<(\/?)([a-z0-9]+)((?:\s+[\w-]+="[^"<>]*")*\s*\/?)>/gi)!.length);
  return counts;
}

const closed = (concurrency: number) => ({ pace: { kind: 'closed', concurrency } }) as const;

describe('reportPage', () => {
  const points = [1, 4, 16].map((concurrency) => madePoint({ ...closed(concurrency), windows: 6, seed: concurrency }));
  const page = reportPage(madeReport(points));

  it('has the charts, one line for each series, and a place for each window', () => {
    const counts = elementsOf(page);
    // Latency over throughput, percentiles, the split; and three over time for each point.
    expect(counts.get('figure')).toBe(3 + 3 * 3);
    expect(counts.get('details')).toBe(3);
    // p50 and p99 of the curve; a percentile curve for each point; four over time for each.
    expect(counts.get('polyline')).toBe(2 + 3 + 4 * 3);
    expect(counts.get('rect')).toBe(3 * 6);
    // Dots of the curve, and of six windows; percentile curves have too many points for them.
    expect(counts.get('circle')).toBe(2 * 3 + 4 * 6 * 3);
    for (const svg of page.match(/<svg[^>]*>/g)!) expect(svg).toMatch(/role="img" aria-label="[^"]{20,}"/);
  });

  it('has no heading over nothing, and one process is one', () => {
    expect(page).toContain('<h3>Latencies</h3>');
    expect(page).toContain('native sockets, 1 process<');
    const nothing = { ...points[0]!, latency: null, refusal: null, lag: null };
    expect(reportPage(madeReport([nothing]))).not.toContain('<h3>Latencies</h3>');
  });

  it('has a label for each point of a line', () => {
    const lines = [...page.matchAll(/<polyline[^>]* points="([^"]*)" data-labels="([^"]*)"/g)];
    expect(lines.length).toBeGreaterThan(10);
    for (const [, places, labels] of lines) {
      const read = JSON.parse(labels!.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&')) as string[];
      expect(places!.split(' ')).toHaveLength(read.length);
      expect(places).not.toContain('NaN');
    }
  });

  it('fetches nothing, and lets no script run but its own', () => {
    expect(page).not.toMatch(/\s(?:src|href|srcset|action)=|url\(|@import|<link|<iframe/i);
    expect(page.match(/<script/g)).toHaveLength(1);
    const script = /<script>([\s\S]*)<\/script>/.exec(page)![1]!;
    const hash = createHash('sha256').update(script).digest('base64');
    expect(page).toContain(`content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-${hash}&#39;`);
    expect(() => new Function(script)).not.toThrow();
  });

  it('shows a text of anybody as text', () => {
    const point = madePoint({ errors: [{ outcome: 'failed', status: EVIL, message: EVIL, count: 8 }] });
    const report = madeReport(
      [
        { ...point, warnings: [EVIL], name: EVIL },
        { ...points[0]!, name: EVIL },
      ],
      {
        model: EVIL,
        modelVersion: EVIL,
        input: EVIL,
        command: [EVIL],
        startedAt: EVIL,
        server: { url: EVIL, name: EVIL, version: EVIL },
        machine: { cpu: EVIL, cores: 2, memoryMiB: 1, system: EVIL, node: EVIL, isShared: false },
      },
    );
    const evil = reportPage(report);
    expect(elementsOf(evil).get('script')).toBe(1);
    expect(evil).not.toContain('<img');
    expect(evil).not.toContain('\u0000');
    expect(evil).toContain('&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;');
  });

  it('puts warnings first, and errors in a table', () => {
    const bad = madePoint({ busy: 0.99, errors: [{ outcome: 'refused', status: 'HTTP 503', message: 'queue full', count: 80 }] });
    const warned = reportPage(madeReport([bad]));
    expect(warned.indexOf('the generator was busy 99 %')).toBeGreaterThan(0);
    expect(warned.indexOf('the generator was busy 99 %')).toBeLessThan(warned.indexOf('<h2>Results</h2>'));
    expect(warned).toMatch(/<td>80<\/td><td class="left">HTTP 503<\/td><td class="words">queue full<\/td>/);
    expect(page).not.toMatch(/class="warnings"|<h2>Errors/);
  });

  it('shows first tokens where answers are text', () => {
    const text = reportPage(madeReport([madePoint({ tokens: 8, perSecond: 300, medianUs: 9_000 })], { firstTokenMs: 200 }));
    expect(text).toContain('Time to the first token');
    expect(text).toContain('Time between tokens');
    expect(text).toContain('Goodput counts answers first token within 200 ms.');
    expect(text).not.toContain('Latency over throughput');
  });

  it('shows some of the windows of a run that lasted long', () => {
    const [window] = points[0]!.windows;
    const windows = Array.from({ length: 200_000 }, (_, i) => ({ ...window!, fromMs: i * 100, toMs: i * 100 + 100 }));
    const long = reportPage(madeReport([{ ...points[0]!, windows }]));
    expect(/aria-label="Throughput[\s\S]*?points="([^"]*)"/.exec(long)![1]!.split(' ')).toHaveLength(400);
    expect(long.length).toBeLessThan(500_000);
  });

  it('is whole without a point, without an answer, and of one window', () => {
    expect(reportPage(madeReport([]))).toContain('No point was measured');
    const dead = reportPage(madeReport([madePoint({ perSecond: 0, tellsSplit: false, cpuUsPerRequest: null })]));
    expect(elementsOf(dead).get('details')).toBe(1);
    const short = reportPage(madeReport([madePoint({ windows: 1 })]));
    expect(elementsOf(short).get('figure')).toBe(2);
  });
});

describe('svgChart', () => {
  const axis = { axis: linearAxis([10]), title: 'x', format: String };
  const chart = (ys: readonly number[], interval: { low?: number; high?: number } = {}): string =>
    svgChart({
      title: 't',
      description: 'd',
      x: axis,
      y: axis,
      series: [{ name: 's', colour: 3, points: ys.map((y, x) => ({ x, y, ...interval, label: `${x}` })) }],
    }).markup;

  it('breaks a line where a value is not known', () => {
    const broken = chart([1, 2, Number.NaN, 3, Number.NaN]);
    expect([...broken.matchAll(/<polyline[^>]* points="([^"]*)"/g)].map(([, places]) => places!.split(' ').length)).toEqual([2, 1]);
    expect(broken.match(/<circle/g)).toHaveLength(3);
    expect(broken).not.toContain('NaN');
  });

  it('draws intervals as a band, and none where there are none', () => {
    expect(chart([1, 2, 3], { low: 0.5, high: 4 })).toMatch(/<polygon class="band c3" points="(?:[\d.]+,[\d.]+ ?){6}"/);
    expect(chart([1, 2, 3])).not.toContain('polygon');
    expect(chart([1, 1, 1], { low: 1, high: 1 })).not.toContain('polygon');
  });

  it('shows at most eight percentile curves, the first and the last among them', () => {
    const entries = Array.from({ length: 20 }, (_, i) => ({ name: `load ${i}`, summary: madePoint({ windows: 2, windowMs: 50 }).latency }));
    const { markup } = percentileChart('Latency', entries);
    expect(markup.match(/<polyline/g)).toHaveLength(8);
    expect(markup).toContain('Latency (8 of 20 loads)');
    expect(markup).toMatch(/<\/i>load 0<[\s\S]*<\/i>load 19</);
  });
});

describe('html', () => {
  it('escapes every value that is not Html', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const escaped = escapeHtml(text);
        expect(escaped).not.toMatch(/[<>"']/);
        expect(html`<b title="${text}">${text}</b>`.markup).toBe(`<b title="${escaped}">${escaped}</b>`);
      }),
    );
    expect(html`${new Html('<i>')}${[html`<b>`, html`${'<'}`]}${1}`.markup).toBe('<i><b>&lt;1');
  });
});
