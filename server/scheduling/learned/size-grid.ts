/** @hotpath finds the place of a batch size, a few times per batch (measured by learned-batching.bench.ts) */

/** Sizes up to this one have a place each. */
const EXACT = 16;
/** Places for each doubling beyond. */
const PER_OCTAVE = 8;

/** The batch sizes at which execution times are kept: each of the small ones, then steps of at most an eighth. Shared by all shapes of a model. */
export class SizeGrid {
  /** Ascending; the first is 1, the last the largest batch. */
  readonly sizes: Float64Array;

  /** `maxRows`: the largest batch, 1 or more. */
  constructor(maxRows: number) {
    const sizes: number[] = [];
    for (let size = 1; size < maxRows; size = size < EXACT ? size + 1 : Math.max(size + 1, Math.ceil(size * 2 ** (1 / PER_OCTAVE)))) {
      sizes.push(size);
    }
    sizes.push(maxRows);
    this.sizes = Float64Array.from(sizes);
  }

  /** Index of the last size that is not above `rows`; 0 for less than 1. */
  below(rows: number): number {
    const { sizes } = this;
    const last = sizes.length - 1;
    if (rows >= sizes[last]!) return last;
    if (rows <= EXACT) return rows < 1 ? 0 : Math.floor(rows) - 1;
    let low = EXACT - 1;
    let high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sizes[middle]! <= rows) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Index of the size nearest to `rows`. */
  nearest(rows: number): number {
    const at = this.below(rows);
    const next = at + 1;
    return next < this.sizes.length && this.sizes[next]! - rows < rows - this.sizes[at]! ? next : at;
  }
}
