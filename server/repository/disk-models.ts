import { join } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, type StatusCode } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { runsCode } from '../execution/runs-code.ts';
import { listModels } from './list-models.ts';
import type { LoadParameters } from './load-parameters.ts';
import {
  describeModelFile,
  directorySource,
  findModelDirectory,
  type ModelDescription,
  type ModelVersionFile,
  NotWholeYet,
  readModelDirectory,
} from './model-directory.ts';
import type { LoadedState } from './model-entry.ts';
import type { ModelSource } from './model-source.ts';
import { type ModelTree, readModelTree } from './model-tree.ts';
import { stageOverride } from './override/override-directory.ts';

export interface DiskModelsOptions {
  /** Repository directories; or, with `modelFiles`, none. */
  readonly directories: readonly string[];
  /** Model files, served without a repository; their names differ. */
  readonly modelFiles: readonly string[];
  /** See `ReadDirectoryOptions`. */
  readonly configName: string;
  readonly allowOutsideLinks: boolean;
  readonly whyIncomplete: ((file: ModelVersionFile, config: ModelConfig) => Promise<string | null>) | null;
  /** Models that are code are run when a load request brings their files. */
  readonly allowUploadedCode: boolean;
  /** Of all files that one load request brings. */
  readonly maxOverrideBytes: number;
  readonly onFault: (error: unknown) => void;
}

export const DUPLICATE = 'model appears in two or more repositories: rename it in one of them, or remove it there';

const NO_TREE: ModelTree = { config: '', common: '', versions: new Map(), whole: '' };

/** The models that there are to load: those of the repositories, the files, and what load requests bring. Opens no model file. */
export class DiskModels {
  readonly #options: DiskModelsOptions;

  constructor(options: DiskModelsOptions) {
    this.#options = options;
  }

  /** Names, and the repositories that have each. Rejects with the file system's error when a repository cannot be listed. */
  async list(): Promise<Map<string, string[]>> {
    const { directories, modelFiles } = this.#options;
    return modelFiles.length === 0 ? listModels(directories) : new Map(modelFiles.map((file) => [describeModelFile(file).name, ['']]));
  }

  /** How the model's directory looks now. Rejects as {@link read}. */
  async look(name: string): Promise<ModelTree> {
    const source = await this.#source(name);
    return this.#orPollFailure(name, () => readModelTree(source.path));
  }

  /**
   * What the model's directory says. Rejects with NOT_FOUND when there is no such model, with the reason's code (INVALID_ARGUMENT, mostly) when its configuration cannot be used or there is more than one; with {@link NotWholeYet}.
   * `withTree` false: nobody will ask whether it changed since. `rejected`: versions that are passed over while their directories look like this.
   */
  async read(name: string, withTree: boolean = true, rejected: ReadonlyMap<number, string> = new Map()): Promise<LoadedState> {
    const source = await this.#source(name);
    return this.#orPollFailure(name, async () => {
      // Before the files are read: what changes while they are is seen the next time.
      const tree = withTree ? await readModelTree(source.path) : NO_TREE;
      const passedOver = new Set([...rejected.keys()].filter((version) => rejected.get(version) === tree.versions.get(version)));
      return { description: await this.#describe(source, passedOver), tree, diskTree: tree.whole, release: null };
    });
  }

  /** What a load request says: another configuration for what is on disk, or files of its own, put into a directory that the state's `release` removes. */
  async readOverride(name: string, { config, files }: LoadParameters): Promise<LoadedState> {
    const { directories, modelFiles, maxOverrideBytes } = this.#options;
    if (files.size === 0) {
      const state = await this.#source(name);
      if (state.kind === 'file')
        throw pollFailure(name, 'a single model file takes no configuration; serve a repository', 'INVALID_ARGUMENT');
      return this.#orPollFailure(name, async () => {
        const tree = await readModelTree(state.path);
        return { description: await this.#describe({ ...state, config }), tree, diskTree: tree.whole, release: null };
      });
    }
    const homes = modelFiles.length === 0 ? await findModelDirectory(directories, name) : [];
    const staged = await stageOverride(name, files, { maxBytes: maxOverrideBytes });
    const release = (): Promise<void> => staged.remove();
    try {
      return await this.#orPollFailure(name, async () => {
        const diskTree = homes.length === 1 ? (await readModelTree(join(homes[0]!, name))).whole : '';
        const tree = await readModelTree(staged.path);
        const description = await this.#describe({ name, kind: 'override', path: staged.path, root: staged.root, config });
        if (!this.#options.allowUploadedCode && runsCode(description.config)) throw codeRefused(description.config.backend);
        return { description, tree, diskTree, release };
      });
    } catch (error) {
      await release();
      throw error;
    }
  }

  #describe(source: ModelSource, passedOver: ReadonlySet<number> = new Set()): Promise<ModelDescription> {
    const { configName, allowOutsideLinks, whyIncomplete } = this.#options;
    if (source.kind === 'file') return Promise.resolve(describeModelFile(source.path));
    return readModelDirectory(source, {
      configName,
      allowOutsideLinks,
      passedOver,
      whyIncomplete: source.kind === 'override' ? null : whyIncomplete,
    });
  }

  async #source(name: string): Promise<ModelSource> {
    const { directories, modelFiles } = this.#options;
    if (modelFiles.length > 0) {
      const sources = modelFiles.map((file) => describeModelFile(file).source);
      const source = sources.find((one) => one.name === name);
      if (source !== undefined) return source;
      const [first] = sources;
      const served =
        sources.length === 1
          ? `one file, the model '${first!.name}'`
          : `${sources.length} files${didYouMean(
              name,
              sources.map((one) => one.name),
            )}`;
      throw pollFailure(name, `the server serves ${served}`, 'NOT_FOUND');
    }
    const homes = await findModelDirectory(directories, name);
    if (homes.length === 1) return directorySource(homes[0]!, name);
    if (homes.length > 1)
      throw pollFailure(name, 'it appears in two or more repositories: rename it in one of them, or remove it there', 'INVALID_ARGUMENT');
    const names = (await this.list().catch(() => new Map<string, string[]>())).keys();
    throw pollFailure(name, `no directory of that name${didYouMean(name, names)}`, 'NOT_FOUND');
  }

  async #orPollFailure<Result>(name: string, run: () => Promise<Result>): Promise<Result> {
    try {
      return await run();
    } catch (error) {
      if (error instanceof NotWholeYet) throw error;
      if (!(error instanceof InferenceError)) this.#options.onFault(error);
      const failure = InferenceError.from(error);
      throw pollFailure(name, failure.message, failure.code, failure);
    }
  }
}

/** As Triton words it; there it is always INTERNAL. */
function pollFailure(name: string, why: string, code: StatusCode, cause?: InferenceError): InferenceError {
  return new InferenceError(code, `failed to load '${name}', failed to poll from model repository: ${why}`, { cause });
}

function codeRefused(backend: string): InferenceError {
  return new InferenceError(
    'PERMISSION_DENIED',
    `the load request brings files of a model that is code (backend '${backend}'), which would run as the server's user; put the model into the repository, or start the server with --allow-uploaded-code`,
  );
}
