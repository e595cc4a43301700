import { once } from 'node:events';
import type { Pace } from '../load/load-plan.ts';
import { startLoadProcess } from '../load/start-load-process.ts';
import { makeBenchRepository } from './bench-repository.ts';
import type { LoopDelay, ProbeQuestion } from './loop-delay-probe.ts';
import { measureLoad, planOf, sliceOf } from './open-contender.ts';
import type { OwnTable, OwnTableOptions } from './own-table.ts';
import { LOAD_CORE, pinProcess, SERVER_CORE } from './pinning.ts';
import { allScenarios } from './rows/all-scenarios.ts';
import type { LoadContender, Scenario } from './scenario.ts';
import { ServerFleet } from './server-fleet.ts';

/** Of what the server can do. */
const LOAD_SHARE = 0.7;
const GOAL_MS = 5;
const DEFAULT_SECONDS = 5;
/** Requests in flight beside those of the closed loop, before the generator holds back. */
const IN_FLIGHT_FACTOR = 8;

interface Row {
  readonly name: string;
  readonly perSecond: number;
  readonly delay: LoopDelay;
}

/** The lateness of the server's event loop at 70 % of what a closed loop gets from it, for each contender of each scenario. */
export const loopDelay: OwnTable = {
  name: 'loop-delay',
  title: 'Delay of the event loop at 70 % load',
  about:
    'Every contender of the other scenarios by itself: a closed loop finds what it can do, an open loop then sends 70 % of it at even intervals.',
  run: async (options) => {
    const rows: Row[] = [];
    for (const scenario of allScenarios) rows.push(...(await delaysOf(scenario, options)));
    const width = Math.max(...rows.map(({ name }) => name.length));
    const cell = (us: number): string => (us / 1000).toFixed(2).padStart(10);
    return [
      `open loop of ${options.seconds ?? DEFAULT_SECONDS} s at ${LOAD_SHARE * 100} % of what a closed loop got; how late a timer of 1 ms came, ms; goal: p99 < ${GOAL_MS} ms`,
      '',
      `${''.padEnd(width)}     per s       p50       p99       max`,
      ...rows.map(({ name, perSecond, delay }) => {
        const cells = [perSecond.toFixed(0).padStart(10), cell(delay.p50Us), cell(delay.p99Us), cell(delay.maxUs)];
        return `${name.padEnd(width)}${cells.join('')}  ${delay.p99Us < GOAL_MS * 1000 ? 'met' : 'NOT MET'}`;
      }),
    ];
  },
};

async function delaysOf(scenario: Scenario, options: OwnTableOptions): Promise<Row[]> {
  const repository = makeBenchRepository(scenario.models);
  const core = scenario.cores === 'one' ? SERVER_CORE : null;
  const rows: Row[] = [];
  try {
    for (const contender of scenario.contenders) {
      if (contender.kind !== 'load' || contender.server.kind !== 'nereid') continue;
      options.onProgress(`${scenario.name}, ${contender.name}`);
      // A server of its own each time, so that no other contender's garbage is collected meanwhile.
      const fleet = new ServerFleet(repository, { core, preload: 'bench/scenarios/loop-delay-probe.js' });
      try {
        rows.push({ ...(await delayOf(contender, fleet, core !== null, options)), name: `${scenario.name}: ${contender.name}` });
      } finally {
        await fleet.close();
      }
    }
  } finally {
    repository.remove();
  }
  return rows;
}

async function delayOf(
  contender: LoadContender,
  fleet: ServerFleet,
  isPinned: boolean,
  options: OwnTableOptions,
): Promise<Omit<Row, 'name'>> {
  const server = await fleet.get(contender.server);
  const load = await startLoadProcess(planOf(contender, server));
  pinProcess(load.pid, isPinned ? LOAD_CORE : null);
  const { pid, process: child } = server.process;
  const warmUpMs = options.warmUpSeconds * 1000;
  const measuredMs = (options.seconds ?? DEFAULT_SECONDS) * 1000;
  try {
    const peak = sliceOf(await measureLoad(load, pid, contender.pace, warmUpMs * 2, measuredMs / 2)).perSecond;
    const concurrency = contender.pace.kind === 'closed' ? contender.pace.concurrency : contender.pace.maxInFlight;
    const pace: Pace = { kind: 'open', perSecond: peak * LOAD_SHARE, schedule: 'fixed', maxInFlight: concurrency * IN_FLIGHT_FACTOR };
    const ask = (question: ProbeQuestion): boolean => child.send(question);
    ask('start');
    const { perSecond } = sliceOf(await measureLoad(load, pid, pace, warmUpMs, measuredMs));
    const answered = once(child, 'message');
    ask('read');
    const [delay] = (await answered) as [LoopDelay];
    return { perSecond, delay };
  } finally {
    await load.close();
  }
}
