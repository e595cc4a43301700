import { type Html, html, NOTHING } from './html-text.ts';

export interface BarPart {
  readonly name: string;
  /** Colour, 0 to 7. */
  readonly colour: number;
}

export interface Bar {
  readonly name: string;
  /** At the right of the name: what the whole comes to. */
  readonly total: string;
  /** One for each part; what is not a number above 0 takes no room. */
  readonly values: readonly number[];
  /** What is shown at the pointer. */
  readonly labels: readonly string[];
}

export interface BarsSpec {
  readonly title: string;
  readonly description: string;
  readonly parts: readonly BarPart[];
  readonly bars: readonly Bar[];
}

const WIDTH = 560;
const ROW = 52;
const BAR_HEIGHT = 20;
const BAR_TOP = 24;
const GAP = 1;

/** Bars of the same length, each divided by its parts' shares: a point of little load can be read beside one of much. */
export function stackedBars({ title, description, parts, bars }: BarsSpec): Html {
  const height = bars.length * ROW + 4;
  const legend = parts.map(({ name, colour }) => html`<li class="c${colour}"><i class="box"></i>${name}</li>`);
  return html`<figure class="chart"><figcaption>${title}</figcaption><ul class="legend">${legend}</ul>
<svg class="large" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${`${title}. ${description}`}"><title>${title}</title><desc>${description}</desc>
${bars.map((bar, i) => drawBar(bar, parts, i * ROW))}
</svg></figure>`;
}

function drawBar({ name, total, values, labels }: Bar, parts: readonly BarPart[], top: number): Html {
  const sizes = values.map((value) => (value > 0 ? value : 0));
  const sum = sizes.reduce((all, size) => all + size, 0);
  let from = 0;
  const pieces = sizes.map((size, i) => {
    const width = sum === 0 ? 0 : (size / sum) * WIDTH;
    const x = from;
    from += width;
    if (width === 0) return NOTHING;
    const shown = Math.max(0.5, width - GAP);
    return html`<rect class="piece c${parts[i]!.colour}" x="${x.toFixed(1)}" y="${top + BAR_TOP}" width="${shown.toFixed(1)}" height="${BAR_HEIGHT}"
 data-label="${labels[i]!}"><title>${labels[i]!}</title></rect>`;
  });
  return html`<text class="bar" x="0" y="${top + 17}">${name}</text><text class="bar" x="${WIDTH}" y="${top + 17}" text-anchor="end">${total}</text>${pieces}`;
}
