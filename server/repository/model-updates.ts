import { InferenceError } from '../../proto/inference-error.ts';
import type { DiskModels } from './disk-models.ts';
import type { LoadParameters } from './load-parameters.ts';
import { type ModelDescription, NotWholeYet } from './model-directory.ts';
import type { LoadedState, ModelEntry } from './model-entry.ts';
import { failureReason } from './model-lifecycle.ts';
import type { LifecycleEvents, ModelSwap } from './model-swap.ts';
import type { ModelTree } from './model-tree.ts';

export interface ModelUpdatesOptions {
  readonly disk: DiskModels;
  readonly swap: ModelSwap;
  readonly events: LifecycleEvents;
  readonly warn: (modelName: string, message: string) => void;
  /** Hears of a model that can't be served. */
  readonly unusable: (modelName: string, reason: string) => void;
  /** Its directory was read, whole, in that repository. */
  readonly onRead: (modelName: string, home: string) => void;
  /** What an ensemble consists of is there when this resolves, and stays until what it resolves to is called; of any other model nothing. Rejects when it does not come to be. */
  readonly withModels: (description: ModelDescription) => Promise<() => void>;
  /** What was read serves. */
  readonly onTaken: (modelName: string) => void;
}

/** Takes a model to what the disk, or a load request, says. To be called within `ModelEntry.enqueue`; what is refused, or overtaken, changes nothing. */
export class ModelUpdates {
  readonly #options: ModelUpdatesOptions;

  constructor(options: ModelUpdatesOptions) {
    this.#options = options;
  }

  /** `isAsked`: somebody asked for the load, so that nothing is done where what is on disk serves already; of an ensemble, its models are looked at all the same `withModels`. Rejects as `DiskModels.read` and `ModelSwap.prepare` do. */
  async fromDisk(entry: ModelEntry, isAsked: boolean, signal: AbortSignal, withModels = true): Promise<void> {
    const { disk, onRead } = this.#options;
    if (isAsked && entry.loaded !== null && isLoadedFrom(entry, await disk.look(entry.name))) {
      if (withModels && entry.loaded !== null) (await this.#options.withModels(entry.loaded.description))();
      return;
    }
    await this.#orKeep(entry, signal, async () => {
      if (isAsked) entry.rejected.clear();
      const state = await this.#read(entry, () => disk.read(entry.name, true, entry.rejected));
      onRead(entry.name, state.description.source.root);
      // What has changed, or gone, is not what was rejected.
      for (const [version, look] of entry.rejected) if (state.tree.versions.get(version) !== look) entry.rejected.delete(version);
      entry.seenTree = state.tree.whole;
      await this.#take(entry, state, signal, withModels);
    });
  }

  async fromRequest(entry: ModelEntry, parameters: LoadParameters, signal: AbortSignal): Promise<void> {
    await this.#orKeep(entry, signal, async () => {
      const state = await this.#read(entry, () => this.#options.disk.readOverride(entry.name, parameters));
      try {
        await this.#take(entry, state, signal, true);
      } catch (error) {
        await state.release?.();
        throw error;
      }
    });
  }

  async #read(entry: ModelEntry, read: () => Promise<LoadedState>): Promise<LoadedState> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof NotWholeYet) throw error;
      const failure = causeOf(error);
      this.#options.events.refused(entry.name, 0, 'configuration', failure);
      if (entry.current === null && entry.versions.size === 0) {
        entry.reason = failureReason(failure);
        this.#options.unusable(entry.name, entry.reason);
      }
      throw error;
    }
  }

  /** What serves goes on where an update is refused, and the index says why. */
  async #orKeep(entry: ModelEntry, signal: AbortSignal, update: () => Promise<void>): Promise<void> {
    try {
      await update();
    } catch (error) {
      if (entry.current === null || error instanceof NotWholeYet || signal.aborted) throw error;
      const reason = failureReason(causeOf(error));
      const isListed = [...entry.versions.values()].some((version) => version.isRefusedUpdate);
      if (!isListed) entry.refusal = `an update was refused: ${reason}`;
      this.#options.events.updateRefused(entry.name, reason);
      throw error;
    }
  }

  async #take(entry: ModelEntry, state: LoadedState, signal: AbortSignal, withModels: boolean): Promise<void> {
    const { swap, warn, onTaken } = this.#options;
    for (const warning of state.description.warnings) warn(entry.name, warning);
    const release = withModels ? await this.#options.withModels(state.description) : null;
    try {
      if (signal.aborted) throw signal.reason;
      const prepared = await swap.prepare(entry, state, signal);
      if (signal.aborted) {
        swap.discard(prepared);
        throw signal.reason;
      }
      swap.commit(entry, prepared);
    } finally {
      release?.();
    }
    onTaken(entry.name);
  }
}

/** Whether what serves is what is on disk, or a load request's that the disk has not overtaken since. */
function isLoadedFrom(entry: ModelEntry, tree: ModelTree): boolean {
  const { loaded } = entry;
  if (loaded === null || loaded.diskTree !== tree.whole) return false;
  return loaded.description.versions.every(({ version }) => entry.versions.get(String(version))?.state === 'READY');
}

/** What a failed look at the disk failed of, without the words for whoever asked for the load. */
export function causeOf(error: unknown): InferenceError {
  const failure = InferenceError.from(error);
  return failure.cause instanceof InferenceError ? failure.cause : failure;
}
