import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { ModelVersionFile } from './model-directory.ts';
import type { ModelLoader } from './model-loader.ts';
import type { LifecycleEvents } from './model-swap.ts';
import type { OnDemandOptions } from './on-demand/on-demand-loads.ts';

/** Hears how the first load goes; the start-up report. */
export interface LoadProgress {
  started(total: number): void;
  loading(modelName: string, version: number): void;
  /** `error` is null when it worked. */
  loaded(modelName: string, version: number, error: InferenceError | null): void;
}

export type ControlMode = 'none' | 'poll' | 'explicit';

export interface ModelRepositoryOptions {
  /** Repository directories; or, with `modelFiles`, none. */
  readonly directories: readonly string[];
  /** Model files, served without a repository; their names differ. */
  readonly modelFiles: readonly string[];
  /** `none`: what is there at start is served until the end. `poll`: the directories say what is served. `explicit`: `loadModels` at start, and then what `load` and `unload` say. */
  readonly controlMode: ControlMode;
  /** With `explicit`; '*' alone: all. */
  readonly loadModels: readonly string[];
  readonly loader: ModelLoader;
  /** Whom ensembles find their models by. */
  readonly nestedCalls?: NestedCalls;
  readonly warn: (modelName: string, message: string) => void;
  /** Hears of a model that can't be served, or not any more: beside what `LoadProgress.loaded` tells. */
  readonly unusable: (modelName: string, reason: string) => void;
  readonly onFault: (error: unknown) => void;
  readonly events?: LifecycleEvents;
  readonly configName?: string;
  readonly retryCount?: number;
  /** See `ModelSwapOptions`. */
  readonly keepPreviousMs?: number;
  readonly allowOutsideLinks?: boolean;
  readonly allowUploadedCode?: boolean;
  /** Of all files that a load request brings. */
  readonly maxOverrideBytes?: number;
  /** Models are loaded when they are asked for; null: at start, or when they are told to. */
  readonly onDemand?: Omit<OnDemandOptions, 'models'> | null;
  /** Why a version on disk is not whole yet; with `poll`. */
  readonly whyIncomplete?: (file: ModelVersionFile, config: ModelConfig) => Promise<string | null>;
}
