import type { Estimate } from '../report/bench-report.ts';
import { estimateMedian, medianOf } from '../statistics/estimate.ts';
import { makeBenchRepository } from './bench-repository.ts';
import { keepRounds } from './drop-rounds.ts';
import { type OpenContender, openContender } from './open-contender.ts';
import { canPin, SERVER_CORE } from './pinning.ts';
import type { Contender, Figure, Ratio, Scenario, Slice } from './scenario.ts';
import { ServerFleet } from './server-fleet.ts';

export interface RunOptions {
  readonly rounds: number;
  /** Measured in each slice, seconds; null: as the scenario says. */
  readonly seconds: number | null;
  readonly warmUpSeconds: number;
  readonly onProgress: (text: string) => void;
}

export const DEFAULT_SECONDS = 1.5;
/** Warm-ups of each contender before the first round. */
const COLD_WARM_UPS = 2;
/** Rounds that must be left of the dropping for their medians to say anything. */
const FEWEST_KEPT = 3;
/** A generator with less time to spare bounds what it measures. */
const SATURATED = 0.95;

export interface MeasuredRow extends Record<Figure, number> {
  readonly name: string;
  readonly note: string;
  /** Mean share of the time that the generator was not waiting; 0 of loops. */
  readonly generatorBusy: number;
}

export interface MeasuredRatio {
  readonly ratio: Ratio;
  /** The median over the kept rounds, with its 95 % interval. */
  readonly estimate: Estimate;
}

export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly seconds: number;
  readonly rounds: number;
  readonly keptRounds: number;
  /** What must be known to read it. */
  readonly warnings: readonly string[];
  /** Medians over the kept rounds. */
  readonly rows: readonly MeasuredRow[];
  readonly ratios: readonly MeasuredRatio[];
}

/** Starts all contenders, measures them in turns, ends them. Rejects when one of them answers wrongly. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioResult> {
  const isPinned = scenario.cores === 'one';
  const seconds = options.seconds ?? (scenario.seconds > 0 ? scenario.seconds : DEFAULT_SECONDS);
  options.onProgress('making models');
  const repository = makeBenchRepository(scenario.models);
  const fleet = new ServerFleet(repository, { core: isPinned ? SERVER_CORE : null, preload: '' });
  const open: OpenContender[] = [];
  try {
    for (const contender of scenario.contenders) {
      options.onProgress(`starting ${contender.name}`);
      open.push(await openContender(contender, fleet, repository, isPinned));
    }
    // Compilers and caches, once; what they leave to do is in the warm-up of each slice.
    for (const contender of open) {
      options.onProgress(`warming up ${contender.name}`);
      await contender.slice(options.warmUpSeconds * 1000 * COLD_WARM_UPS, 100);
    }
    const slices = new Map<string, Slice[]>(open.map(({ name }) => [name, []]));
    for (let round = 0; round < options.rounds; round++) {
      for (const contender of rotated(open, round)) {
        options.onProgress(`round ${round + 1}/${options.rounds}  ${contender.name}`);
        slices.get(contender.name)!.push(await contender.slice(options.warmUpSeconds * 1000, seconds * 1000));
      }
    }
    return summarize(scenario, open, slices, seconds);
  } finally {
    await Promise.all(open.map((contender) => contender.close()));
    await fleet.close();
    repository.remove();
  }
}

/** Another beginning each round, and every other round the other way round, so that nobody always follows the same one. */
export function rotated<T>(all: readonly T[], round: number): T[] {
  const start = all.length === 0 ? 0 : round % all.length;
  const turned = [...all.slice(start), ...all.slice(0, start)];
  return round % 2 === 0 ? turned : turned.reverse();
}

export function summarize(
  scenario: Scenario,
  open: readonly Pick<OpenContender, 'name' | 'note'>[],
  slices: ReadonlyMap<string, readonly Slice[]>,
  seconds: number,
): ScenarioResult {
  const kinds = new Map(scenario.contenders.map((contender) => [contender.name, contender]));
  const rounds = Math.min(...[...slices.values()].map((one) => one.length));
  const { kept, dropped } = keepRounds(slices, (name) => isEmptyServer(kinds.get(name)!));
  const isEnough = kept.length >= Math.min(FEWEST_KEPT, rounds);
  const counted = isEnough ? kept : Array.from({ length: rounds }, (_, round) => round);
  const warnings = isEnough
    ? [...dropped]
    : [`the machine was not quiet: ${dropped.length} of ${rounds} rounds would be dropped, so all are shown`];
  if (scenario.cores === 'one' && !canPin())
    warnings.push('taskset is missing, or there is one core: nothing was kept on a core of its own');
  const rows = open.map(({ name, note }): MeasuredRow => {
    const own = counted.map((round) => slices.get(name)![round]!);
    const middle = (of: (slice: Slice) => number): number => medianOf(Float64Array.from(own, of).sort());
    return {
      name,
      note,
      perSecond: middle(({ perSecond }) => perSecond),
      p50Us: middle(({ p50Us }) => p50Us),
      p99Us: middle(({ p99Us }) => p99Us),
      cpuUsPerRequest: middle(({ cpuUsPerRequest }) => cpuUsPerRequest),
      generatorBusy: middle(({ generatorBusy }) => generatorBusy),
    };
  });
  for (const { name, generatorBusy } of rows) {
    if (generatorBusy >= SATURATED) warnings.push(`the generator had no time to spare: '${name}' can do more than is shown`);
  }
  const ratios = scenario.ratios.map((ratio): MeasuredRatio => {
    const figure = (name: string, round: number): number => slices.get(name)![round]![ratio.figure];
    const values = counted.map((round) => figure(ratio.of, round) / ratio.to.reduce((sum, name) => sum + figure(name, round), 0));
    return { ratio, estimate: estimateMedian(values) };
  });
  return { scenario, seconds, rounds, keptRounds: isEnough ? kept.length : 0, warnings, rows, ratios };
}

function isEmptyServer(contender: Contender): boolean {
  return contender.kind === 'load' && contender.server.kind === 'empty';
}

/** Only what the short form measures: the ratios that are marked, and the contenders that they name. null: none is. */
export function gatePart(scenario: Scenario): Scenario | null {
  const ratios = scenario.ratios.filter(({ inGate }) => inGate);
  const named = new Set(ratios.flatMap(({ of, to }) => [of, ...to]));
  const contenders = scenario.contenders.filter(({ name }) => named.has(name));
  return ratios.length === 0 ? null : { ...scenario, ratios, contenders };
}
