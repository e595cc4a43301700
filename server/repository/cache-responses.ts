import { randomUUID } from 'node:crypto';
import type { ModelConfig, ModelEnsemblingStep } from '../../backends/api/model-config.ts';
import type { Clock } from '../inference/clock.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import { CachedScheduler } from '../scheduling/cache/cached-scheduler.ts';
import { loadIdentity, setLoadIdentity } from '../scheduling/cache/load-identity.ts';
import type { ResponseStore } from '../scheduling/cache/response-store.ts';
import { versionText } from '../scheduling/ensemble/ensemble-plan.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';

export interface CacheResponsesOptions {
  readonly config: ModelConfig;
  readonly signature: ModelSignature;
  /** Null: the server has no response cache. */
  readonly responseStore: ResponseStore | null;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly nestedCalls: NestedCalls;
  readonly onFault: (error: unknown) => void;
}

/** The scheduler, behind the response cache where the model's configuration asks for it and the server has one. */
export function cacheResponses(scheduler: Scheduler, options: CacheResponsesOptions): Scheduler {
  const { config, signature, responseStore, reporter, clock, onFault } = options;
  if (responseStore === null) return scheduler;
  // Also of one that is not cached itself: a cached ensemble may call it.
  if (config.ensembleScheduling !== null) setLoadIdentity(signature, ensembleIdentity(options, config.ensembleScheduling.step));
  if (config.responseCache?.enable !== true) return scheduler;
  const identity = (): string => loadIdentity(signature);
  return new CachedScheduler({ inner: scheduler, signature, store: responseStore, identity, reporter, clock, onFault });
}

/** An ensemble answers as the models do that it calls at the moment. */
function ensembleIdentity({ nestedCalls }: CacheResponsesOptions, steps: readonly ModelEnsemblingStep[]): () => string {
  const own = randomUUID();
  const called = steps.flatMap((step) => (step.fallback === null ? [step] : [step, step.fallback]));
  return () => {
    let identity = own;
    for (const { modelName, modelVersion } of called) {
      const model = nestedCalls.find(modelName, versionText(modelVersion));
      identity += model === null ? ' -' : ` ${loadIdentity(model.signature)}`;
    }
    return identity;
  };
}
