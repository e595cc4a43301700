/**
 * A place for a process host: keeps a process there while models live in it, and puts a new one in its place, with the same models, when it dies.
 */

import type { ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { HostEnd, InstanceHandle, LoadedModel } from './execution-host.ts';
import type { ProcessHostOptions } from './host-options.ts';
import type { InstanceGroup } from './instance-group.ts';
import type { InstanceRenewal } from './instance-renewal.ts';
import { modelKey, ProcessHost } from './process-host.ts';

/** The part of a pino logger that hosts use. */
export interface HostLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** What models that are code say at this level; left out: nothing. */
  debug?(fields: object, message: string): void;
}

/** A model version in one slot. */
export class Placement {
  readonly spec: ModelSpec;
  readonly key: string;
  /** How many there are to be; changed by {@link HostSlot.resize}. */
  instanceCount: number;
  /** Null until the model is loaded. */
  group: InstanceGroup<InstanceHandle> | null = null;
  loaded: LoadedModel | null = null;
  channels: InstanceHandle[] = [];
  /** Replacements that ended while they loaded it, one after the other. */
  reloadDeaths = 0;
  /** Null: nobody minds. */
  readonly renewal: InstanceRenewal | null;
  /** Another host has loaded the model before. */
  readonly isRenewed: boolean;
  #memoryBytes = 0;

  constructor(spec: ModelSpec, instanceCount: number, renewal: InstanceRenewal | null, isRenewed: boolean) {
    this.spec = spec;
    this.renewal = renewal;
    this.isRenewed = isRenewed;
    this.key = modelKey(spec);
    this.instanceCount = instanceCount;
  }

  /** As {@link InstanceGroup.memoryBytes}, of this host; while it is being replaced, of the one before. */
  get memoryBytes(): number {
    if (this.loaded !== null) this.#memoryBytes = this.loaded.memoryBytes;
    return this.#memoryBytes;
  }

  /** In service, or to be once its slot has a host again. */
  get isWanted(): boolean {
    return this.group !== null && this.group.failure === null && !this.group.isStopped;
  }
}

/** Replacements that never got ready, one after the other, before the slot's models are given up. */
const MAX_FAILED_STARTS = 5;
/** Ends of a slot's hosts within this time make the next replacement wait longer. */
const BACKOFF_WINDOW_MS = 60_000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;

export interface HostSlotOwner {
  /** A load here has ended, well or not. */
  placed(): void;
  /** The last model has gone. Whether the slot keeps its process, for what comes next; else it stops itself. */
  keepsEmpty(slot: HostSlot): boolean;
  /** It has stopped itself. */
  stopped(slot: HostSlot): void;
}

export class HostSlot {
  readonly placements: Set<Placement> = new Set();
  readonly #options: Partial<ProcessHostOptions>;
  readonly #log: HostLog;
  readonly #owner: HostSlotOwner;
  #host: ProcessHost | null = null;
  /** Not ready yet, which may take until its start has timed out. */
  #starting: ProcessHost | null = null;
  /** What changes the slot happens one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #endTimes: number[] = [];
  /** Placements under way or waiting for their turn: until they have ended the slot is not empty. */
  #placing = 0;
  #isStopped = false;
  #cancelBackoff: (() => void) | null = null;

  constructor(options: Partial<ProcessHostOptions>, log: HostLog, owner: HostSlotOwner) {
    this.#options = options;
    this.#log = log;
    this.#owner = owner;
  }

  /** The host's process id; -1 while there is none. */
  get pid(): number {
    return this.#host?.isAlive === true ? this.#host.pid : -1;
  }

  /** It has stopped, or is about to: nothing can be placed here any more. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Loads under way here, or waiting for their turn. */
  get placingCount(): number {
    return this.#placing;
  }

  /** Which models it is for. */
  get isDecoupled(): boolean {
    return this.#options.isDecoupled === true;
  }

  /** It is for the one instance of a model that is code, and for nothing else. */
  get runsCode(): boolean {
    return this.#options.runsCode === true;
  }

  /** Whether a request may already have gone to a model in here. */
  get isServing(): boolean {
    for (const placement of this.placements) if (placement.group?.isServing === true) return true;
    return false;
  }

  /**
   * Loads a model and creates its instances here, in the host there is or in a new one, and puts them into the group that `groupFor` gives. Rejects as
   * {@link ProcessHost.load} does, the slot then being as it was (with a new process, if the load ended the old one).
   */
  place(placement: Placement, groupFor: (metadata: ModelMetadata) => InstanceGroup<InstanceHandle>): Promise<void> {
    this.#placing++;
    const placed = this.#enqueue(async () => {
      try {
        if (this.#isStopped) throw new InferenceError('UNAVAILABLE', 'the server is stopping');
        const host = await this.#liveHost();
        await this.#load(host, placement, placement.isRenewed);
        // Only now: a load that ends its host is not tried again with the replacement.
        this.placements.add(placement);
        placement.group = groupFor(placement.loaded!.metadata);
        placement.group.add(placement.channels);
        this.#placing--;
      } catch (error) {
        this.#placing--;
        if (this.#isEmpty && !this.#isKept()) await this.#stopEmpty();
        throw error;
      }
    });
    return placed.finally(() => this.#owner.placed());
  }

  /** Starts the process before there is a model for it. */
  warm(): Promise<void> {
    return this.#enqueue(async () => {
      if (!this.#isStopped) await this.#liveHost();
    });
  }

  /**
   * Adds instances of a model that is here, or releases some after what they have in flight. Rejects, with the instances there were, when more cannot be made.
   */
  async resize(placement: Placement, instanceCount: number): Promise<void> {
    let gone: InstanceHandle[] = [];
    await this.#enqueue(async () => {
      const { group, loaded, channels } = placement;
      if (group === null || !placement.isWanted || !this.placements.has(placement)) {
        throw group?.failure ?? new InferenceError('UNAVAILABLE', `model '${placement.key}' is not loaded any more`);
      }
      // Without a host, its replacement makes as many as are wanted by then.
      if (loaded !== null && instanceCount > channels.length) {
        const added = await this.#createInstances(loaded, placement, instanceCount - channels.length);
        await placement.renewal?.beforeService(added);
        placement.channels = [...channels, ...added];
        // Ended meanwhile, the host's end has been told, and its replacement brings all of them.
        if (placement.loaded === loaded) group.add(added);
        else placement.channels = [];
      } else {
        gone = channels.slice(instanceCount);
        placement.channels = channels.slice(0, instanceCount);
        group.remove(gone);
      }
      placement.instanceCount = instanceCount;
    });
    await Promise.all(gone.map((channel) => channel.release()));
  }

  /** Releases a model's instances after what they have in flight, and unloads it. The last one's end is the host's. */
  async remove(placement: Placement): Promise<void> {
    // Outside the queue: a batch in flight may take as long as it may, and a replacement need not wait for it.
    placement.group?.remove(placement.channels);
    await Promise.all(placement.channels.map((channel) => channel.release()));
    // A replacement that nobody waits for need not be waited for.
    if (![...this.placements].some((other) => other.isWanted)) this.#cancelBackoff?.();
    await this.#enqueue(async () => {
      this.placements.delete(placement);
      const { loaded } = placement;
      placement.loaded = null;
      placement.channels = [];
      if (this.#isEmpty && !this.#isKept()) await this.#stopEmpty();
      else await loaded?.unload();
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelBackoff?.();
    await Promise.all([this.#host?.stop(), this.#starting?.stop()]);
    await this.#queue;
    await this.#host?.stop();
  }

  get #isEmpty(): boolean {
    return this.placements.size === 0 && this.#placing === 0;
  }

  #enqueue<Result>(run: () => Promise<Result>): Promise<Result> {
    const ran = this.#queue.then(run);
    this.#queue = ran.catch(() => {});
    return ran;
  }

  #isKept(): boolean {
    return this.#host?.isAlive === true && !this.#isStopped && this.#owner.keepsEmpty(this);
  }

  async #stopEmpty(): Promise<void> {
    this.#isStopped = true;
    await this.#host?.stop();
    this.#owner.stopped(this);
  }

  async #liveHost(): Promise<ProcessHost> {
    if (this.#host?.isAlive === true) return this.#host;
    let host: ProcessHost;
    try {
      host = await ProcessHost.start(this.#options, (starting) => {
        this.#starting = starting;
      });
    } catch (error) {
      if (this.#isStopped) throw new InferenceError('UNAVAILABLE', 'the server is stopping');
      throw error;
    } finally {
      this.#starting = null;
    }
    this.#host = host;
    if (this.#isStopped) {
      await host.stop();
      throw new InferenceError('UNAVAILABLE', 'the server is stopping');
    }
    this.#log.info({ pid: host.pid, transport: host.transport }, 'execution host started');
    void host.ended.then((end) => this.#onEnd(host, end));
    return host;
  }

  async #load(host: ProcessHost, placement: Placement, isRenewed: boolean): Promise<void> {
    const renewal = isRenewed ? placement.renewal : null;
    await renewal?.beforeLoad();
    const loaded = await host.load(placement.spec);
    try {
      const channels = await this.#createInstances(loaded, placement, placement.instanceCount);
      await renewal?.beforeService(channels);
      placement.channels = channels;
    } catch (error) {
      // A host that others serve from goes on, and should not keep what nobody uses.
      await loaded.unload();
      throw error;
    }
    placement.loaded = loaded;
  }

  async #createInstances(loaded: LoadedModel, placement: Placement, count: number): Promise<InstanceHandle[]> {
    const channels: InstanceHandle[] = [];
    const onCapacity = (): void => placement.group?.tellCapacity();
    try {
      for (let i = 0; i < count; i++) {
        channels.push(await (this.isDecoupled ? loaded.createDecoupledInstance(onCapacity) : loaded.createInstance(onCapacity)));
      }
      return channels;
    } catch (error) {
      await Promise.all(channels.map((channel) => channel.release()));
      throw error;
    }
  }

  #onEnd(host: ProcessHost, end: HostEnd): void {
    if (end.expected || this.#isStopped) return;
    this.#log.error({ pid: host.pid, reason: end.reason, model: end.blamed }, 'execution host ended');
    const now = performance.now();
    this.#endTimes = this.#endTimes.filter((time) => now - time < BACKOFF_WINDOW_MS);
    this.#endTimes.push(now);
    for (const placement of this.placements) {
      const { group } = placement;
      group?.remove(placement.channels);
      placement.channels = [];
      placement.loaded = null;
      if (group === null || placement.key !== end.blamed || !group.blame(now)) continue;
      this.#quarantine(placement, `its execution host ended 5 times within a minute, the last time because it ${end.reason}`);
    }
    this.#enqueue(() => this.#replace()).catch((error: unknown) => {
      this.#log.error({ err: error }, 'an execution host could not be replaced');
    });
  }

  /** A new process with the models that are still wanted. Ends when it serves, or when nothing is left to serve. */
  async #replace(): Promise<void> {
    let failedStarts = 0;
    while (!this.#isStopped && this.#host?.isAlive !== true) {
      await this.#backoff();
      if (this.#isStopped) return;
      // Those that are being stopped are removed by whoever stops them.
      for (const placement of this.placements) {
        if (!placement.isWanted && placement.group?.isStopped !== true) this.placements.delete(placement);
      }
      const wanted = [...this.placements].filter((placement) => placement.isWanted);
      if (this.#isEmpty) await this.#stopEmpty();
      if (wanted.length === 0) return;
      try {
        const host = await this.#liveHost();
        failedStarts = 0;
        for (const placement of wanted) await this.#reload(host, placement);
      } catch (error) {
        if (this.#isStopped) return;
        // Ends as it does when it died after all: the loop looks again.
        this.#endTimes.push(performance.now());
        failedStarts++;
        const failure = InferenceError.from(error);
        this.#log.error({ reason: failure.message }, 'an execution host could not be started');
        if (failedStarts < MAX_FAILED_STARTS) continue;
        for (const { group } of this.placements) if (group?.aliveCount === 0) group.fail(failure);
      }
    }
  }

  /** Throws only when the host could not be kept at no fault of the model. */
  async #reload(host: ProcessHost, placement: Placement): Promise<void> {
    if (!host.isAlive || !placement.isWanted) return;
    try {
      await this.#load(host, placement, true);
      placement.reloadDeaths = 0;
      if (host.isAlive && placement.isWanted) placement.group!.add(placement.channels);
    } catch (error) {
      const failure = InferenceError.from(error);
      if (host.isAlive) {
        this.#log.error({ model: placement.key, reason: failure.message }, 'a model could not be loaded again');
        if (placement.group?.aliveCount === 0) placement.group.fail(failure);
      } else if ((await host.ended).blamed === placement.key) {
        // It may have been killed from outside: once more, after the others.
        this.placements.delete(placement);
        this.placements.add(placement);
        placement.reloadDeaths++;
        if (placement.reloadDeaths > 1) this.#quarantine(placement, `loading it again ended its execution host: ${failure.message}`);
      }
    }
  }

  #quarantine(placement: Placement, why: string): void {
    this.#log.error({ model: placement.key }, `model is quarantined: ${why}`);
    placement.group?.fail(
      new InferenceError('UNAVAILABLE', `model '${placement.key}' is quarantined: ${why}; load it again to try once more`, {
        failureReason: 'BACKEND',
      }),
    );
  }

  /** None before the first replacement, so that one fault is mended at once; then doubling. */
  async #backoff(): Promise<void> {
    const now = performance.now();
    const ends = this.#endTimes.filter((time) => now - time < BACKOFF_WINDOW_MS).length;
    if (ends <= 1) return;
    const delayMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (ends - 2));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#cancelBackoff = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#cancelBackoff = null;
  }
}
