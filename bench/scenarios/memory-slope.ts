import type { WireProtocol } from '../load/load-plan.ts';
import type { LoadWindow } from '../load/load-window.ts';
import { startLoadProcess } from '../load/start-load-process.ts';
import type { Estimate } from '../report/bench-report.ts';
import { meanOf } from '../statistics/estimate.ts';
import { studentT95 } from '../statistics/student-t.ts';
import { makeBenchRepository } from './bench-repository.ts';
import { treeMiB } from './child.ts';
import { planOf, refuseFailures } from './open-contender.ts';
import type { OwnTable, OwnTableOptions } from './own-table.ts';
import { tinyRequests } from './requests.ts';
import { HOSTED, nereid } from './rows/contenders.ts';
import { ServerFleet } from './server-fleet.ts';

const PROTOCOLS: readonly WireProtocol[] = ['http-json', 'http-binary', 'grpc', 'grpc-stream', 'websocket-json', 'websocket-binary'];
const CONCURRENCY = 32;
/** Between readings. */
const WINDOW_MS = 250;
/** The first of all requests, while heaps grow to their working size: not in the slope. */
const WARM_SHARE = 0.25;
/** Memory goes up and down with the collector; means over so many stretches of a run are all but independent of one another. */
const STRETCHES = 10;
/** No slope is known from fewer readings. */
const FEWEST_READINGS = 2 * STRETCHES;

/** Memory of the server and its hosts at a time. */
export interface MemoryReading {
  readonly requests: number;
  readonly bytes: number;
}

/** What came of one transport. */
export interface MemoryRow {
  readonly protocol: WireProtocol;
  readonly requests: number;
  readonly startMiB: number;
  readonly endMiB: number;
  readonly slope: Estimate;
}

/** Whether memory grows with requests, on each transport. */
export const memorySlope: OwnTable = {
  name: 'memory-slope',
  title: 'Memory over a million requests',
  about:
    'A tiny model, 32 requests in flight, one server for each transport; memory of all its processes (what they share counts once), a line through its means.',
  run: async (options) => {
    const rows: MemoryRow[] = [];
    for (const protocol of PROTOCOLS) rows.push(await followMemory(protocol, WINDOW_MS, options));
    const width = Math.max(...PROTOCOLS.map((protocol) => protocol.length));
    const cell = (value: number, digits = 1): string => value.toFixed(digits).padStart(10);
    return [
      `${options.requests} requests on each; the first ${WARM_SHARE * 100} % are not in the slope; goal: its 95 % interval holds 0, or lies below`,
      '',
      `${''.padEnd(width)}  MiB, start  MiB, end  bytes a request          95 % between`,
      ...rows.map(({ protocol, startMiB, endMiB, slope: { value, low, high } }) => {
        const interval = `${low.toFixed(2)} and ${high.toFixed(2)}`;
        return `${protocol.padEnd(width)}  ${cell(startMiB)}${cell(endMiB)}${cell(value, 2).padStart(17)}  ${interval.padStart(20)}  ${low <= 0 ? 'met' : 'NOT MET'}`;
      }),
    ];
  },
};

/** Reads memory every `windowMs` until the requests are done, and there are readings enough. */
export async function followMemory(
  protocol: WireProtocol,
  windowMs: number,
  options: Pick<OwnTableOptions, 'requests' | 'onProgress'>,
): Promise<MemoryRow> {
  const repository = makeBenchRepository(['tiny']);
  const fleet = new ServerFleet(repository, { core: null, preload: '' });
  try {
    const contender = nereid(protocol, HOSTED, {
      protocol,
      requests: tinyRequests(protocol.endsWith('json') ? 'json' : 'binary'),
      concurrency: CONCURRENCY,
    });
    const server = await fleet.get(HOSTED);
    const load = await startLoadProcess(planOf(contender, server));
    const startMiB = treeMiB(server.process.pid);
    const readings: MemoryReading[] = [];
    try {
      let requests = 0;
      await new Promise<void>((resolve, reject) => {
        const onWindow = (window: LoadWindow): void => {
          try {
            refuseFailures(window);
          } catch (error) {
            reject(error as Error);
          }
          requests += window.outcomes.ok;
          readings.push({ requests, bytes: treeMiB(server.process.pid) * 2 ** 20 });
          options.onProgress(`${protocol}, ${requests} requests`);
          if (requests >= options.requests && counted(readings).length >= FEWEST_READINGS) resolve();
        };
        load.start(contender.pace, windowMs, onWindow).catch(reject);
      });
      await load.stop();
      return { protocol, requests, startMiB, endMiB: treeMiB(server.process.pid), slope: memoryGrowth(counted(readings)) };
    } finally {
      await load.close();
    }
  } finally {
    await fleet.close();
    repository.remove();
  }
}

/** Those behind the warm-up. */
function counted(readings: readonly MemoryReading[]): MemoryReading[] {
  const last = readings.at(-1)?.requests ?? 0;
  return readings.filter(({ requests }) => requests > last * WARM_SHARE);
}

/** Bytes a request: the line of least squares through the means of ten stretches of `readings`, with Student's 95 % interval. Throws a RangeError when there are fewer than two readings for each. */
export function memoryGrowth(readings: readonly MemoryReading[]): Estimate {
  if (readings.length < FEWEST_READINGS)
    throw new RangeError(`memory growth: expected at least ${FEWEST_READINGS} readings, got ${readings.length}`);
  const points = Array.from({ length: STRETCHES }, (_, i) => {
    const from = Math.floor((i * readings.length) / STRETCHES);
    const part = readings.slice(from, Math.floor(((i + 1) * readings.length) / STRETCHES));
    return { x: meanOf(part.map(({ requests }) => requests)), y: meanOf(part.map(({ bytes }) => bytes)) };
  });
  const [x, y] = [meanOf(points.map((point) => point.x)), meanOf(points.map((point) => point.y))];
  const spread = points.reduce((sum, point) => sum + (point.x - x) ** 2, 0);
  const value = points.reduce((sum, point) => sum + (point.x - x) * (point.y - y), 0) / spread;
  const residual = points.reduce((sum, point) => sum + (point.y - y - value * (point.x - x)) ** 2, 0);
  const degrees = STRETCHES - 2;
  const reach = studentT95(degrees) * Math.sqrt(residual / degrees / spread);
  return { value, low: value - reach, high: value + reach };
}
