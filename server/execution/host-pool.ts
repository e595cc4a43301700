/**
 * All execution hosts of a server. Models share processes: a thousand small models must not mean a thousand processes.
 *
 * Which process: a model that nobody has tried is loaded where nothing serves, so that a file that crashes its loader costs no request. Until
 * `putInService` that is one process for all models, and one more where a load takes long. From then on it is a process of its own, which stays, with the model in service, until there are `maxHosts`. After that the model serves from it at first and moves,
 * tried as it is, to the process that has the fewest, as soon as requests come for it; a large one stays, since a process costs little beside it.
 * A process without models ends, or waits as the spare one for the next load.
 */

import { availableParallelism } from 'node:os';
import type { ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from './decoupled-execution.ts';
import type { HostKind, InstanceChannel, InstanceHandle } from './execution-host.ts';
import { completeHostOptions, type ProcessHostOptions } from './host-options.ts';
import { codeLog, hostLog } from './host-output.ts';
import { type HostLog, HostSlot } from './host-slot.ts';
import { InlineModels } from './inline-models.ts';
import { requireCodeInstances, requireInstanceCount } from './instance-counts.ts';
import type { InstanceGroup } from './instance-group.ts';
import type { InstanceRenewal } from './instance-renewal.ts';
import { calledOff, stopping } from './load-refusals.ts';
import { LoadTurns } from './load-turns.ts';
import { PooledModel, spreadCounts } from './pooled-model.ts';
import { hasOwnProcess } from './runs-code.ts';
import { SpareHosts } from './spare-hosts.ts';

export interface HostPoolOptions
  extends Partial<Omit<ProcessHostOptions, 'memoryBytes' | 'onLog' | 'isDecoupled' | 'runsCode' | 'preload'>> {
  /** Where models run that don't say it themselves. */
  readonly kind: HostKind;
  /** Tensor memory of each host; see {@link ProcessHostOptions.memoryBytes}. */
  readonly tensorMemoryBytes: number;
  /** Processes that models share; as many again for decoupled models, which have processes of their own. Beside them: those that try a model out, and large models'. */
  readonly maxHosts?: number;
  /** Loads under way at once; others wait. 4 when left out. */
  readonly loadConcurrency?: number;
  /** From `putInService` on, one idle process waits for the next load, which then takes no longer than the model does. For servers whose models change. */
  readonly keepsSpareHost?: boolean;
  readonly log: HostLog;
}

export interface PooledModelOptions {
  /** Sum of the configuration's instance_group counts, 1 or more: how many instances, and over how many hosts, as far as `maxHosts` allows. */
  readonly instanceCount: number;
  /** The pool's kind when left out. */
  readonly kind?: HostKind;
  /** See {@link InstanceGroup}. May be called before `load` resolves. */
  readonly onCapacity: () => void;
  readonly onFailed: (error: InferenceError) => void;
  readonly renewal?: InstanceRenewal;
  /** Calls the load off: it rejects at once with CANCELLED, or the signal's reason where that is an InferenceError; what was done is undone in the background. */
  readonly signal?: AbortSignal;
}

/** A model of this size keeps the process it was tried in: that costs a fraction of loading it a second time. */
const LARGE_MODEL_BYTES = 256 * 1024 * 1024;

const DEFAULT_CONCURRENCY = 4;

/**
 * At start, a load that takes longer gets company: other models go to a further host, not behind it. Not before: two hosts load a thousand small models in 1.2 s instead of 1.6, and then serve
 * one of them a fifth slower than a single host does (measured on 2 cores).
 */
const SLOW_LOAD_MS = 250;

export class HostPool {
  readonly #options: HostPoolOptions;
  readonly #hostOptions: Partial<ProcessHostOptions>;
  readonly #maxHosts: number;
  /** Hosts that models share while nothing serves, at most. */
  readonly #startHosts: number;
  /** Every host there is. */
  readonly #hosts: Set<HostSlot> = new Set();
  /** Those among them that models share; the others try a model out, or are {@link #spares}. */
  readonly #slots: Set<HostSlot> = new Set();
  readonly #spares: SpareHosts;
  /** The backend of the last load: the spare host starts it ahead. Null: all models so far have processes of their own, and no use for a spare one. */
  #lastBackend: string | null = '';
  readonly #inline: InlineModels;
  readonly #models: WeakMap<InstanceGroup<InstanceHandle>, PooledModel> = new WeakMap();
  readonly #turns: LoadTurns;
  /** Loads that wait for one of the hosts at start. */
  readonly #waitingForStart: (() => void)[] = [];
  /** Models that serve from where they were tried, oldest first, and the moves of such. */
  readonly #tried: Map<PooledModel, HostSlot> = new Map();
  #moves: Promise<unknown> = Promise.resolve();
  #movingCount = 0;
  /** What is undone after a load was called off. */
  readonly #undoing: Set<Promise<unknown>> = new Set();
  #isInService = false;
  #isStopped = false;

  constructor(options: HostPoolOptions) {
    const { kind: _kind, tensorMemoryBytes, maxHosts, loadConcurrency, keepsSpareHost: _keeps, log, ...hostOptions } = options;
    this.#options = options;
    this.#maxHosts = Math.max(1, maxHosts ?? Math.max(4, availableParallelism()));
    this.#startHosts = Math.min(this.#maxHosts, Math.max(2, availableParallelism()));
    this.#turns = new LoadTurns(loadConcurrency ?? DEFAULT_CONCURRENCY);
    this.#inline = new InlineModels({ memoryBytes: tensorMemoryBytes, backendSettings: options.backendSettings ?? {} });
    this.#spares = new SpareHosts({
      isWanted: () =>
        options.keepsSpareHost === true &&
        options.kind === 'process' &&
        this.#isInService &&
        !this.#isStopped &&
        this.#lastBackend !== null,
      create: () => this.#newSlot(false, this.#lastBackend ?? ''),
      onGone: (slot) => this.#hosts.delete(slot),
      log,
    });
    this.#hostOptions = {
      ...hostOptions,
      memoryBytes: tensorMemoryBytes,
      onLog: hostLog(log),
    };
    // A wrong option is an error at start, not at the first load.
    completeHostOptions(this.#hostOptions);
  }

  /** Process ids of all hosts. */
  get pids(): number[] {
    return [...this.#hosts].map((slot) => slot.pid).filter((pid) => pid > 0);
  }

  /**
   * Loads a model version and creates its instances. Rejects with the backend's error, UNAVAILABLE when the load ended its host, or CANCELLED by
   * its signal; other models are unharmed or, where they were loaded beside it and don't serve yet, loaded again.
   */
  load(spec: ModelSpec, options: PooledModelOptions): Promise<InstanceGroup<InstanceChannel>> {
    return this.#startLoad(spec, options, false) as Promise<InstanceGroup<InstanceChannel>>;
  }

  /** As {@link load}, for a model whose configuration says that it is decoupled. Rejects with INVALID_ARGUMENT when its backend can't do that. */
  loadDecoupled(spec: ModelSpec, options: PooledModelOptions): Promise<InstanceGroup<DecoupledChannel>> {
    return this.#startLoad(spec, options, true) as Promise<InstanceGroup<DecoupledChannel>>;
  }

  /**
   * Gives a loaded model more or fewer instances, in the hosts it is in as far as they go. Resolves when those that are too many have finished what they had.
   * Rejects, leaving the instances there were, with INVALID_ARGUMENT for a count that can't be meant, UNAVAILABLE for a model that is being unloaded, or as `load` does.
   */
  async resize(group: InstanceGroup<InstanceChannel> | InstanceGroup<DecoupledChannel>, instanceCount: number): Promise<void> {
    requireInstanceCount(group.key, instanceCount);
    if (this.#inline.has(group)) return this.#inline.resize(group, instanceCount);
    const model = this.#models.get(group);
    if (model === undefined) throw new InferenceError('UNAVAILABLE', `model '${group.key}' is not one of this pool`);
    await model.change(async () => {
      if (this.#isStopped) throw stopping();
      if (model.runsCode) requireCodeInstances(group.key, instanceCount);
      await model.spread(this.#counts(model, instanceCount), () => this.#nextSlot(model));
    });
  }

  /** Takes away a model whose load was called off, with whatever it runs: a host that has nothing else is ended. */
  async discard(group: InstanceGroup<InstanceChannel> | InstanceGroup<DecoupledChannel>): Promise<void> {
    const places = [...(this.#models.get(group)?.places.keys() ?? [])];
    const stopped = group.stop();
    await Promise.all(places.filter((slot) => slot.placements.size <= 1 && slot.placingCount === 0).map((slot) => slot.stop()));
    await stopped;
  }

  /**
   * Everything loaded so far may get requests from now on. No load may be under way: from here on, models that nobody has tried are kept apart from all others.
   * A model that got a request is in service anyway.
   */
  putInService(): void {
    this.#isInService = true;
    for (const slot of this.#hosts) for (const { group } of slot.placements) group?.beginService();
    this.#spares.fill();
  }

  /** Ends all hosts, whatever is in flight. Resolves when no process is left. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#spares.stop();
    const stopAll = (): Promise<unknown> => Promise.all([...this.#hosts].map((slot) => slot.stop()));
    await stopAll();
    await this.#turns.ended();
    await Promise.allSettled([...this.#undoing, this.#moves]);
    await stopAll();
    await this.#inline.stop();
  }

  async #startLoad(spec: ModelSpec, options: PooledModelOptions, isDecoupled: boolean): Promise<InstanceGroup<InstanceHandle>> {
    requireInstanceCount(spec.name, options.instanceCount);
    const { signal } = options;
    if (signal?.aborted === true) throw calledOff(spec, signal);
    let trial: HostSlot | null = null;
    const loaded = this.#turns.run(() => {
      if (this.#isStopped) throw stopping();
      if (signal?.aborted === true) throw calledOff(spec, signal);
      if ((options.kind ?? this.#options.kind) === 'inline' && !hasOwnProcess(spec.config))
        return this.#inline.load(spec, options, isDecoupled);
      return this.#load(spec, options, isDecoupled, (slot) => {
        trial = slot;
      });
    });
    if (signal === undefined) return loaded;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        reject(calledOff(spec, signal));
        // Nothing else is in there, and the load may take long.
        const undone = (trial?.stop() ?? Promise.resolve()).then(() => loaded).then((group) => group.stop());
        const undoing = undone.catch(() => {}).finally(() => this.#undoing.delete(undoing));
        this.#undoing.add(undoing);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const removeListener = (): void => signal.removeEventListener('abort', onAbort);
      loaded.then(resolve, reject).finally(removeListener);
    });
  }

  async #load(
    spec: ModelSpec,
    options: PooledModelOptions,
    isDecoupled: boolean,
    onTrial: (slot: HostSlot | null) => void,
  ): Promise<InstanceGroup<InstanceHandle>> {
    if (hasOwnProcess(spec.config)) requireCodeInstances(spec.name, options.instanceCount);
    const model = new PooledModel({
      spec,
      isDecoupled,
      onCapacity: options.onCapacity,
      onFailed: options.onFailed,
      renewal: options.renewal ?? null,
      onServing: () => this.#moveTried(model),
      onStopping: () => this.#tried.delete(model),
    });
    const counts = this.#counts(model, options.instanceCount);
    if (!model.runsCode) this.#lastBackend = spec.config.backend;
    else if (this.#lastBackend === '') this.#lastBackend = null;
    try {
      let shared = model.runsCode ? this.#codeSlot(model) : this.#startSlot(isDecoupled, false);
      // Nothing waits behind a load that may take long: whichever host is done first takes the next.
      while (shared?.placingCount) {
        const isSlow = await this.#placedOrSlow();
        if (options.signal?.aborted === true) throw calledOff(spec, options.signal);
        shared = this.#startSlot(isDecoupled, isSlow);
      }
      let trial: HostSlot | null = null;
      if (shared === null) trial = await this.#try(model, counts[0]!, options.signal, onTrial);
      else {
        // Nothing else is in there either.
        if (model.runsCode) onTrial(shared);
        await model.place(shared, counts[0]!);
        onTrial(null);
      }
      for (const count of counts.slice(1)) {
        if (options.signal?.aborted === true) throw calledOff(spec, options.signal);
        await model.place(this.#nextSlot(model), count);
      }
      this.#models.set(model.group!, model);
      // Only now: a move and the places above would choose the same host.
      if (trial !== null) this.#keepOrMove(model, trial);
      return model.group!;
    } catch (error) {
      await model.group?.stop();
      throw error;
    }
  }

  /** Loads a model that nobody has tried, in a host that has nothing else. */
  async #try(
    model: PooledModel,
    count: number,
    signal: AbortSignal | undefined,
    onTrial: (slot: HostSlot | null) => void,
  ): Promise<HostSlot> {
    const trial = await this.#trialHost(model, signal);
    onTrial(trial);
    try {
      await model.place(trial, count);
    } finally {
      onTrial(null);
      this.#spares.fill();
    }
    return trial;
  }

  /** A host with nothing in it: the spare one, one that a tried model leaves, or a new one. There are no more of them than loads may be under way. */
  async #trialHost(model: PooledModel, signal: AbortSignal | undefined): Promise<HostSlot> {
    for (;;) {
      if (signal?.aborted === true) throw calledOff(model.spec, signal);
      if (this.#isStopped) throw stopping();
      const spare = model.isDecoupled ? null : this.#spares.take();
      if (spare !== null) return spare;
      const trials = [...this.#hosts].filter(
        (slot) => slot.isDecoupled === model.isDecoupled && !slot.isStopped && !slot.runsCode && !this.#slots.has(slot),
      );
      const isWorthIt = this.#tried.size > 0 || this.#movingCount > 0;
      if (trials.length < (this.#options.loadConcurrency ?? DEFAULT_CONCURRENCY) || !isWorthIt) return this.#newSlot(model.isDecoupled);
      const oldest = this.#tried.keys().next().value;
      if (oldest !== undefined) this.#moveTried(oldest);
      await this.#spares.nextOr(this.#moves);
    }
  }

  #keepOrMove(model: PooledModel, trial: HostSlot): void {
    const isLarge = model.places.get(trial)!.memoryBytes > LARGE_MODEL_BYTES;
    if (isLarge || this.#hasRoom(model.isDecoupled)) this.#slots.add(trial);
    else this.#tried.set(model, trial);
  }

  /** A model that is in service where it was tried goes to a shared host, one such after the other. */
  #moveTried(model: PooledModel): void {
    const trial = this.#tried.get(model);
    if (trial === undefined || !this.#tried.delete(model)) return;
    this.#movingCount++;
    const moved = this.#moves.then(() =>
      model.change(async () => {
        if (this.#isStopped || !model.places.has(trial)) return;
        try {
          if (this.#hasRoom(model.isDecoupled)) this.#slots.add(trial);
          else await model.move(trial, this.#nextSlot(model));
        } catch (error) {
          if (this.#isStopped) return;
          this.#options.log.warn(
            { model: model.key, reason: InferenceError.from(error).message },
            'a model keeps an execution host of its own',
          );
          if (!trial.isStopped) this.#slots.add(trial);
        }
      }),
    );
    // Unloaded meanwhile, it has left.
    this.#moves = moved
      .catch(() => {})
      .finally(() => {
        this.#movingCount--;
      });
  }

  /** Until a load at start has ended: false. True when that takes long. */
  #placedOrSlow(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(true), SLOW_LOAD_MS);
      this.#waitingForStart.push(() => {
        clearTimeout(timer);
        resolve(false);
      });
    });
  }

  /** At start, the host for the next model, busy when all are; null when models that nobody has tried have to be kept apart. */
  #startSlot(isDecoupled: boolean, mayOpen: boolean): HostSlot | null {
    if (this.#isInService) return null;
    const quiet = this.#slotsFor(isDecoupled).filter((slot) => !slot.isServing);
    const least = quiet.reduce<HostSlot | null>(
      (best, slot) => (best === null || slot.placingCount < best.placingCount ? slot : best),
      null,
    );
    if (least !== null && (least.placingCount === 0 || !mayOpen || quiet.length >= this.#startHosts || !this.#hasRoom(isDecoupled)))
      return least;
    if (!this.#hasRoom(isDecoupled)) return null;
    const slot = this.#newSlot(isDecoupled);
    this.#slots.add(slot);
    return slot;
  }

  /** Where further instances of a model go: to the shared host with the fewest models that it is not in, or a new one. */
  #nextSlot(model: PooledModel): HostSlot {
    if (model.runsCode) return this.#codeSlot(model);
    const free = this.#slotsFor(model.isDecoupled).filter((slot) => !model.places.has(slot));
    const load = (slot: HostSlot): number => slot.placements.size + slot.placingCount;
    if (free.length > 0) return free.reduce((fewest, slot) => (load(slot) < load(fewest) ? slot : fewest));
    const slot = this.#newSlot(model.isDecoupled);
    this.#slots.add(slot);
    return slot;
  }

  #counts(model: PooledModel, instanceCount: number): number[] {
    return model.runsCode ? spreadCounts(instanceCount, instanceCount) : spreadCounts(instanceCount, this.#maxHosts);
  }

  /** A process for one instance of a model that is code, which nothing else ever shares. */
  #codeSlot({ isDecoupled, key }: PooledModel): HostSlot {
    return this.#newSlot(isDecoupled, '', { runsCode: true, onLog: codeLog(this.#options.log, key) });
  }

  #slotsFor(isDecoupled: boolean): HostSlot[] {
    return [...this.#slots].filter((slot) => slot.isDecoupled === isDecoupled && !slot.isStopped);
  }

  #hasRoom(isDecoupled: boolean): boolean {
    return this.#slotsFor(isDecoupled).length < this.#maxHosts;
  }

  #newSlot(isDecoupled: boolean, preload = '', more: Partial<ProcessHostOptions> = {}): HostSlot {
    if (this.#isStopped) throw stopping();
    const slot = new HostSlot({ ...this.#hostOptions, isDecoupled, preload, ...more }, this.#options.log, {
      placed: () => {
        for (const resolve of this.#waitingForStart.splice(0)) resolve();
      },
      keepsEmpty: (empty) => {
        if (!this.#spares.offer(empty)) return false;
        this.#slots.delete(empty);
        return true;
      },
      stopped: (gone) => {
        this.#hosts.delete(gone);
        this.#slots.delete(gone);
        this.#spares.drop(gone);
      },
    });
    this.#hosts.add(slot);
    return slot;
  }
}
