import { stat } from 'node:fs/promises';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { InstanceChannel, InstanceHandle } from '../execution/execution-host.ts';
import type { HostPool } from '../execution/host-pool.ts';
import { InstanceGroup } from '../execution/instance-group.ts';
import type { Clock } from '../inference/clock.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { MetricsRegistry } from '../metrics/metrics.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { autoCompleteConfig } from '../model-config/auto-complete-config.ts';
import type { ResponseStore } from '../scheduling/cache/response-store.ts';
import type { RateLimiter } from '../scheduling/rate-limit/rate-limiter.ts';
import { isDecoupled } from './create-scheduler.ts';
import { composeEnsemble } from './ensembles/compose-ensemble.ts';
import { checkModelFiles, type FileRules } from './files/model-files.ts';
import type { RateLimits } from './limit-instances.ts';
import { Model, type ModelInit } from './model.ts';
import type { ModelDescription, ModelVersionFile } from './model-directory.ts';
import { readInitialStates } from './preparation/initial-states.ts';
import { ModelFileReader } from './preparation/model-file-reader.ts';
import { prepareModel, warmUpInstances } from './preparation/prepare-model.ts';
import type { RequestReader } from './preparation/request-reader.ts';
import { shareIdentity } from './share-identity.ts';

export interface ModelLoaderOptions {
  readonly pool: HostPool;
  readonly metrics: MetricsRegistry;
  readonly clock: Clock;
  /** Queue bound of a model whose configuration gives none. */
  readonly maxQueueSize: number;
  /** Longest wait of a request without a deadline, where the model's configuration gives none, ns. Left out or null: nothing is learned of any model's speed. */
  readonly maxQueueTimeNs?: number | null;
  /** max_batch_size of a model that can batch and whose configuration does not say. */
  readonly defaultMaxBatchSize: number;
  /** Take nothing from the model file that its configuration leaves out. */
  readonly disableAutoComplete: boolean;
  readonly nestedCalls: NestedCalls;
  /** Left out or null: the server has no response cache. */
  readonly responseStore?: ResponseStore | null;
  /** Left out or null: rate_limiter has no effect. */
  readonly rateLimiter?: RateLimiter | null;
  readonly onFault: (error: unknown) => void;
  readonly warn?: (modelName: string, message: string) => void;
  readonly fileRules?: FileRules;
  /** Reads the requests of warm-ups and golden checks; without it a model is not prepared. */
  readonly requestReader?: RequestReader;
  /** For the warm-up and the checks of one version together. */
  readonly preparationTimeoutMs?: number;
}

const DEFAULT_RULES: FileRules = { allowOutsideLinks: false, maxModelBytes: 64 * 2 ** 30 };
const DEFAULT_PREPARATION_MS = 300_000;

/** How far a load has come: what it failed in, when it fails. */
export type LoadStage = 'configuration' | 'files' | 'load' | 'warm_up' | 'golden_check';

/** The one family whose buckets a model may choose (reference section 8.4). */
const FIRST_RESPONSE_FAMILY = 'nv_inference_first_response_histogram_ms';

/** Turns a model version on disk into one in service. */
export class ModelLoader {
  readonly #options: ModelLoaderOptions;

  constructor(options: ModelLoaderOptions) {
    this.#options = options;
  }

  /**
   * Loads the version in its hosts and completes its configuration by what the file says. `onFailed` is called at most once, later, when its instances
   * are gone for good.
   *
   * @throws InferenceError: the file or the configuration is at fault, or the host died over it.
   */
  async load(
    description: ModelDescription,
    file: ModelVersionFile,
    onFailed: (error: InferenceError) => void,
    onStage: (stage: LoadStage) => void = () => {},
    signal: AbortSignal | null = null,
  ): Promise<Model> {
    const limits = this.#limitsOf(description);
    try {
      return await this.#load(description, file, onFailed, onStage, signal, limits);
    } catch (error) {
      limits?.registered.remove();
      throw error;
    }
  }

  async #load(
    description: ModelDescription,
    file: ModelVersionFile,
    onFailed: (error: InferenceError) => void,
    onStage: (stage: LoadStage) => void,
    signal: AbortSignal | null,
    limits: RateLimits | null,
  ): Promise<Model> {
    const { pool, clock } = this.#options;
    const { config, name } = description;
    const startedNs = clock.nowNs();
    onStage('files');
    await requireFile(file, config);
    const files = await unlessAborted(checkModelFiles(description.source, file, config, this.#options.fileRules ?? DEFAULT_RULES), signal);
    onStage('load');
    // The scheduler is made of the completed configuration, which the load brings: until then nobody waits for an instance.
    let model: Model | null = null;
    const spec = { name, version: file.version, modelPath: file.modelPath, config };
    const pooled = {
      instanceCount: instanceCountOf(config),
      onCapacity: () => model?.scheduler.poke(),
      onFailed,
      ...(signal === null ? {} : { signal }),
      renewal: {
        beforeLoad: () => files.assertSameModel(),
        beforeService: (channels: readonly InstanceHandle[]) =>
          model === null ? Promise.resolve() : this.#warmUp(model, channels, description),
      },
    };
    const instances =
      config.ensembleScheduling !== null
        ? noInstances(`${name}:${file.version}`)
        : isDecoupled(config)
          ? await pool.loadDecoupled(spec, pooled)
          : await pool.load(spec, pooled);
    try {
      if (this.#options.disableAutoComplete && (config.input.length === 0 || config.output.length === 0)) {
        throw invalidArgument(
          `model '${name}': the configuration lists no ${config.input.length === 0 ? 'input' : 'output'}, and taking it from the model file is switched off (--disable-auto-complete-config)`,
        );
      }
      const { defaultMaxBatchSize, nestedCalls } = this.#options;
      const complete =
        config.ensembleScheduling !== null
          ? composeEnsemble(config, description.labels, nestedCalls)
          : { config: autoCompleteConfig(config, instances.metadata, { defaultMaxBatchSize }), labels: description.labels, plan: null };
      const { requestReader, fileRules = DEFAULT_RULES, preparationTimeoutMs: timeoutMs = DEFAULT_PREPARATION_MS } = this.#options;
      const initialStates = await readInitialStates(complete.config, new ModelFileReader(description.source, fileRules.allowOutsideLinks));
      model = this.#makeModel(file, { ...complete, initialStates }, instances, files.byteLength, limits);
      if (config.ensembleScheduling === null) instances.limitActive(activeCountOf(config));
      if (requestReader !== undefined) {
        const { allowOutsideLinks } = fileRules;
        await unlessAborted(
          prepareModel(model, description.source, { ...requestReader, clock, onStage, timeoutMs, allowOutsideLinks }),
          signal,
        );
      }
      if (signal?.aborted === true) throw signal.reason;
      if (this.#options.responseStore?.isShared === true) await unlessAborted(shareIdentity(model, files.modelPaths), signal);
      onStage('files');
      // What was checked is what was loaded, and what it was tried with.
      await unlessAborted(files.assertUnchanged(), signal);
      model.reporter.loadDurationSecs = (clock.nowNs() - startedNs) / 1e9;
      return model;
    } catch (error) {
      // What runs there may never end.
      if (signal?.aborted === true) pool.discard(instances).catch(this.#options.onFault);
      else await instances.stop();
      if (!(error instanceof InferenceError)) this.#options.onFault(error);
      throw InferenceError.from(error);
    }
  }

  /** An ensemble, of the models that serve now: there is nothing to wait for. Throws as {@link load}. */
  compose({ name, config, labels }: ModelDescription, file: ModelVersionFile): Model {
    const complete = composeEnsemble(config, labels, this.#options.nestedCalls);
    return this.#makeModel(file, complete, noInstances(`${name}:${file.version}`), 0, null);
  }

  #makeModel(
    file: ModelVersionFile,
    complete: Pick<ModelInit, 'config' | 'labels' | 'plan' | 'initialStates'>,
    instances: ModelInit['instances'],
    fileBytes: number,
    rateLimits: RateLimits | null,
  ): Model {
    const { config } = complete;
    const { metrics, clock, nestedCalls, maxQueueSize, maxQueueTimeNs, responseStore, onFault } = this.#options;
    const reporter = new ModelReporter(config.name, String(file.version), config.metricTags, isDecoupled(config));
    return new Model({
      ...complete,
      version: file.version,
      instances,
      reporter,
      fileBytes,
      defaultMaxQueueSize: maxQueueSize,
      maxQueueTimeNs: maxQueueTimeNs ?? null,
      clock,
      nestedCalls,
      responseStore: responseStore ?? null,
      rateLimits,
      onFault,
      onService: (isInService) => {
        if (isInService) metrics.register(reporter, ...firstResponseBounds(config));
        else metrics.unregister(reporter);
      },
      onStopped: () => {
        rateLimits?.registered.remove();
        metrics.unregister(reporter);
      },
    });
  }

  /** Instances that came later. Those that cannot be warmed up serve all the same: the model has proved that it works. */
  async #warmUp(model: Model, channels: readonly InstanceHandle[], { source }: ModelDescription): Promise<void> {
    const { requestReader, clock, fileRules = DEFAULT_RULES, preparationTimeoutMs: timeoutMs = DEFAULT_PREPARATION_MS } = this.#options;
    if (requestReader === undefined) return;
    const { allowOutsideLinks } = fileRules;
    try {
      // The model knows which of the two kinds it has.
      const instances = channels as readonly (InstanceChannel | DecoupledChannel)[];
      await warmUpInstances(model, instances, source, { ...requestReader, clock, timeoutMs, allowOutsideLinks });
    } catch (error) {
      this.#options.warn?.(model.name, `new instances serve without a warm-up: ${InferenceError.from(error).message}`);
    }
  }

  /** What a model will take once it is loaded, as far as its files say. */
  async estimateBytes({ versions }: ModelDescription): Promise<number> {
    const sizes = await Promise.all(
      versions.map(({ modelPath }) =>
        stat(modelPath).then(
          (found) => found.size,
          () => 0,
        ),
      ),
    );
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  /** Adds or removes instances of a model that serves. Rejects, and leaves those that there are, when it cannot be done. */
  async resize(model: Model, config: ModelConfig): Promise<void> {
    const before = model.config.instanceGroup;
    const registered = model.rateLimits?.registered;
    registered?.update(config.instanceGroup);
    try {
      await this.#options.pool.resize(model.instances, instanceCountOf(config));
    } catch (error) {
      registered?.update(before);
      throw error;
    }
    model.instances.limitActive(activeCountOf(config));
  }

  #limitsOf({ name, config }: ModelDescription): RateLimits | null {
    const { rateLimiter: limiter } = this.#options;
    if (limiter === undefined || limiter === null || config.ensembleScheduling !== null) return null;
    return { limiter, registered: limiter.register(name, config.instanceGroup) };
  }
}

/** An ensemble has no model file, and runs nothing itself. */
function noInstances(key: string): InstanceGroup {
  const metadata = { inputs: [], outputs: [] };
  return new InstanceGroup({ key, metadata, onCapacity: () => {}, onFailed: () => {}, onStop: () => Promise.resolve() });
}

/** Sum of the groups' counts. */
function instanceCountOf(config: ModelConfig): number {
  return config.instanceGroup.reduce((count, group) => count + group.count, 0);
}

/** Of the groups that are not passive. */
function activeCountOf({ instanceGroup }: ModelConfig): number {
  return instanceGroup.reduce((count, group) => count + (group.passive ? 0 : group.count), 0);
}

/** Buckets that the model asks for, ms; none: the server's. */
function firstResponseBounds(config: ModelConfig): [] | [readonly number[]] {
  const control = config.modelMetrics?.metricControl.find(({ metricIdentifier }) => metricIdentifier?.family === FIRST_RESPONSE_FAMILY);
  const buckets = control?.histogramOptions?.buckets ?? [];
  return buckets.length === 0 ? [] : [[...buckets].sort((a, b) => a - b)];
}

/** What stands most often where the model should. The rest of what its files must be is `checkModelFiles`' to say. */
async function requireFile({ modelPath, version }: ModelVersionFile, config: ModelConfig): Promise<void> {
  if ((await stat(modelPath).catch(() => null)) !== null || config.ensembleScheduling !== null) return;
  throw invalidArgument(
    `no file '${config.defaultModelFilename}' in version directory ${version}; put the model there, or name its file in default_model_filename`,
  );
}

/** Rejects as soon as the signal is aborted; what was under way then ends unheard. */
function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal | null): Promise<Result> {
  if (signal === null) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
