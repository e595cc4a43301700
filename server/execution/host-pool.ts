/**
 * All execution hosts of a server. Models share processes: a thousand small models must not mean a thousand processes.
 *
 * Which process: a model is first loaded where nothing serves yet, so that a file that crashes its loader costs no request. At start that is one process
 * for everything. Later it is a new process, which stays, with the new model in service, until there are `maxHosts`; from then on the new process only tries
 * the model, which is then loaded into the serving process that has the fewest. A process without models ends.
 */

import { availableParallelism } from 'node:os';
import type { ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from './decoupled-execution.ts';
import type { HostKind, InstanceChannel, InstanceHandle } from './execution-host.ts';
import { completeHostOptions, type ProcessHostOptions } from './host-options.ts';
import { type HostLog, HostSlot, Placement } from './host-slot.ts';
import { InlineHost } from './inline-host.ts';
import { InstanceGroup } from './instance-group.ts';
import { modelKey } from './process-host.ts';

export interface HostPoolOptions extends Partial<Omit<ProcessHostOptions, 'memoryBytes' | 'onLog' | 'isDecoupled'>> {
  /** Where models run that don't say it themselves. */
  readonly kind: HostKind;
  /** Tensor memory of each host; see {@link ProcessHostOptions.memoryBytes}. */
  readonly tensorMemoryBytes: number;
  /** Processes, beside one that tries a model out; as many again for decoupled models, which have processes of their own. */
  readonly maxHosts?: number;
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
}

/** More would be a mistake in a configuration: each holds memory of its own. */
const MAX_INSTANCES = 1024;

export class HostPool {
  readonly #options: HostPoolOptions;
  readonly #hostOptions: Partial<ProcessHostOptions>;
  readonly #maxHosts: number;
  readonly #slots: Set<HostSlot> = new Set();
  readonly #trials: Set<HostSlot> = new Set();
  #inline: InlineHost | null = null;
  /** Loads happen one after the other: each decides by what the ones before have left. */
  #queue: Promise<unknown> = Promise.resolve();
  #isStopped = false;

  constructor(options: HostPoolOptions) {
    const { kind: _kind, tensorMemoryBytes, maxHosts, log, ...hostOptions } = options;
    this.#options = options;
    this.#maxHosts = Math.max(1, maxHosts ?? Math.max(4, availableParallelism()));
    this.#hostOptions = {
      ...hostOptions,
      memoryBytes: tensorMemoryBytes,
      onLog: (pid, text) => {
        for (const line of text.split('\n')) if (line.trim() !== '') log.warn({ pid }, line.slice(0, 2000));
      },
    };
    // A wrong option is an error at start, not at the first load.
    completeHostOptions(this.#hostOptions);
  }

  /** Process ids of the hosts in service. */
  get pids(): number[] {
    return [...this.#slots, ...this.#trials].map((slot) => slot.pid).filter((pid) => pid > 0);
  }

  /**
   * Loads a model version and creates its instances. Rejects with the backend's error, or UNAVAILABLE when the load ended its host; other models are
   * unharmed or, where they were loaded beside it and don't serve yet, loaded again.
   */
  load(spec: ModelSpec, options: PooledModelOptions): Promise<InstanceGroup<InstanceChannel>> {
    return this.#enqueueLoad(spec, options, false) as Promise<InstanceGroup<InstanceChannel>>;
  }

  /** As {@link load}, for a model whose configuration says that it is decoupled. Rejects with INVALID_ARGUMENT when its backend can't do that. */
  loadDecoupled(spec: ModelSpec, options: PooledModelOptions): Promise<InstanceGroup<DecoupledChannel>> {
    return this.#enqueueLoad(spec, options, true) as Promise<InstanceGroup<DecoupledChannel>>;
  }

  #enqueueLoad(spec: ModelSpec, options: PooledModelOptions, isDecoupled: boolean): Promise<InstanceGroup<InstanceHandle>> {
    const { instanceCount } = options;
    if (!(Number.isInteger(instanceCount) && instanceCount >= 1 && instanceCount <= MAX_INSTANCES)) {
      const text = `model '${spec.name}' asks for ${instanceCount} instances; instance_group counts must sum up to 1 to ${MAX_INSTANCES}`;
      return Promise.reject(new InferenceError('INVALID_ARGUMENT', text));
    }
    const loaded = this.#queue.then(() => {
      if (this.#isStopped) throw new InferenceError('UNAVAILABLE', 'the server is stopping');
      return (options.kind ?? this.#options.kind) === 'inline'
        ? this.#loadInline(spec, options, isDecoupled)
        : this.#loadInProcesses(spec, options, isDecoupled);
    });
    this.#queue = loaded.catch(() => {});
    return loaded;
  }

  /** Everything loaded so far may get requests from now on; a group that was asked for an instance is in service anyway. */
  putInService(): void {
    for (const slot of this.#slots) for (const placement of slot.placements) if (placement.group !== null) placement.group.isServing = true;
  }

  /** Ends all hosts, whatever is in flight. Resolves when no process is left. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([...this.#slots, ...this.#trials].map((slot) => slot.stop()));
    await this.#queue;
    await Promise.all([...this.#slots, ...this.#trials].map((slot) => slot.stop()));
    await this.#inline?.stop();
  }

  async #loadInline(spec: ModelSpec, options: PooledModelOptions, isDecoupled: boolean): Promise<InstanceGroup<InstanceHandle>> {
    this.#inline ??= new InlineHost({ memoryBytes: this.#options.tensorMemoryBytes, backendSettings: this.#options.backendSettings ?? {} });
    const loaded = await this.#inline.load(spec);
    const group = new InstanceGroup<InstanceHandle>({
      key: modelKey(spec),
      metadata: loaded.metadata,
      onCapacity: options.onCapacity,
      onFailed: options.onFailed,
      onStop: async () => {
        group.remove(channels);
        await Promise.all(channels.map((channel) => channel.release()));
        await loaded.unload();
      },
    });
    const channels: InstanceHandle[] = [];
    try {
      for (let i = 0; i < options.instanceCount; i++) {
        channels.push(await (isDecoupled ? loaded.createDecoupledInstance(group.tellCapacity) : loaded.createInstance(group.tellCapacity)));
      }
    } catch (error) {
      await group.stop();
      throw error;
    }
    group.add(channels);
    return group;
  }

  async #loadInProcesses(spec: ModelSpec, options: PooledModelOptions, isDecoupled: boolean): Promise<InstanceGroup<InstanceHandle>> {
    const spread = Math.min(options.instanceCount, this.#maxHosts);
    const counts = Array.from({ length: spread }, (_, i) => Math.ceil((options.instanceCount - i) / spread));
    const placed = new Map<HostSlot, Placement>();
    let group: InstanceGroup<InstanceHandle> | null = null;
    // From the first host on that has the model, its death is mended as any other's.
    const groupFor = (metadata: ModelMetadata): InstanceGroup<InstanceHandle> => {
      group ??= new InstanceGroup<InstanceHandle>({
        key: modelKey(spec),
        metadata,
        onCapacity: options.onCapacity,
        onFailed: options.onFailed,
        onStop: async () => {
          await Promise.all([...placed].map(([slot, placement]) => slot.remove(placement)));
        },
      });
      return group;
    };
    try {
      await this.#placeFirst(spec, counts[0]!, isDecoupled, placed, groupFor);
      for (const count of counts.slice(1)) {
        const slot = this.#nextSlot(isDecoupled, placed);
        await this.#place(slot, spec, count, placed, groupFor);
      }
      return group!;
    } catch (error) {
      await (group as InstanceGroup<InstanceHandle> | null)?.stop();
      throw error;
    }
  }

  async #place(
    slot: HostSlot,
    spec: ModelSpec,
    count: number,
    placed: Map<HostSlot, Placement>,
    groupFor: (metadata: ModelMetadata) => InstanceGroup<InstanceHandle>,
  ): Promise<void> {
    const placement = new Placement(spec, count);
    await slot.place(placement, groupFor);
    placed.set(slot, placement);
  }

  /** Loads a model that nobody has tried yet, without harm to what serves. */
  async #placeFirst(
    spec: ModelSpec,
    count: number,
    isDecoupled: boolean,
    placed: Map<HostSlot, Placement>,
    groupFor: (metadata: ModelMetadata) => InstanceGroup<InstanceHandle>,
  ): Promise<void> {
    const slots = this.#slotsFor(isDecoupled);
    const quiet = slots.find((slot) => !slot.isServing);
    if (quiet !== undefined || slots.length < this.#maxHosts) {
      await this.#place(quiet ?? this.#newSlot(this.#slots, isDecoupled), spec, count, placed, groupFor);
      return;
    }
    const trial = this.#newSlot(this.#trials, isDecoupled);
    const tried = new Placement(spec, 1);
    await trial.place(tried, () => null);
    await trial.remove(tried);
    await this.#place(this.#nextSlot(isDecoupled, placed), spec, count, placed, groupFor);
  }

  /** Where the next instances of a model go that has some in `taken`: to the host with the fewest models, or a new one. */
  #nextSlot(isDecoupled: boolean, taken: ReadonlyMap<HostSlot, Placement>): HostSlot {
    const free = this.#slotsFor(isDecoupled).filter((slot) => !taken.has(slot));
    if (free.length === 0) return this.#newSlot(this.#slots, isDecoupled);
    return free.reduce((fewest, slot) => (slot.placements.size < fewest.placements.size ? slot : fewest));
  }

  #slotsFor(isDecoupled: boolean): HostSlot[] {
    return [...this.#slots].filter((slot) => slot.isDecoupled === isDecoupled && !slot.isStopped);
  }

  #newSlot(set: Set<HostSlot>, isDecoupled: boolean): HostSlot {
    const slot = new HostSlot({ ...this.#hostOptions, isDecoupled }, this.#options.log, (empty) => set.delete(empty));
    set.add(slot);
    return slot;
  }
}
