import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { type DiskModels, DUPLICATE } from './disk-models.ts';
import { modelsOfSteps } from './ensembles/compose-ensemble.ts';
import { NotWholeYet } from './model-directory.ts';
import type { LoadedState, ModelEntry } from './model-entry.ts';
import { failureReason } from './model-lifecycle.ts';
import { causeOf } from './model-updates.ts';

export interface FirstModelsOptions {
  readonly disk: DiskModels;
  /** Names on disk, and the repositories that have each. */
  readonly onDisk: ReadonlyMap<string, readonly string[]>;
  /** Whether somebody will ask what has changed since. */
  readonly withTree: boolean;
  /** The model's entry, made where there is none. */
  readonly entry: (name: string) => ModelEntry;
  /** Hears of a model that is still being written. */
  readonly notWhole: (name: string, why: string) => void;
  readonly unusable: (name: string, reason: string) => void;
}

/** Reads what is to be loaded at start: the models of `names`, and those that ensembles among them consist of. One that cannot be read has its reason in its entry. */
export async function readFirstModels(names: readonly string[], options: FirstModelsOptions): Promise<LoadedState[]> {
  const { onDisk, entry } = options;
  const states: LoadedState[] = [];
  const all = new Set(names);
  // Names that are added on the way have their turn too.
  for (const name of all) {
    try {
      const state = await readFirst(name, options);
      states.push(state);
      for (const model of modelsOfSteps(state.description.config)) {
        if (all.has(model) || !onDisk.has(model)) continue;
        all.add(model);
        entry(model).isForEnsembles = true;
      }
    } catch (error) {
      const failure = causeOf(error);
      if (error instanceof NotWholeYet) {
        options.notWhole(name, failure.message);
        continue;
      }
      const known = entry(name);
      known.reason = failureReason(failure);
      known.isSinceStart = true;
      options.unusable(name, known.reason);
    }
  }
  return states;
}

async function readFirst(name: string, { disk, onDisk, withTree, entry }: FirstModelsOptions): Promise<LoadedState> {
  const homes = onDisk.get(name) ?? [];
  if (homes.length > 1) throw invalidArgument(DUPLICATE);
  if (homes.length === 0) throw invalidArgument(`no directory of that name${didYouMean(name, onDisk.keys())}`);
  const state = await disk.read(name, withTree);
  entry(name).seenTree = state.tree.whole;
  return state;
}
