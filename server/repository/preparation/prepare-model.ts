import type { DecoupledChannel } from '../../execution/decoupled-execution.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { Clock } from '../../inference/clock.ts';
import type { Model } from '../model.ts';
import type { ModelSource } from '../model-source.ts';
import { runGoldenChecks } from './golden-check.ts';
import { ModelFileReader } from './model-file-reader.ts';
import { PreparationRun } from './preparation-run.ts';
import type { RequestReader } from './request-reader.ts';
import { runWarmupRequests, runWarmupSamples } from './warm-up.ts';

export interface PrepareOptions extends RequestReader {
  readonly clock: Clock;
  /** Called before each stage that the model has. */
  onStage(stage: PrepareStage): void;
  /** Warm-up and golden files may be links that lead out of the repository. Default false. */
  readonly allowOutsideLinks?: boolean;
  /** For all stages together. */
  readonly timeoutMs: number;
}

export type PrepareStage = 'warm_up' | 'golden_check';

/**
 * Does to a loaded model what its configuration asks for before it goes into service: `model_warmup`, `warmup_requests`, `golden_check`, in this
 * order. Counted in no statistics. Rejects with an InferenceError that names the sample, the file or the check, and why; the caller then stops
 * the model.
 */
export async function prepareModel(model: Model, source: ModelSource, options: PrepareOptions): Promise<void> {
  const { modelWarmup, warmupRequests, goldenCheck } = model.config;
  if (modelWarmup.length + warmupRequests.length + goldenCheck.length === 0) return;
  const files = new ModelFileReader(source, options.allowOutsideLinks ?? false);
  const run = new PreparationRun(model, options.clock, options.timeoutMs);
  try {
    if (modelWarmup.length + warmupRequests.length > 0) options.onStage('warm_up');
    await runWarmupSamples(run, files, options);
    await runWarmupRequests(run, files, options);
    if (goldenCheck.length > 0) options.onStage('golden_check');
    await runGoldenChecks(run, files, options);
  } finally {
    run.end();
  }
}

/** Warms up instances that a model got after it was loaded, before they serve. Rejects as {@link prepareModel}. */
export async function warmUpInstances(
  model: Model,
  channels: readonly (InstanceChannel | DecoupledChannel)[],
  source: ModelSource,
  options: Omit<PrepareOptions, 'onStage'>,
): Promise<void> {
  if (model.config.modelWarmup.length + model.config.warmupRequests.length === 0) return;
  const files = new ModelFileReader(source, options.allowOutsideLinks ?? false);
  const run = new PreparationRun(model, options.clock, options.timeoutMs, channels);
  try {
    await runWarmupSamples(run, files, options);
    await runWarmupRequests(run, files, options);
  } finally {
    run.end();
  }
}
