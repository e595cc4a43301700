import { LatencyHistogram } from '../load/latency-histogram.ts';
import type { LoadProcess } from '../load/load-client.ts';
import type { LoadPlan, Pace } from '../load/load-plan.ts';
import { type HistogramData, type LoadWindow, OUTCOMES, type Outcome } from '../load/load-window.ts';
import { startLoadProcess } from '../load/start-load-process.ts';
import { mergeErrors } from './summarize-point.ts';

/**
 * `count` load processes that share a load as one: for a server that one of them cannot drive. Each has its part of the requests in flight, or of the rate; with sequences, its own range of
 * correlation IDs.
 */
export async function startLoadGroup(plan: LoadPlan, count: number): Promise<LoadProcess & { readonly processes: number }> {
  if (count === 1) return Object.assign(await startLoadProcess(plan), { processes: 1 });
  const started = await Promise.allSettled(Array.from({ length: count }, (_, i) => startLoadProcess(partOf(plan, i, count))));
  const processes = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const failed = started.find((one) => one.status === 'rejected');
  if (failed !== undefined) {
    await Promise.all(processes.map((one) => one.close()));
    throw failed.reason;
  }
  return new LoadGroup(processes);
}

/** Sequences of one process. */
const IDS_EACH = 100_000_000;

function partOf(plan: LoadPlan, index: number, count: number): LoadPlan {
  const sequence = plan.sequence === null ? null : { ...plan.sequence, firstId: plan.sequence.firstId + index * IDS_EACH };
  return { ...plan, sequence, seed: plan.seed + index, connections: Math.max(1, Math.ceil(plan.connections / count)) };
}

class LoadGroup implements LoadProcess {
  readonly pid: number;
  readonly sockets: 'native' | 'node';
  readonly processes: number;
  /** One that is gone ends the measurement of all. */
  readonly ended: Promise<void>;
  readonly #members: readonly LoadProcess[];
  /** Those that have a part of the present load. */
  #active: readonly LoadProcess[] = [];

  constructor(members: readonly LoadProcess[]) {
    this.#members = members;
    this.pid = members[0]!.pid;
    this.sockets = members[0]!.sockets;
    this.processes = members.length;
    this.ended = Promise.race(members.map((member) => member.ended));
  }

  async start(pace: Pace, windowMs: number, onWindow: (window: LoadWindow) => void): Promise<void> {
    const parts = splitPace(pace, this.#members.length);
    this.#active = this.#members.slice(0, parts.length);
    // The nth windows of all are one; they are some milliseconds apart at the most.
    const waiting: LoadWindow[][] = parts.map(() => []);
    await Promise.all(
      parts.map((part, i) =>
        this.#members[i]!.start(part, windowMs, (window) => {
          waiting[i]!.push(window);
          if (waiting.every((queue) => queue.length > 0)) onWindow(mergeWindows(waiting.map((queue) => queue.shift()!)));
        }),
      ),
    );
  }

  async stop(): Promise<LoadWindow> {
    return mergeWindows(await Promise.all(this.#active.map((member) => member.stop())));
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.close()));
  }
}

function splitPace(pace: Pace, count: number): Pace[] {
  if (pace.kind === 'open') {
    const part = { ...pace, perSecond: pace.perSecond / count, maxInFlight: Math.max(1, Math.floor(pace.maxInFlight / count)) };
    return Array.from({ length: count }, () => part);
  }
  const used = Math.min(count, pace.concurrency);
  return Array.from({ length: used }, (_, i) => ({
    kind: 'closed' as const,
    concurrency: Math.floor(pace.concurrency / used) + (i < pace.concurrency % used ? 1 : 0),
  }));
}

function mergeWindows(windows: readonly LoadWindow[]): LoadWindow {
  const sum = (of: (window: LoadWindow) => number): number => windows.reduce((total, window) => total + of(window), 0);
  const merge = (of: (window: LoadWindow) => HistogramData): HistogramData => {
    const histogram = new LatencyHistogram();
    for (const window of windows) histogram.add(of(window));
    return histogram.data();
  };
  const outcomes = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, sum((window) => window.outcomes[outcome])]));
  return {
    fromMs: Math.min(...windows.map((window) => window.fromMs)),
    toMs: Math.max(...windows.map((window) => window.toMs)),
    sent: sum((window) => window.sent),
    outcomes: outcomes as Record<Outcome, number>,
    good: sum((window) => window.good),
    unsent: sum((window) => window.unsent),
    validated: sum((window) => window.validated),
    bytesSent: sum((window) => window.bytesSent),
    bytesReceived: sum((window) => window.bytesReceived),
    latency: merge((window) => window.latency),
    refusal: merge((window) => window.refusal),
    lag: merge((window) => window.lag),
    firstPart: merge((window) => window.firstPart),
    betweenParts: merge((window) => window.betweenParts),
    parts: sum((window) => window.parts),
    errors: mergeErrors(windows),
    // The busiest bounds what they do together.
    generator: {
      busy: Math.max(...windows.map((window) => window.generator.busy)),
      cpu: sum((window) => window.generator.cpu),
      involuntarySwitches: sum((window) => window.generator.involuntarySwitches),
    },
  };
}
