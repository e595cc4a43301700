import type { BenchPoint, WindowSummary } from '../bench-report.ts';
import { formatDuration, formatNumber } from '../quantity.ts';
import { linearAxis, spanAxis } from './axis.ts';
import { formatTick } from './format-tick.ts';
import { type Html, html, NOTHING } from './html-text.ts';
import { durationAxis, evenly } from './latency-charts.ts';
import { type ChartAxis, type ChartSeries, svgChart } from './svg-chart.ts';

/** Of more windows than a drawing has room for, so many are shown. */
const MAX_WINDOWS = 400;

/** How a point went, window by window: throughput, latency, and the server's processor time where it is known. */
export function timeCharts(point: BenchPoint): Html {
  const windows = evenly(point.windows, MAX_WINDOWS);
  if (windows.length < 2) return NOTHING;
  const x = timeAxis(windows);
  const charts = [
    svgChart({
      title: 'Throughput',
      description: `Answers a second in each window of ${point.name}.`,
      x,
      y: countAxis(
        windows.map(({ perSecond }) => perSecond),
        'answers a second',
      ),
      series: [
        overTime(
          'throughput',
          2,
          windows,
          ({ perSecond }) => perSecond,
          (value) => `${formatNumber(value)}/s`,
        ),
      ],
      size: 'small',
    }),
  ];
  const latencies = windows.flatMap(({ p50, p99 }) => [p50, p99]).filter(Number.isFinite);
  if (latencies.length > 0) {
    charts.push(
      svgChart({
        title: 'Latency',
        description: `Median and 99th percentile in each window of ${point.name}.`,
        x,
        y: durationAxis(latencies),
        series: [
          overTime(
            'p50',
            0,
            windows,
            ({ p50 }) => p50,
            (us) => `p50 ${formatDuration(us)}`,
          ),
          overTime(
            'p99',
            1,
            windows,
            ({ p99 }) => p99,
            (us) => `p99 ${formatDuration(us)}`,
          ),
        ],
        size: 'small',
      }),
    );
  }
  const cpu = windows.map(({ serverCpu }) => serverCpu ?? Number.NaN);
  if (cpu.some(Number.isFinite)) {
    charts.push(
      svgChart({
        title: 'Server processor time',
        description: `Cores that the server took in each window of ${point.name}.`,
        x,
        y: countAxis(cpu, 'cores'),
        series: [
          overTime(
            'server',
            6,
            windows,
            ({ serverCpu }) => serverCpu ?? Number.NaN,
            (value) => `${formatNumber(value)} cores`,
          ),
        ],
        size: 'small',
      }),
    );
  }
  return html`<div class="charts three">${charts}</div>`;
}

function timeAxis(windows: readonly WindowSummary[]): ChartAxis {
  const axis = spanAxis(windows[0]!.fromMs / 1000, windows.at(-1)!.toMs / 1000);
  return { axis, title: 'seconds since the load began', format: formatTick };
}

function countAxis(values: readonly number[], title: string): ChartAxis {
  return { axis: linearAxis(values), title, format: formatTick };
}

function overTime(
  name: string,
  colour: number,
  windows: readonly WindowSummary[],
  of: (window: WindowSummary) => number,
  words: (value: number) => string,
): ChartSeries {
  const points = windows.map((window) => {
    const x = (window.fromMs + window.toMs) / 2000;
    const errors = window.errors > 0 ? `\n${formatNumber(window.errors)} errors` : '';
    return { x, y: of(window), label: `${words(of(window))}\nat ${formatNumber(x)} s${errors}` };
  });
  return { name, colour, points };
}
