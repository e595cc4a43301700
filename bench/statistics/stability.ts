import { meanOf } from './estimate.ts';

/** Whether the last `windows` values all lie within `within` of their mean, as a share of it. False while there are fewer. Values of which one is not a number are not stable. */
export function isStable(values: readonly number[], windows: number, within: number): boolean {
  if (values.length < windows) return false;
  const last = values.slice(-windows);
  const mean = meanOf(last);
  return last.every((value) => Math.abs(value - mean) <= within * Math.abs(mean));
}
