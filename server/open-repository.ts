import { resolve } from 'node:path';
import { NestedInference } from './data-plane/nested-inference.ts';
import { validateRequest } from './data-plane/validate-request.ts';
import { HostPool } from './execution/host-pool.ts';
import { systemClock } from './inference/clock.ts';
import type { Logger } from './log.ts';
import { OTHERS } from './metrics/load-counts.ts';
import type { MetricsRegistry } from './metrics/metrics.ts';
import { openResponseStore } from './open-response-store.ts';
import type { ServerOptions } from './options/index.ts';
import { decodeInferRequest } from './protocols/oip-json/decode-request.ts';
import { whyIncomplete } from './repository/files/model-files.ts';
import { ModelLoader } from './repository/model-loader.ts';
import { ModelRepository } from './repository/model-repository.ts';
import type { LifecycleEvents } from './repository/model-swap.ts';
import { RepositoryPoll } from './repository/watch/repository-poll.ts';
import type { ResponseStore } from './scheduling/cache/response-store.ts';
import { ModelCalls } from './scheduling/model-calls.ts';
import { RateLimiter } from './scheduling/rate-limit/rate-limiter.ts';

export interface OpenRepository {
  readonly pool: HostPool;
  readonly repository: ModelRepository;
  /** Null: the server has no response cache. */
  readonly responseStore: ResponseStore | null;
  /** To be started once everything is loaded; null where the control mode is not `poll`. */
  readonly poll: RepositoryPoll | null;
}

/** More at once would only make each of them later. */
const MAX_PARALLEL_LOADS = 64;

/** Wires what has to do with models, down to their hosts. Nothing is loaded yet. */
export function openRepository(
  options: ServerOptions,
  metrics: MetricsRegistry,
  log: Logger,
  onFault: (error: unknown) => void,
): OpenRepository {
  const clock = systemClock;
  const directories = options.modelRepository.map((directory) => resolve(directory));
  const warn = (model: string, message: string): void => log.warn({ model }, message);
  const nested = new NestedInference(clock, onFault);
  const pool = new HostPool({
    calls: new ModelCalls(nested),
    kind: options.executionHost,
    executionTimeoutMs: options.executionTimeoutMs,
    loadTimeoutMs: options.loadTimeoutMs,
    maxHostMemoryBytes: options.hostMemoryBytes,
    tensorMemoryBytes: options.tensorMemoryBytes,
    backendSettings: backendSettings(options),
    loadConcurrency: Math.min(options.modelLoadThreadCount, MAX_PARALLEL_LOADS),
    keepsSpareHost: options.modelControlMode !== 'none' || options.loadOnDemand,
    log,
  });
  const responseStore = openResponseStore(options, log);
  metrics.cacheCounts = responseStore?.counts ?? null;
  const loader = new ModelLoader({
    pool,
    metrics,
    clock,
    maxQueueSize: options.maxQueueSize,
    maxQueueTimeNs: options.learnedBatching ? options.maxQueueTimeMs * 1e6 : null,
    defaultMaxBatchSize: options.defaultMaxBatchSize,
    disableAutoComplete: options.disableAutoCompleteConfig,
    nestedCalls: nested,
    responseStore,
    rateLimiter: options.rateLimit === 'off' ? null : new RateLimiter(options.rateLimitResource, clock),
    onFault,
    warn,
    fileRules: { allowOutsideLinks: options.allowOutsideLinks, maxModelBytes: options.maxModelBytes },
    requestReader: { decodeRequest: (body, signature, caller) => decodeInferRequest(body, '', signature, caller), validateRequest },
  });
  const repository: ModelRepository = new ModelRepository({
    directories,
    modelFiles: options.modelFiles.map((file) => resolve(file)),
    controlMode: options.modelControlMode,
    loadModels: options.loadModel,
    loader,
    warn,
    unusable: (model, reason) => log.error({ model, reason }, 'model is UNAVAILABLE'),
    onFault,
    events: lifecycleEvents(metrics, log, (model) => repository.isOnDisk(model)),
    configName: options.modelConfigName ?? '',
    retryCount: options.modelLoadRetryCount,
    keepPreviousMs: options.modelControlMode === 'none' ? 0 : options.rollbackKeepSecs * 1000,
    allowOutsideLinks: options.allowOutsideLinks,
    allowUploadedCode: options.allowUploadedCode,
    maxOverrideBytes: options.maxModelBytes,
    onDemand: options.loadOnDemand
      ? {
          maxWaiting: options.loadOnDemandMaxWaiting,
          timeoutMs: options.loadOnDemandTimeoutMs,
          memoryBudgetBytes: options.modelMemoryBudget,
          idleUnloadMs: options.idleUnloadSecs * 1000,
          clock,
          onFault,
          // Of the others the repository says it: what their files or their load failed of.
          onRefused: (model, { code, message }) => {
            if (code === 'INTERNAL') log.error({ model, reason: message }, 'model could not be loaded on demand');
          },
        }
      : null,
    whyIncomplete,
    nestedCalls: nested,
  });
  nested.connect(repository);
  const poll =
    options.modelControlMode === 'poll'
      ? new RepositoryPoll({
          repository,
          clock,
          onFault,
          watch: {
            directories,
            pollMs: options.repositoryPollSecs * 1000,
            settleMs: options.repositorySettleMs,
            onProblem: (directory, error) =>
              log.warn({ directory, reason: String(error) }, 'the repository could not be read; what serves goes on'),
            note: (sentence) => log.warn(sentence),
          },
        })
      : null;
  return { pool, repository, responseStore, poll };
}

function lifecycleEvents({ loadCounts }: MetricsRegistry, log: Logger, isOnDisk: (model: string) => boolean): LifecycleEvents {
  // Clients who may load models choose the names of those that they bring; how many series there are is not theirs to choose.
  const label = (model: string): string => (isOnDisk(model) ? model : OTHERS);
  return {
    loading: (model, version) => log.debug({ model, version }, 'loading'),
    loaded: (model, version) => {
      loadCounts.loaded(label(model));
      log.debug({ model, version }, 'loaded beside what serves');
    },
    refused: (model, version, stage, error) => {
      loadCounts.refused(label(model), stage);
      log.debug({ model, version, stage, reason: error.message }, 'load refused');
    },
    switched: (model, from, to) => {
      if (from.length === 0) return;
      loadCounts.switched(label(model));
      log.info({ model, from, to }, 'versions switched');
    },
    unloaded: (model, version) => log.info({ model, version }, 'unloaded'),
    updateRefused: (model, reason) => log.error({ model, reason }, 'an update was refused; what serves goes on'),
  };
}

/** `--backend-config` by backend. A setting without a backend is for all of them, and only one takes any. */
function backendSettings(options: ServerOptions): Record<string, Record<string, string>> {
  const settings: Record<string, Record<string, string>> = {};
  for (const { backend, setting, value } of options.backendConfig) {
    settings[backend === '' ? 'onnxruntime' : backend] ??= {};
    settings[backend === '' ? 'onnxruntime' : backend]![setting] = value;
  }
  return settings;
}
