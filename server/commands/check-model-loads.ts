import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { validateRequest } from '../data-plane/validate-request.ts';
import { HostPool, type HostPoolOptions } from '../execution/host-pool.ts';
import { systemClock } from '../inference/clock.ts';
import { noNestedCalls } from '../inference/nested-calls.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { completeConfig } from '../model-config/auto-complete-config.ts';
import { validateModelConfig } from '../model-config/validate-model-config.ts';
import { decodeInferRequest } from '../protocols/oip-json/decode-request.ts';
import { isDecoupled } from '../repository/create-scheduler.ts';
import { checkModelFiles } from '../repository/files/model-files.ts';
import { Model } from '../repository/model.ts';
import type { ModelVersionFile } from '../repository/model-directory.ts';
import { prepareModel } from '../repository/preparation/prepare-model.ts';
import type { RequestReader } from '../repository/preparation/request-reader.ts';
import { checkLabelCounts } from './check-labels.ts';
import type { CheckedModel } from './check-model-directory.ts';

const TENSOR_MEMORY_BYTES = 256 * 1024 * 1024;
const MAX_MODEL_BYTES = 64 * 2 ** 30;
const PREPARATION_MS = 300_000;
/** A model file up to this size stays loaded until the next one is, so that its process goes on living. */
const KEPT_BYTES = 64 * 1024 * 1024;

const reader: RequestReader = {
  decodeRequest: (body, signature, caller) => decodeInferRequest(body, '', signature, caller),
  validateRequest,
};

type Instances = Awaited<ReturnType<HostPool['load' | 'loadDecoupled']>>;

/** Loads every version that would be served, in a process that serves nobody, and holds the configuration to what the file says. */
export class ModelLoads {
  readonly #pool: HostPool;
  /** By model name: what the configuration became, by the last version that was loaded. */
  readonly completed: Map<string, ModelConfig> = new Map();
  #kept: Instances | null = null;

  constructor(hosts: Partial<HostPoolOptions> = {}) {
    const quiet = { info: () => {}, warn: () => {}, error: () => {} };
    this.#pool = new HostPool({ kind: 'process', tensorMemoryBytes: TENSOR_MEMORY_BYTES, maxHosts: 1, log: quiet, ...hosts });
  }

  async check(model: CheckedModel): Promise<void> {
    const { config, versions, findings } = model;
    if (config === null || config.ensembleScheduling !== null) return;
    const signatures = new Map<string, number>();
    const staticErrors = findings.all.filter(({ severity, field }) => severity === 'error' && field !== '').map(({ field }) => field);
    for (const file of versions) {
      const shown = `${model.name}/${file.version}/${config.defaultModelFilename}`;
      try {
        const completed = await this.#checkVersion(model, config, file, versions.length > 1, staticErrors);
        this.completed.set(model.name, completed);
        const { maxBatchSize, input, output } = completed;
        const tensors = [...input, ...output].map(({ name, dataType, dims }) => `${name} ${dataType} [${dims.join(',')}]`);
        const signature = `max_batch_size ${maxBatchSize}, ${tensors.join(', ')}`;
        if (!signatures.has(signature)) signatures.set(signature, file.version);
      } catch (error) {
        findings.addThrown(error, model.source.kind === 'file' ? model.name : shown);
      }
    }
    if (signatures.size > 1) {
      const list = [...signatures].map(([signature, version]) => `version ${version}: ${signature}`).join('; ');
      findings.add('warning', model.name, `versions differ in what they take and give, so clients of one may fail with another: ${list}`);
    }
  }

  async stop(): Promise<void> {
    await this.#pool.stop();
  }

  async #checkVersion(
    model: CheckedModel,
    config: ModelConfig,
    file: ModelVersionFile,
    isOneOfMany: boolean,
    staticErrors: readonly string[],
  ): Promise<ModelConfig> {
    const rules = { allowOutsideLinks: false, maxModelBytes: MAX_MODEL_BYTES };
    const { byteLength } = await checkModelFiles(model.source, file, withoutMissingFiles(model, config), rules);
    const instances = await this.#load(config, file);
    try {
      return await this.#checkLoaded(model, config, file, isOneOfMany ? `version ${file.version}: ` : '', instances, staticErrors);
    } finally {
      await this.#put(byteLength <= KEPT_BYTES ? instances : null);
      if (byteLength > KEPT_BYTES) await instances.stop();
    }
  }

  async #checkLoaded(
    model: CheckedModel,
    config: ModelConfig,
    file: ModelVersionFile,
    which: string,
    instances: Instances,
    staticErrors: readonly string[],
  ): Promise<ModelConfig> {
    const { findings, configFile, lineOf } = model;
    const { config: completed, mismatches } = completeConfig(config, instances.metadata);
    let fits = true;
    for (const { severity, field, message } of [...mismatches, ...validateModelConfig(completed)]) {
      if (severity === 'error') fits = false;
      // What the configuration alone has wrong has this as its consequence.
      const tensor = /^(?:input|output)\[\d+\]/.exec(field)?.[0];
      if (staticErrors.some((one) => one.startsWith(tensor ?? field))) continue;
      findings.addAnyway(severity, configFile, which + message, field, lineOf(field));
    }
    checkLabelCounts(model, completed, instances.metadata);
    if (fits) await this.#prepare(model, completed, file, which, instances);
    return completed;
  }

  /** Each warm-up and each golden check by itself, so that all that fail are found. */
  async #prepare(model: CheckedModel, config: ModelConfig, file: ModelVersionFile, which: string, instances: Instances): Promise<void> {
    const { findings, configFile, lineOf, source } = model;
    const none = { modelWarmup: [], warmupRequests: [], goldenCheck: [] };
    const single: [string, ModelConfig][] = [
      ...config.modelWarmup.map((one, index): [string, ModelConfig] => [
        `model_warmup[${index}]`,
        { ...config, ...none, modelWarmup: [one] },
      ]),
      ...config.warmupRequests.map((one, index): [string, ModelConfig] => [
        `warmup_requests[${index}]`,
        { ...config, ...none, warmupRequests: [one] },
      ]),
      ...config.goldenCheck.map((one, index): [string, ModelConfig] => [
        `golden_check[${index}]`,
        { ...config, ...none, goldenCheck: [one] },
      ]),
    ];
    for (const [field, only] of single) {
      if (findings.hasErrorBelow(field)) continue;
      try {
        await prepareModel(asModel(only, file, model, instances), source, {
          ...reader,
          allowOutsideLinks: false,
          clock: systemClock,
          onStage: () => {},
          timeoutMs: PREPARATION_MS,
        });
      } catch (error) {
        findings.add('error', configFile, which + InferenceError.from(error).message, field, lineOf(field));
        // The process went, or does not answer: nothing more can be run in it.
        if (instances.aliveCount === 0) return;
      }
    }
  }

  #load(config: ModelConfig, file: ModelVersionFile): Promise<Instances> {
    const spec = { name: config.name, version: file.version, modelPath: file.modelPath, config };
    const pooled = { instanceCount: 1, onCapacity: () => {}, onFailed: () => {} };
    return isDecoupled(config) ? this.#pool.loadDecoupled(spec, pooled) : this.#pool.load(spec, pooled);
  }

  async #put(next: Instances | null): Promise<void> {
    const before = this.#kept;
    this.#kept = next;
    await before?.stop();
  }
}

/** The check of the files ends at the first that is not there, and those are found already. */
function withoutMissingFiles({ findings }: CheckedModel, config: ModelConfig): ModelConfig {
  const isThere = (list: string) => (_: unknown, index: number) => !findings.hasErrorBelow(`${list}[${index}]`);
  return {
    ...config,
    goldenCheck: config.goldenCheck.filter(isThere('golden_check')),
    warmupRequests: config.warmupRequests.filter(isThere('warmup_requests')),
    modelWarmup: config.modelWarmup.filter(isThere('model_warmup')),
  };
}

function asModel(config: ModelConfig, file: ModelVersionFile, { labels }: CheckedModel, instances: Instances): Model {
  return new Model({
    version: file.version,
    config,
    labels,
    instances,
    reporter: new ModelReporter(config.name, String(file.version), {}, isDecoupled(config)),
    defaultMaxQueueSize: 1,
    clock: systemClock,
    nestedCalls: noNestedCalls,
    onFault: () => {},
    onStopped: () => {},
  });
}
