import { medianOf } from '../statistics/estimate.ts';
import type { Slice } from './scenario.ts';

/** More of the machine's time than this taken by other guests of its host, and a slice says nothing. */
export const MAX_STEAL = 0.02;
/** The same of other processes on the machine: those of the system itself take a per cent. */
export const MAX_OTHERS = 0.05;
/** A control whose p99 is so many times its median over the rounds, or so many times below it, was not alone. */
export const MAX_MOVE = 2;

export interface KeptRounds {
  /** Indexes of rounds. */
  readonly kept: readonly number[];
  /** Why each of the others is not: 'round 3: ...'. */
  readonly dropped: readonly string[];
}

/**
 * Which rounds count, by a rule that knows no result: a round is dropped for all contenders when the machine was taken away from one of them, or when a control (`isControl`: a server that does nothing) was
 * not itself.
 */
export function keepRounds(slices: ReadonlyMap<string, readonly Slice[]>, isControl: (name: string) => boolean): KeptRounds {
  const rounds = Math.min(...[...slices.values()].map((one) => one.length));
  const reasons = new Map<number, string>();
  for (const [name, own] of slices) {
    const usual = medianOf(Float64Array.from(own, ({ p99Us }) => p99Us).sort());
    for (let round = 0; round < rounds; round++) {
      const { shares, p99Us } = own[round]!;
      if (shares.steal > MAX_STEAL) reasons.set(round, `${percent(shares.steal)} of the machine was taken away during '${name}'`);
      else if (shares.others > MAX_OTHERS)
        reasons.set(round, `other processes took ${percent(shares.others)} of the machine during '${name}'`);
      else if (isControl(name) && (p99Us > usual * MAX_MOVE || p99Us < usual / MAX_MOVE)) {
        reasons.set(round, `p99 of '${name}' was ${p99Us.toFixed(0)} us, usually ${usual.toFixed(0)} us`);
      }
    }
  }
  const all = Array.from({ length: rounds }, (_, round) => round);
  return {
    kept: all.filter((round) => !reasons.has(round)),
    dropped: [...reasons].sort(([a], [b]) => a - b).map(([round, why]) => `round ${round + 1}: ${why}`),
  };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
