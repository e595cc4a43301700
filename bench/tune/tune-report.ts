import type { WireProtocol } from '../load/load-plan.ts';
import type { Estimate, MachineFacts } from '../report/bench-report.ts';
import type { Candidate } from './candidate.ts';
import { type Arm, type FinalResult, MIN_ROUNDS, pointOf, ratioOf } from './compare-finalists.ts';
import type { FieldEdit } from './knob-edits.ts';
import { describeKnobs, type Knobs } from './knobs.ts';
import type { TrialPoint } from './trial.ts';
import { milliseconds, type TuneGoal } from './tune-goal.ts';

export const TUNE_FORMAT = 'nereid-tune/1';

/** The result of `nereid tune`, as it is written to JSON and as every other form of output reads it. Microseconds. */
export interface TuneReport {
  readonly format: typeof TUNE_FORMAT;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly command: readonly string[];
  readonly machine: MachineFacts;
  readonly model: string;
  readonly protocol: WireProtocol;
  /** What was sent, in words. */
  readonly input: string;
  /** JSON has null for a limit that there is not. */
  readonly goal: TuneGoal;
  /** Whether the limit of the latency was taken from the present configuration, since nobody gave one. */
  readonly isLimitDefault: boolean;
  readonly present: Knobs;
  /** What was left as it is, and why. */
  readonly fixed: readonly string[];
  /** The present configuration first, then in the order in which they were tried. */
  readonly candidates: readonly TuneCandidate[];
  readonly finalRounds: number;
  /** The index among `candidates`. */
  readonly chosen: number;
  readonly verdict: string;
  /** What must not be trusted. Empty: nothing. */
  readonly warnings: readonly string[];
  /** To be set in the model's configuration; empty: nothing. */
  readonly edits: readonly FieldEdit[];
  /** Whether it was told to end before it was done. */
  readonly isCutShort: boolean;
}

export interface TuneCandidate {
  readonly knobs: Knobs;
  readonly words: string;
  /** Why it could not be loaded; ''. */
  readonly failure: string;
  /** Why it cannot be chosen; ''. */
  readonly objection: string;
  /** Every load that it was measured under, by level, ascending: brief measurements. */
  readonly points: readonly { readonly level: number; readonly point: TrialPoint }[];
  /** Under the load that suits it: the rounds of the comparison, where it took part. null: it was never measured. */
  readonly best: { readonly level: number; readonly point: TrialPoint; readonly rounds: number } | null;
  /** Worth of it over that of the present configuration, of rounds that both had; null: they were not compared. */
  readonly ratio: Estimate | null;
}

export interface TuneFindings
  extends Pick<
    TuneReport,
    'startedAt' | 'command' | 'machine' | 'model' | 'protocol' | 'input' | 'goal' | 'isLimitDefault' | 'present' | 'fixed' | 'isCutShort'
  > {
  readonly candidates: readonly Candidate[];
  readonly final: FinalResult;
  /** What would set a configuration. */
  readonly editsFor: (knobs: Knobs) => readonly FieldEdit[];
}

export function tuneReport({ candidates, final, editsFor, ...facts }: TuneFindings): TuneReport {
  const chosen = candidates.indexOf(final.chosen.candidate);
  return {
    format: TUNE_FORMAT,
    ...facts,
    candidates: candidates.map((candidate) => tuneCandidate(candidate, final, facts.goal, facts.present)),
    finalRounds: final.rounds,
    chosen,
    verdict: verdictOf(final, facts.goal, facts.present),
    warnings: warningsOf(final, facts.isCutShort),
    edits: editsFor(final.chosen.candidate.knobs),
  };
}

/** Nothing kept the limits, or the figures are not the server's: what was chosen is chosen for want of something better. */
export function isTrustworthy(report: TuneReport): boolean {
  const chosen = report.candidates[report.chosen];
  return chosen !== undefined && chosen.objection === '' && chosen.best?.point.isSaturated !== true;
}

function tuneCandidate(candidate: Candidate, final: FinalResult, goal: TuneGoal, present: Knobs): TuneCandidate {
  const arm = [final.present, ...final.arms].find((one) => one.candidate === candidate);
  const best = bestOf(candidate, arm, goal);
  const failure = candidate.failure;
  return {
    knobs: candidate.knobs,
    words: describeKnobs(candidate.knobs, present),
    failure,
    objection: failure === '' && arm !== undefined && arm.rounds.length > 0 ? arm.dropped : candidate.objection(goal),
    points: [...candidate.points].sort(([a], [b]) => a - b).map(([level, point]) => ({ level, point })),
    best,
    ratio: arm === undefined || arm === final.present ? null : ratioOf(arm, final.present, goal),
  };
}

function bestOf(candidate: Candidate, arm: Arm | undefined, goal: TuneGoal): TuneCandidate['best'] {
  const rounds = arm?.rounds.filter((point) => point !== null).length ?? 0;
  const compared = arm === undefined || rounds === 0 ? null : pointOf(arm);
  if (arm !== undefined && compared !== null) return { level: arm.level, point: compared, rounds };
  const brief = candidate.best(goal) ?? firstOf(candidate);
  return brief === null ? null : { ...brief, rounds: 0 };
}

function firstOf(candidate: Candidate): { level: number; point: TrialPoint } | null {
  for (const [level, point] of candidate.points) return { level, point };
  return null;
}

function verdictOf(final: FinalResult, goal: TuneGoal, present: Knobs): string {
  const { chosen } = final;
  const what = goal.objective === 'throughput' ? 'answers a second' : `answers of the p${goal.percentile} into a second`;
  if (chosen === final.present) return presentVerdict(final, goal, present);
  const words = describeKnobs(chosen.candidate.knobs, present);
  const ratio = ratioOf(chosen, final.present, goal);
  const presentObjection = final.present.candidate.objection(goal);
  if (presentObjection !== '' || ratio === null)
    return `${words}: it keeps the limits, and the present configuration does not (${presentObjection}).`;
  const latency = pointOf(chosen)?.latencyUs;
  const limit = Number.isFinite(goal.latencyLimitUs) ? ` of ${milliseconds(goal.latencyLimitUs)} ms allowed` : '';
  const gain =
    goal.objective === 'throughput' ? `${times(ratio.value)} times as many ${what}` : `a p${goal.percentile} of 1/${times(ratio.value)}`;
  return `${words}: ${gain} (between ${times(ratio.low)} and ${times(ratio.high)} with 95 %), p${goal.percentile} ${milliseconds(latency ?? Number.NaN)} ms${limit}.`;
}

function presentVerdict(final: FinalResult, goal: TuneGoal, present: Knobs): string {
  const objection = final.present.candidate.objection(goal);
  if (objection !== '')
    return `Nothing that was tried kept the limits, the present configuration among it (${objection}). It stays as it is.`;
  const nearest = nearestOf(final, goal);
  if (nearest === null) return 'It stays as it is: nothing that was tried came near it, or there was no time to compare.';
  const { arm, ratio } = nearest;
  const words = describeKnobs(arm.candidate.knobs, present);
  const chance = ratio.low > 1 ? 'which is too little to be sure of after looking so often' : 'which may be chance';
  const why = arm.dropped !== '' && ratio.low > 1 ? arm.dropped : chance;
  return `It stays as it is: nothing is better beyond doubt. Nearest is ${words}, worth ${times(ratio.value)} times as much (between ${times(ratio.low)} and ${times(ratio.high)} with 95 %), ${why}.`;
}

function nearestOf(final: FinalResult, goal: TuneGoal): { arm: Arm; ratio: Estimate } | null {
  const all = final.arms.flatMap((arm) => {
    const ratio = ratioOf(arm, final.present, goal);
    return ratio === null ? [] : [{ arm, ratio }];
  });
  return all.reduce<{ arm: Arm; ratio: Estimate } | null>(
    (best, one) => (best === null || one.ratio.value > best.ratio.value ? one : best),
    null,
  );
}

function warningsOf(final: FinalResult, isCutShort: boolean): string[] {
  const warnings: string[] = [];
  if (isCutShort) warnings.push('it was told to end before it was done: this is what was known by then');
  if ([final.present, final.chosen].some((arm) => pointOf(arm)?.isSaturated === true)) {
    warnings.push(
      'the load generator had no time to spare, so it bounds the figures, not the server: give it --processes, or a machine with more cores',
    );
  }
  const chosen = final.chosen.candidate.knobs;
  if (chosen.host !== final.present.candidate.knobs.host) {
    warnings.push(`--execution-host ${chosen.host} is a flag of the whole server, for all of its models; no model's configuration says it`);
  }
  if (chosen.maxBatchSize < final.present.candidate.knobs.maxBatchSize) {
    warnings.push(`requests of more than ${chosen.maxBatchSize} rows, which are answered now, would be refused`);
  }
  const isUndecided = final.chosen === final.present && final.arms.some((arm) => arm.dropped === '');
  if (isUndecided && final.rounds < MIN_ROUNDS && !isCutShort) {
    warnings.push(`the time was up after ${final.rounds} of at least ${MIN_ROUNDS} rounds of comparison: --budget gives it more`);
  }
  return warnings;
}

function times(ratio: number): string {
  return ratio.toFixed(2);
}
