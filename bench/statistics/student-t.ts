/** Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom, where the expansion below is not close enough. */
const FEW_DEGREES = [12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139];
/** The same quantile of the normal distribution. */
export const NORMAL_95 = 1.959963984540054;

/**
 * How many standard errors the two-sided 95 % interval of a mean reaches to either side. `degrees` of freedom, at least 1, need not be whole (Welch's are not). Right to 0.01 %
 * (Abramowitz and Stegun 26.7.5, an expansion about the normal quantile); between two of the table's it is interpolated in 1 / degrees, right to 2 % and never too narrow.
 */
export function studentT95(degrees: number): number {
  if (!(degrees >= 1)) throw new RangeError(`degrees of freedom: expected at least 1, got ${degrees}`);
  if (degrees > FEW_DEGREES.length) return expanded(degrees);
  const below = Math.floor(degrees);
  const lower = FEW_DEGREES[below - 1]!;
  if (below === degrees) return lower;
  const upper = FEW_DEGREES[below] ?? expanded(below + 1);
  const share = (1 / below - 1 / degrees) / (1 / below - 1 / (below + 1));
  return lower + (upper - lower) * share;
}

function expanded(degrees: number): number {
  const z = NORMAL_95;
  const first = (z ** 3 + z) / 4;
  const second = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const third = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + first / degrees + second / degrees ** 2 + third / degrees ** 3;
}
