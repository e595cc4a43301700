import { InferenceError } from '../../proto/inference-error.ts';
import { makeLoadPlan } from '../command/make-load-plan.ts';
import type { LoadProcess } from '../load/load-client.ts';
import type { Pace } from '../load/load-plan.ts';
import { startLoadGroup } from '../measure/load-group.ts';
import { type MeasureRules, measurePoint, type PointProgress } from '../measure/measure-point.ts';
import { openTarget } from '../target/open-target.ts';
import type { Target } from '../target/target.ts';
import { knobEdits, withEdits } from './knob-edits.ts';
import { type ConfigDocument, type HostKind, type Knobs, keyOf, type ThreadParameter } from './knobs.ts';
import { type Effort, type Trial, type TrialOutcome, trialPoint } from './trial.ts';
import { TuneServer } from './tune-server.ts';
import type { TuneSettings } from './tune-settings.ts';

export interface ServedTrialOptions {
  readonly settings: TuneSettings;
  readonly present: Knobs;
  /** The server's whole configuration of the model as it is. */
  readonly config: ConfigDocument;
  readonly threads: ThreadParameter | null;
  /** One that has the model loaded as it is. It is closed with the trial. */
  readonly server: TuneServer;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PointProgress) => void;
}

interface Served {
  readonly server: TuneServer;
  /** What is loaded; '': nothing. */
  loaded: string;
  source: { readonly target: Target; readonly load: LoadProcess & { readonly processes: number }; readonly words: string } | null;
}

/** Of a window, so many answers at least: fewer say nothing of it. */
const ANSWERS = 20;
const MAX_WINDOW_MS = 10_000;
const CONTROL_TIMEOUT_MS = 10_000;

const RULES: Readonly<
  Record<Effort, Omit<MeasureRules, 'windowMs' | 'maxWarmUpMs' | 'maxMs' | 'quantile'> & { warmUp: number; most: number }>
> = {
  brief: { stableWindows: 3, stableWithin: 0.1, minWindows: 3, precision: 0.1, warmUp: 6, most: 6 },
  final: { stableWindows: 3, stableWithin: 0.05, minWindows: 4, precision: 0.05, warmUp: 8, most: 8 },
};

/** Loads configurations into servers of its own, one for each kind of host, and measures them. One trial at a time. */
export class ServedTrial implements Trial {
  readonly #options: ServedTrialOptions;
  readonly #served: Map<HostKind, Served> = new Map();
  #windowMs: number;
  #words = '';

  constructor(options: ServedTrialOptions) {
    this.#options = options;
    this.#windowMs = options.settings.windowMs;
    this.#served.set(options.server.host, { server: options.server, loaded: keyOf(options.present), source: null });
  }

  /** What is sent, in words; '' before the first trial. */
  get inputWords(): string {
    return this.#words;
  }

  async measure(knobs: Knobs, level: number, effort: Effort): Promise<TrialOutcome> {
    let served: Served | null = null;
    try {
      served = await this.#serve(knobs);
      await this.#load(served, knobs);
    } catch (error) {
      return this.#failure(error, served);
    }
    try {
      served.source ??= await this.#open(served.server);
      return { point: await this.#measure(served.source, level, effort), failure: null };
    } catch (error) {
      // A server that a configuration has brought down is that configuration's failure; what the load itself cannot do ends the search.
      if (!served.server.hasEnded) throw error;
      return this.#failure(new InferenceError('UNAVAILABLE', `the server ended under the load: ${served.server.lastWords()}`), served);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#served.values()].map(closeServed));
    this.#served.clear();
  }

  /** The server for its host, with the model in no other one. */
  async #serve({ host }: Knobs): Promise<Served> {
    const { bench, repository } = this.#options.settings;
    for (const [kind, served] of this.#served) {
      if (served.server.hasEnded) {
        await closeServed(served);
        this.#served.delete(kind);
      } else if (kind !== host && served.loaded !== '') {
        await served.server.unload(bench.model);
        served.loaded = '';
      }
    }
    let served = this.#served.get(host);
    if (served === undefined) {
      served = { server: await TuneServer.start({ repository, host }), loaded: '', source: null };
      this.#served.set(host, served);
    }
    return served;
  }

  async #load(served: Served, knobs: Knobs): Promise<void> {
    const key = keyOf(knobs);
    if (served.loaded === key) return;
    const { config, present, threads, settings } = this.#options;
    const edits = knobEdits(config, present, knobs, threads);
    served.loaded = '';
    await served.server.load(settings.bench.model, edits.length === 0 ? null : withEdits(config, edits));
    served.loaded = key;
  }

  /** The model must be loaded: its inputs are asked for. */
  async #open(server: TuneServer): Promise<NonNullable<Served['source']>> {
    const { bench } = this.#options.settings;
    const { protocol, model: name, modelVersion: version } = bench;
    const { target, model } = await openTarget({
      url: server.urlFor(protocol.startsWith('grpc')),
      protocol,
      model: name,
      version,
      headers: {},
      tls: null,
      serverPid: server.pid,
      metricsUrl: null,
      timeoutMs: CONTROL_TIMEOUT_MS,
    });
    const { plan, words } = await makeLoadPlan(bench, target, model);
    this.#words = words;
    return { target, load: await startLoadGroup(plan, bench.processes), words };
  }

  /** Again with longer windows when the model is so slow that those before held next to nothing. */
  async #measure(
    { target, load }: NonNullable<Served['source']>,
    level: number,
    effort: Effort,
  ): Promise<NonNullable<TrialOutcome['point']>> {
    const { settings, signal, onProgress } = this.#options;
    for (;;) {
      const pace = paceOf(settings, level);
      const measured = await measurePoint(load, {
        pace,
        rules: rulesOf(effort, this.#windowMs, settings.percentile),
        target,
        onProgress,
        signal,
      });
      const neededMs = Math.min(MAX_WINDOW_MS, (ANSWERS * 1000) / Math.max(measured.throughput.value, 0.1));
      const isLongEnough = neededMs <= this.#windowMs * 2 || measured.outcomes.ok === 0;
      if (isLongEnough || signal.aborted) return trialPoint(measured, settings.percentile);
      this.#windowMs = Math.round(neededMs);
    }
  }

  #failure(error: unknown, served: Served | null): TrialOutcome {
    if (!(error instanceof InferenceError) || this.#options.signal.aborted) throw error;
    if (served !== null) served.loaded = '';
    return { point: null, failure: error.message };
  }
}

async function closeServed({ server, source }: Served): Promise<void> {
  await source?.load.close();
  await source?.target.close();
  await server.close();
}

function paceOf({ bench, ratePerSecond }: TuneSettings, level: number): Pace {
  const [first] = bench.paces;
  if (ratePerSecond !== null && first?.kind === 'open') return { ...first, perSecond: level };
  return { kind: 'closed', concurrency: level };
}

function rulesOf(effort: Effort, windowMs: number, quantile: string): MeasureRules {
  const { warmUp, most, ...rules } = RULES[effort];
  return { ...rules, windowMs, maxWarmUpMs: warmUp * windowMs, maxMs: most * windowMs, quantile };
}
