/** Largest magnitude of a bound: all integers up to it are exact. */
export const MAX_BOUND: number = Number.MAX_SAFE_INTEGER;

/** GBNF alternatives for the integers from `min` to `max` (null: no bound; both safe integers, min <= max), without leading zeros and without -0. */
export function integerRange(min: number | null, max: number | null): string[] {
  const low = min ?? Number.NEGATIVE_INFINITY;
  const high = max ?? Number.POSITIVE_INFINITY;
  const out: string[] = [];
  if (low < 0) {
    const from = high < 0 ? -high : 1;
    for (const part of magnitudes(from, low)) out.push(`"-" ${part}`);
  }
  if (high >= 0) out.push(...magnitudes(Math.max(0, low), high));
  return out;
}

/** `from` >= 0 to |`to`|, which may be infinite: then up to 16 digits, or more where `from` needs them. */
function magnitudes(from: number, to: number): string[] {
  const end = Math.abs(to);
  const out: string[] = [];
  let start = from;
  if (start === 0) {
    out.push('"0"');
    if (end === 0) return out;
    start = 1;
  }
  const first = String(start);
  if (end === Number.POSITIVE_INFINITY) {
    if (/^10*$/.test(first)) {
      out.push(`[1-9] [0-9]{${first.length - 1},${Math.max(15, first.length)}}`);
      return out;
    }
    out.push(...sameLength(first, '9'.repeat(first.length)));
    if (first.length < 16) out.push(`[1-9] [0-9]{${first.length},15}`);
    return out;
  }
  const last = String(end);
  for (let length = first.length; length <= last.length; length++) {
    const low = length === first.length ? first : `1${'0'.repeat(length - 1)}`;
    const high = length === last.length ? last : '9'.repeat(length);
    out.push(...sameLength(low, high));
  }
  return out;
}

/** Digit strings from `low` to `high`, both of the same length. */
function sameLength(low: string, high: string): string[] {
  if (low === '') return ['""'];
  if (low === high) return [`"${low}"`];
  let shared = 0;
  while (low[shared] === high[shared]) shared++;
  const prefix = shared === 0 ? '' : `"${low.slice(0, shared)}" `;
  const a = low.charCodeAt(shared) - 48;
  const b = high.charCodeAt(shared) - 48;
  const restLow = low.slice(shared + 1);
  const restHigh = high.slice(shared + 1);
  const rest = restLow.length;
  if (rest === 0) return [`${prefix}${digit(a, b)}`];
  const lowIsWhole = /^0*$/.test(restLow);
  const highIsWhole = /^9*$/.test(restHigh);
  const out: string[] = [];
  if (!lowIsWhole) for (const part of sameLength(restLow, '9'.repeat(rest))) out.push(`${prefix}${digit(a, a)} ${part}`);
  const from = lowIsWhole ? a : a + 1;
  const to = highIsWhole ? b : b - 1;
  if (from <= to) out.push(`${prefix}${digit(from, to)} ${anyDigits(rest)}`);
  if (!highIsWhole) for (const part of sameLength('0'.repeat(rest), restHigh)) out.push(`${prefix}${digit(b, b)} ${part}`);
  return out;
}

function digit(from: number, to: number): string {
  return from === to ? `"${from}"` : `[${from}-${to}]`;
}

function anyDigits(count: number): string {
  return count === 1 ? '[0-9]' : `[0-9]{${count}}`;
}

export interface NumberBounds {
  readonly min: number | null;
  readonly max: number | null;
  readonly minExcluded: boolean;
  readonly maxExcluded: boolean;
}

/**
 * GBNF alternatives for numbers between whole bounds: an integer part in range and a fraction (rule `fraction`), no exponent. Null where nothing is in range. The rule
 * `fraction-above-zero` has a digit that is not 0.
 */
export function numberRange(bounds: NumberBounds): string[] {
  const low = bounds.min ?? Number.NEGATIVE_INFINITY;
  const high = bounds.max ?? Number.POSITIVE_INFINITY;
  const out: string[] = [];
  if (high > 0) half(out, '', Math.max(0, low), high, low >= 0 && bounds.minExcluded, bounds.maxExcluded);
  if (low < 0) half(out, '"-" ', Math.max(0, -high), -low, high <= 0 && bounds.maxExcluded, bounds.minExcluded);
  if (high === 0 && !bounds.maxExcluded && low <= 0 && !(low === 0 && bounds.minExcluded)) out.push('"0" zeros?');
  return out;
}

/** Magnitudes from `low` to `high`, low < high or equal, low >= 0. */
function half(out: string[], sign: string, low: number, high: number, lowExcluded: boolean, highExcluded: boolean): void {
  const push = (parts: readonly string[], tail: string) => {
    for (const part of parts) out.push(`${sign}${part}${tail}`);
  };
  if (low === high) {
    if (!lowExcluded && !highExcluded) push([`"${low}"`], ' zeros?');
    return;
  }
  if (lowExcluded) {
    push([`"${low}"`], ' fraction-above-zero');
    if (high > low + 1) push(integerRange(low + 1, high === Number.POSITIVE_INFINITY ? null : high - 1), ' fraction?');
  } else {
    push(integerRange(low, high === Number.POSITIVE_INFINITY ? null : high - 1), ' fraction?');
  }
  if (!highExcluded && high !== Number.POSITIVE_INFINITY) push([`"${high}"`], ' zeros?');
}

/** Rules that numberRange's alternatives name, besides JSON_PRIMITIVES. */
export const NUMBER_RANGE_RULES: Readonly<Record<string, string>> = {
  zeros: '"." "0"{1,17}',
  'fraction-above-zero': '"." "0"{0,15} [1-9] [0-9]{0,15}',
};
