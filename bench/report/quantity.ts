/** Numbers as people read them. Every form of the report and of the comparison writes them the same way. */

export interface DurationUnit {
  readonly name: 'us' | 'ms' | 's';
  readonly us: number;
}

const UNITS: readonly DurationUnit[] = [
  { name: 'us', us: 1 },
  { name: 'ms', us: 1e3 },
  { name: 's', us: 1e6 },
];

/** What stands for a figure that is not known. */
export const NOT_KNOWN = '-';

/** The unit in which values that stand under each other can be compared at sight: the largest of them has at most four digits before the point. */
export function durationUnitOf(us: Iterable<number>): DurationUnit {
  let largest = 0;
  for (const value of us) if (Number.isFinite(value)) largest = Math.max(largest, value);
  return UNITS.find((unit) => largest / unit.us < 9_999.5) ?? UNITS[2]!;
}

/** Three significant digits, but all before the point: 12,345, 1,235, 123, 12.0, 0.123; whole numbers have no point. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return NOT_KNOWN;
  const size = Math.abs(value);
  if (size < 0.0005) return '0';
  const decimals = Number.isInteger(value) ? 0 : Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(size * 1.0005))));
  return value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function formatCount(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : NOT_KNOWN;
}

/** '78 us', '1.23 ms', '2.5 s'. */
export function formatDuration(us: number): string {
  if (!Number.isFinite(us)) return NOT_KNOWN;
  const unit = UNITS.findLast((one) => Math.abs(us) >= one.us * 0.9995) ?? UNITS[0]!;
  return `${formatNumber(us / unit.us)} ${unit.name}`;
}

/** `share` of 1: '12 %', '0.5 %', 'below 0.1 %', '0 %'. */
export function formatShare(share: number): string {
  if (!Number.isFinite(share)) return NOT_KNOWN;
  const percent = share * 100;
  if (percent !== 0 && Math.abs(percent) < 0.1) return 'below 0.1 %';
  return `${percent.toFixed(Math.abs(percent) < 10 && percent !== 0 ? 1 : 0)} %`;
}

/** '602 kB', '1.2 GB'; powers of 1,000. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return NOT_KNOWN;
  const names = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${formatNumber(bytes / 1000 ** power)} ${names[power]}`;
}

/** '1 answer', '2 answers'. */
export function countOf(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}
