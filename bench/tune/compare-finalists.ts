import type { Estimate } from '../report/bench-report.ts';
import { estimateMean } from '../statistics/estimate.ts';
import type { Candidate } from './candidate.ts';
import { changedKnobs } from './knobs.ts';
import type { MeteredTrial } from './metered-trial.ts';
import { meanPoint, type TrialPoint } from './trial.ts';
import { objectionTo, type TuneGoal, worthOf } from './tune-goal.ts';

export interface FinalOptions {
  readonly goal: TuneGoal;
  /** Ascending. */
  readonly levels: readonly number[];
  readonly present: Candidate;
  /** Without the present one. */
  readonly candidates: readonly Candidate[];
  readonly trial: MeteredTrial;
}

/** One that is compared, under the load that suits it. */
export interface Arm {
  readonly candidate: Candidate;
  level: number;
  /** By round; null: it was under another load then, or could not be measured. */
  rounds: (TrialPoint | null)[];
  /** Why it is out; ''. */
  dropped: string;
}

export interface FinalResult {
  /** The present configuration, under the load that suits it best. */
  readonly present: Arm;
  readonly arms: readonly Arm[];
  /** `present`, or one that is better beyond doubt. */
  readonly chosen: Arm;
  readonly rounds: number;
}

const FINALISTS = 3;
/** A final measurement takes so many times as long as a brief one, about; for as long as none was made. */
const FINAL_COST = 1.5;
/** At first sight the present configuration is this far over the limit at most, where it is looked at again. */
const NEAR_LIMIT = 1.5;
/** One that is further behind the present configuration at first sight is not compared again: two short measurements, minutes apart, can be as far from each other by chance. */
const WORTH_A_LOOK = 0.8;
/** Intervals of fewer rounds say little. */
export const MIN_ROUNDS = 4;
/** A decision wants an interval this much wider than that of 95 %: who looks after every round, at several, finds by chance what is not there (one time in seven, instead of one in twenty). */
const LOOKS = 1.4;
const MAX_ROUNDS = 12;

/**
 * Measures the best candidates and the present configuration in turn, round after round, each round in another order, so that what changes with time changes for all; until the best lies above the
 * present one with its whole 95 % interval, or all are out, or the time is up. The present configuration stays unless one is better beyond doubt, and surely within the limits.
 */
export async function compareFinalists(options: FinalOptions): Promise<FinalResult> {
  const { goal, trial } = options;
  const arms = finalists(options).map((candidate) => armOf(candidate, goal, options.levels));
  const presents = presentArms(options, arms);
  let round = 0;
  for (; round < MAX_ROUNDS; round++) {
    const running = arms.filter((arm) => arm.dropped === '');
    const active = [...presents.filter((arm) => arm.dropped === ''), ...running];
    const fits = round === 0 ? trial.fits('brief', Math.ceil(active.length * FINAL_COST), 0) : trial.fits('final', active.length, 0);
    if (running.length === 0 || !fits || !(await measureRound(active, round, trial))) break;
    for (const arm of presents) judgePresent(arm, presents[0]!, options);
    for (const arm of running) judge(arm, presents, options);
    if (round + 1 >= MIN_ROUNDS && isDecided(arms, presents, goal)) {
      round++;
      break;
    }
  }
  const present =
    bestOf(
      presents.filter((arm) => isWithin(arm, goal)),
      goal,
    ) ?? presents[0]!;
  return { present, arms, chosen: choose(arms, presents, goal) ?? present, rounds: round };
}

/** How much more one is worth than another, of the rounds that both were measured in; null: of fewer than two. */
export function ratioOf(arm: Arm, to: Arm, goal: TuneGoal): Estimate | null {
  const logs: number[] = [];
  for (const [i, point] of arm.rounds.entries()) {
    const other = to.rounds[i];
    if (point !== null && other !== null && other !== undefined) logs.push(Math.log(worthOf(goal, point) / worthOf(goal, other)));
  }
  if (logs.length < 2 || !logs.every(Number.isFinite)) return null;
  const { value, low, high } = estimateMean(logs);
  return { value: Math.exp(value), low: Math.exp(low), high: Math.exp(high) };
}

/** All rounds as one point, of means; before there is a round, what the search measured. null: nothing was. */
export function pointOf(arm: Arm): TrialPoint | null {
  const rounds = arm.rounds.filter((point) => point !== null);
  return rounds.length === 0 ? (arm.candidate.points.get(arm.level) ?? null) : meanPoint(rounds);
}

function finalists({ goal, present, candidates, trial }: FinalOptions): Candidate[] {
  const bar = worthAtBest(present, goal) * WORTH_A_LOOK;
  // Rather one that is decided than three that are not; the present configuration may take part twice.
  const room = Math.floor(trial.room('brief', FINAL_COST) / MIN_ROUNDS) - 2;
  return candidates
    .filter((candidate) => candidate !== present && candidate.best(goal) !== null && worthAtBest(candidate, goal) >= bar)
    .sort((a, b) => worthAtBest(b, goal) - worthAtBest(a, goal))
    .slice(0, Math.max(1, Math.min(FINALISTS, room)));
}

function worthAtBest(candidate: Candidate, goal: TuneGoal): number {
  const best = candidate.best(goal);
  return best === null ? 0 : worthOf(goal, best.point);
}

function armOf(candidate: Candidate, goal: TuneGoal, levels: readonly number[]): Arm {
  return { candidate, level: candidate.best(goal)?.level ?? levels[0]!, rounds: [], dropped: '' };
}

/**
 * Under its own best load; and under the highest load of those that it is compared with, where it is near enough to the limit that it may have been noise that kept it from there.
 */
function presentArms({ present, goal, levels }: FinalOptions, arms: readonly Arm[]): Arm[] {
  const first = armOf(present, goal, levels);
  const highest = Math.max(0, ...arms.map((arm) => arm.level));
  if (highest <= first.level) return [first];
  // Where it was not measured under that load, it was under one before it, and did not gain by it or was over the limit.
  const latencies = levels.filter((level) => level > first.level && level <= highest).map((level) => present.points.get(level)?.latencyUs);
  const isNear = latencies.every((latency) => latency === undefined || latency <= goal.latencyLimitUs * NEAR_LIMIT);
  return isNear ? [first, { candidate: present, level: highest, rounds: [], dropped: '' }] : [first];
}

/** False: it was told to end. */
async function measureRound(active: readonly Arm[], round: number, trial: MeteredTrial): Promise<boolean> {
  for (let i = 0; i < active.length; i++) {
    const arm = active[(i + round) % active.length]!;
    const outcome = await trial.measure(arm.candidate.knobs, arm.level, 'final');
    if (outcome === null) return false;
    arm.rounds[round] = outcome.point;
    if (outcome.point === null) arm.dropped = outcome.failure;
  }
  return true;
}

/** Takes an arm that is over a limit to a lower load, or out; and one that is surely worth less than the present configuration out. */
function judge(arm: Arm, presents: readonly Arm[], { goal, levels }: FinalOptions): void {
  const objection = objectionOf(arm, goal);
  if (objection === null) return;
  if (objection === '') {
    const isLess = (present: Arm): boolean => pairs(arm, present) >= MIN_ROUNDS && (ratioOf(arm, present, goal)?.high ?? 1) < 1;
    if (presents.some((present) => isWithin(present, goal) && isLess(present))) arm.dropped = 'worth less than the present configuration';
  } else if (!stepDown(arm, levels)) arm.dropped = objection;
}

function judgePresent(arm: Arm, first: Arm, { goal, levels }: FinalOptions): void {
  const objection = objectionOf(arm, goal);
  if (objection === null || objection === '') return;
  // One of them goes on whatever it does: it is what all others are compared with.
  if (arm !== first) arm.dropped = objection;
  else stepDown(arm, levels);
}

/** null: too early to say. */
function objectionOf(arm: Arm, goal: TuneGoal): string | null {
  const point = pointOf(arm);
  const measured = arm.rounds.filter((one) => one !== null).length;
  return arm.dropped !== '' || point === null || measured < 2 ? null : objectionTo(goal, point);
}

function stepDown(arm: Arm, levels: readonly number[]): boolean {
  const lower = levels[levels.indexOf(arm.level) - 1];
  if (lower === undefined) return false;
  arm.level = lower;
  arm.rounds = arm.rounds.map(() => null);
  return true;
}

function isDecided(arms: readonly Arm[], presents: readonly Arm[], goal: TuneGoal): boolean {
  const leader = bestOf(
    arms.filter((arm) => arm.dropped === ''),
    goal,
  );
  return leader === null || isBeyondDoubt(leader, presents, goal);
}

function isBeyondDoubt(arm: Arm, presents: readonly Arm[], goal: TuneGoal): boolean {
  if (arm.dropped !== '' || !isSurelyWithin(arm, goal)) return false;
  return presents.every((present) => {
    if (!isWithin(present, goal)) return true;
    const ratio = ratioOf(arm, present, goal);
    return ratio !== null && pairs(arm, present) >= MIN_ROUNDS && Math.log(ratio.value) > LOOKS * Math.log(ratio.value / ratio.low);
  });
}

/** Of those that are better beyond doubt, the one that is worth most; one that may be worth as much and changes less goes before it. null: none is. */
function choose(arms: readonly Arm[], presents: readonly Arm[], goal: TuneGoal): Arm | null {
  const better = arms.filter((arm) => isBeyondDoubt(arm, presents, goal));
  const leader = bestOf(better, goal);
  if (leader === null) return null;
  const changes = (arm: Arm): number => changedKnobs(presents[0]!.candidate.knobs, arm.candidate.knobs).length;
  const isAsGood = (arm: Arm): boolean => arm === leader || (ratioOf(arm, leader, goal)?.high ?? 0) >= 1;
  return better.filter(isAsGood).reduce((best, arm) => (changes(arm) < changes(best) ? arm : best), leader);
}

function bestOf(arms: readonly Arm[], goal: TuneGoal): Arm | null {
  const worth = (arm: Arm): number => {
    const point = pointOf(arm);
    return point === null ? 0 : worthOf(goal, point);
  };
  return arms.reduce<Arm | null>((best, arm) => (best === null || worth(arm) > worth(best) ? arm : best), null);
}

function isWithin(arm: Arm, goal: TuneGoal): boolean {
  const point = pointOf(arm);
  return point !== null && objectionTo(goal, point) === '';
}

/** The limit lies above the whole interval of the rounds' latencies, not their mean alone. */
function isSurelyWithin(arm: Arm, goal: TuneGoal): boolean {
  const rounds = arm.rounds.filter((point) => point !== null);
  if (rounds.length < 3 || !isWithin(arm, goal)) return false;
  return !Number.isFinite(goal.latencyLimitUs) || estimateMean(rounds.map((point) => point.latencyUs)).high <= goal.latencyLimitUs;
}

function pairs(arm: Arm, to: Arm): number {
  return arm.rounds.filter((point, i) => point !== null && (to.rounds[i] ?? null) !== null).length;
}
