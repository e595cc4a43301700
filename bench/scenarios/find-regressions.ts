import type { MeasuredRatio, ScenarioResult } from './run-scenario.ts';

/** Ratios as they were when they were last agreed on: scenario to ratio to value. */
export interface Baseline {
  /** Where they were measured. Ratios move between machines less than figures, and still they move. */
  readonly machine: string;
  readonly ratios: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** A ratio may be worse than the baseline's by this share. */
export const ALLOWED_LOSS = 0.2;

export interface Regression {
  readonly scenario: string;
  readonly what: string;
  readonly baseline: number;
  readonly measured: number;
}

/**
 * Ratios that are worse than the baseline's by more than a fifth. A ratio that the baseline does not have is none. Where the machine was not quiet, those of processor time alone are looked at: the others say
 * who got the cores.
 */
export function findRegressions({ scenario, ratios, keptRounds }: ScenarioResult, baseline: Baseline): Regression[] {
  const known = baseline.ratios[scenario.name] ?? {};
  return ratios.flatMap(({ ratio, estimate }) => {
    if (keptRounds === 0 && ratio.figure !== 'cpuUsPerRequest') return [];
    const before = known[ratio.what];
    if (before === undefined || !isWorse(ratio.isFloor, estimate.value, before)) return [];
    return [{ scenario: scenario.name, what: ratio.what, baseline: before, measured: estimate.value }];
  });
}

/** NaN, which no answer gives, is worse. */
function isWorse(isFloor: boolean, value: number, before: number): boolean {
  return isFloor ? !(value >= before * (1 - ALLOWED_LOSS)) : !(value <= before / (1 - ALLOWED_LOSS));
}

export function baselineOf(machine: string, results: readonly ScenarioResult[]): Baseline {
  const round = ({ estimate }: MeasuredRatio): number => Number(estimate.value.toFixed(3));
  const entries = results.map(({ scenario, ratios }) => [
    scenario.name,
    Object.fromEntries(ratios.map((measured) => [measured.ratio.what, round(measured)])),
  ]);
  return { machine, ratios: Object.fromEntries(entries) as Baseline['ratios'] };
}
