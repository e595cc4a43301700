import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { HostPool } from '../execution/host-pool.ts';
import type { Clock } from '../inference/clock.ts';
import type { MetricsRegistry } from '../metrics/metrics.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import { autoCompleteConfig } from '../model-config/auto-complete-config.ts';
import { isDecoupled, Model } from './model.ts';
import { describeEntry, type ModelDescription, type ModelVersionFile, readFailure } from './model-directory.ts';

export interface ModelLoaderOptions {
  readonly pool: HostPool;
  readonly metrics: MetricsRegistry;
  readonly clock: Clock;
  /** Queue bound of a model whose configuration gives none. */
  readonly maxQueueSize: number;
  /** max_batch_size of a model that can batch and whose configuration does not say. */
  readonly defaultMaxBatchSize: number;
  /** Take nothing from the model file that its configuration leaves out. */
  readonly disableAutoComplete: boolean;
  readonly onFault: (error: unknown) => void;
}

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
  async load(description: ModelDescription, file: ModelVersionFile, onFailed: (error: InferenceError) => void): Promise<Model> {
    const { pool, metrics, clock } = this.#options;
    const { config, name } = description;
    const startedNs = clock.nowNs();
    await requireFile(file, config);
    // The scheduler is made of the completed configuration, which the load brings: until then nobody waits for an instance.
    let model: Model | null = null;
    const spec = { name, version: file.version, modelPath: file.modelPath, config };
    const pooled = {
      instanceCount: config.instanceGroup.reduce((count, group) => count + group.count, 0),
      onCapacity: () => model?.scheduler.poke(),
      onFailed,
    };
    const instances = isDecoupled(config) ? await pool.loadDecoupled(spec, pooled) : await pool.load(spec, pooled);
    try {
      if (this.#options.disableAutoComplete && (config.input.length === 0 || config.output.length === 0)) {
        throw invalidArgument(
          `model '${name}': the configuration lists no ${config.input.length === 0 ? 'input' : 'output'}, and taking it from the model file is switched off (--disable-auto-complete-config)`,
        );
      }
      const reporter = new ModelReporter(name, String(file.version), config.metricTags, isDecoupled(config));
      model = new Model({
        version: file.version,
        config: autoCompleteConfig(config, instances.metadata, { defaultMaxBatchSize: this.#options.defaultMaxBatchSize }),
        labels: description.labels,
        instances,
        reporter,
        defaultMaxQueueSize: this.#options.maxQueueSize,
        clock,
        onFault: this.#options.onFault,
        onStopped: () => metrics.unregister(reporter),
      });
      reporter.loadDurationSecs = (clock.nowNs() - startedNs) / 1e9;
      metrics.register(reporter, ...firstResponseBounds(config));
      return model;
    } catch (error) {
      await instances.stop();
      throw InferenceError.from(error);
    }
  }
}

/** Buckets that the model asks for, ms; none: the server's. */
function firstResponseBounds(config: ModelConfig): [] | [readonly number[]] {
  const control = config.modelMetrics?.metricControl.find(({ metricIdentifier }) => metricIdentifier?.family === FIRST_RESPONSE_FAMILY);
  const buckets = control?.histogramOptions?.buckets ?? [];
  return buckets.length === 0 ? [] : [[...buckets].sort((a, b) => a - b)];
}

async function requireFile({ modelPath, version }: ModelVersionFile, config: ModelConfig): Promise<void> {
  const found = await stat(modelPath).catch(() => null);
  if (found === null) {
    throw invalidArgument(
      `no file '${config.defaultModelFilename}' in version directory ${version}; put the model there, or name its file in default_model_filename`,
    );
  }
  try {
    await access(modelPath, constants.R_OK);
  } catch (error) {
    throw readFailure(error, dirname(dirname(modelPath)));
  }
  // A pipe would keep its host waiting for the whole load timeout. What a directory means is the backend's to say.
  if (!found.isFile() && !found.isDirectory()) {
    throw invalidArgument(
      `'${config.defaultModelFilename}' in version directory ${version} is ${describeEntry(found)}; put the model file itself there`,
    );
  }
}
