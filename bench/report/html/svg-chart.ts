import type { Axis } from './axis.ts';
import { type Html, html, NOTHING } from './html-text.ts';

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** The interval of y; both or none. */
  readonly low?: number;
  readonly high?: number;
  /** What is shown at the pointer. */
  readonly label: string;
}

export interface ChartSeries {
  readonly name: string;
  /** Colour, 0 to 7. */
  readonly colour: number;
  readonly isDashed?: boolean;
  readonly points: readonly ChartPoint[];
}

export interface ChartAxis {
  readonly axis: Axis;
  readonly title: string;
  readonly format: (value: number) => string;
}

export interface ChartSpec {
  readonly title: string;
  /** A sentence for who does not see it. */
  readonly description: string;
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly series: readonly ChartSeries[];
  /** Of the drawing, in units of which a letter is 13 high: 'small' where three stand side by side. */
  readonly size?: 'small' | 'large';
}

const SIZES = { small: [400, 240], large: [560, 340] } as const;
const MARGIN = { left: 56, right: 18, top: 14, bottom: 54 };
/** More points than this are a line without dots. */
const MAX_DOTS = 40;

/** A line chart as a figure: title, legend, drawing. Points without a place (NaN) break their line; intervals are bands. */
export function svgChart(spec: ChartSpec): Html {
  const [width, height] = SIZES[spec.size ?? 'large'];
  const right = width - MARGIN.right;
  const frame: Frame = {
    x: (value) => round(MARGIN.left + spec.x.axis.place(value) * (right - MARGIN.left)),
    y: (value) => round(height - MARGIN.bottom - clamp(spec.y.axis.place(value)) * (height - MARGIN.top - MARGIN.bottom)),
    right,
    bottom: height - MARGIN.bottom,
  };
  return html`<figure class="chart"><figcaption>${spec.title}<small>${spec.y.title}</small></figcaption>${legend(spec.series)}
<svg class="${spec.size ?? 'large'}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${`${spec.title}. ${spec.description}`}">
<title>${spec.title}</title><desc>${spec.description}</desc>
${grid(spec, frame)}
${spec.series.map((series) => bands(series, frame))}
${spec.series.map((series) => lines(series, frame))}
</svg></figure>`;
}

interface Frame {
  x(value: number): number;
  y(value: number): number;
  readonly right: number;
  readonly bottom: number;
}

function legend(series: readonly ChartSeries[]): Html {
  if (series.length < 2) return NOTHING;
  const entries = series.map(
    ({ name, colour, isDashed }) => html`<li class="c${colour}"><i class="${isDashed === true ? 'dashed' : 'solid'}"></i>${name}</li>`,
  );
  return html`<ul class="legend">${entries}</ul>`;
}

function grid({ x, y }: ChartSpec, frame: Frame): Html {
  const { right } = frame;
  const across = y.axis.ticks.map((tick) => {
    const at = frame.y(tick);
    return html`<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${at}" y2="${at}"/>
<text class="tick" x="${MARGIN.left - 8}" y="${at}" dy="0.35em" text-anchor="end">${y.format(tick)}</text>`;
  });
  const up = x.axis.ticks.map((tick) => {
    const at = frame.x(tick);
    return html`<line class="grid" x1="${at}" x2="${at}" y1="${MARGIN.top}" y2="${frame.bottom}"/>
<text class="tick" x="${at}" y="${frame.bottom + 18}" text-anchor="middle">${x.format(tick)}</text>`;
  });
  return html`${across}${up}<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${frame.bottom}" y2="${frame.bottom}"/>
<text class="title" x="${(MARGIN.left + right) / 2}" y="${frame.bottom + 44}" text-anchor="middle">${x.title}</text>`;
}

function bands({ points, colour }: ChartSeries, frame: Frame): Html {
  const known = points.filter(({ x, low, high }) => low !== undefined && high !== undefined && Number.isFinite(frame.x(x)));
  if (known.every(({ low, high }) => low === high)) return NOTHING;
  const above = known.map(({ x, high }) => `${frame.x(x)},${frame.y(high!)}`);
  const below = known.toReversed().map(({ x, low }) => `${frame.x(x)},${frame.y(low!)}`);
  return html`<polygon class="band c${colour}" points="${[...above, ...below].join(' ')}"/>`;
}

/** One polyline for each run of points that have a place; the script finds the labels beside it. */
function lines(series: ChartSeries, frame: Frame): Html {
  const runs: ChartPoint[][] = [[]];
  for (const point of series.points) {
    if (Number.isFinite(frame.x(point.x)) && Number.isFinite(frame.y(point.y))) runs.at(-1)!.push(point);
    else if (runs.at(-1)!.length > 0) runs.push([]);
  }
  const dotted = series.points.length <= MAX_DOTS;
  const drawn = runs
    .filter((run) => run.length > 0)
    .map((run) => {
      const places = run.map(({ x, y }) => [frame.x(x), frame.y(y)] as const);
      const labels = JSON.stringify(run.map(({ label }) => label));
      const dots = dotted ? places.map(([x, y]) => html`<circle class="dot c${series.colour}" cx="${x}" cy="${y}" r="3.5"/>`) : [];
      const line = html`<polyline class="line c${series.colour}${series.isDashed === true ? ' dashed' : ''}"
 points="${places.map((place) => place.join(',')).join(' ')}" data-labels="${labels}"/>`;
      return html`${line}${dots}`;
    });
  return html`${drawn}`;
}

/** An interval may reach below what an axis shows. */
function clamp(place: number): number {
  return Math.min(1, Math.max(0, place));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
