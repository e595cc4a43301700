const BARS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/** A character for each value, its height from 0 to the largest of them. */
export function sparkline(values: readonly number[]): string {
  const largest = values.reduce((most, value) => Math.max(most, value), 0);
  if (largest === 0) return BARS[0].repeat(values.length);
  return values.map((value) => BARS[Math.min(BARS.length - 1, Math.floor((Math.max(0, value) / largest) * BARS.length))]).join('');
}
