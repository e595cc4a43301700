/** Where a value lies between 0 and 1, and which values to write beside it. */
export interface Axis {
  readonly kind: 'linear' | 'log';
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  /** Not clamped; NaN of what a logarithm has no place for. */
  place(value: number): number;
}

/** Steps that people count in. */
const STEPS = [1, 2, 2.5, 5, 10];

/** From 0 to above the largest value, in at most about `count` even steps. */
export function linearAxis(values: readonly number[], count = 5): Axis {
  const largest = Math.max(0, ...values.filter(Number.isFinite)) || 1;
  const step = niceStep(largest / count);
  const steps = Math.max(1, Math.ceil(largest / step - 1e-9));
  const ticks = Array.from({ length: steps + 1 }, (_, i) => Number((i * step).toPrecision(12)));
  return between('linear', 0, ticks.at(-1)!, ticks);
}

/** Over the values alone, for what does not begin at 0: time. */
export function spanAxis(low: number, high: number, count = 6): Axis {
  const step = niceStep((high - low || 1) / count);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const ticks = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return between('linear', low, high === low ? low + 1 : high, ticks);
}

/** Ticks at powers of ten; at 2 and 5 times them as well where the values span less than two of them. Values that are not above 0 have no place. */
export function logAxis(values: readonly number[]): Axis {
  const known = values.filter((value) => value > 0 && Number.isFinite(value));
  const least = known.length === 0 ? 1 : Math.min(...known);
  const most = known.length === 0 ? 10 : Math.max(...known);
  const isShort = most / least < 100;
  const factors = isShort ? [1, 2, 5] : [1];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(least)) - 1; power <= Math.ceil(Math.log10(most)) + 1; power++) {
    for (const factor of factors) ticks.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  const low = ticks.findLast((tick) => tick <= least * 1.0001)!;
  const high = ticks.find((tick) => tick >= most * 0.9999 && tick > low)!;
  return between(
    'log',
    low,
    high,
    ticks.filter((tick) => tick >= low && tick <= high),
  );
}

/** Logarithmic where the values span more than a factor of 20: small ones would lie on the floor otherwise. */
export function fittingAxis(values: readonly number[]): Axis {
  const known = values.filter((value) => value > 0 && Number.isFinite(value));
  return known.length > 0 && Math.max(...known) / Math.min(...known) > 20 ? logAxis(known) : linearAxis(known);
}

export function between(kind: Axis['kind'], low: number, high: number, ticks: readonly number[]): Axis {
  const position = kind === 'log' ? Math.log10 : Number;
  const from = position(low);
  const span = position(high) - from;
  return { kind, low, high, ticks, place: (value) => (position(value) - from) / span };
}

function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * STEPS.find((step) => step * power >= least * 0.9999)!;
}
