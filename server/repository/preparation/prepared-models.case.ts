/** Real models in real hosts, with the files of their warm-up and checks beside them. */

import { join } from 'node:path';
import { InferenceError } from '../../../proto/inference-error.ts';
import { validateRequest } from '../../data-plane/validate-request.ts';
import { makeRepository } from '../../e2e/serve.ts';
import { HostPool, type HostPoolOptions } from '../../execution/host-pool.ts';
import { systemClock } from '../../inference/clock.ts';
import { noNestedCalls } from '../../inference/nested-calls.ts';
import { MetricsRegistry } from '../../metrics/metrics.ts';
import { parseMetricsConfig } from '../../metrics/metrics-config.ts';
import { decodeInferRequest } from '../../protocols/oip-json/decode-request.ts';
import type { Model } from '../model.ts';
import { directorySource, readModelDirectory } from '../model-directory.ts';
import { ModelLoader } from '../model-loader.ts';
import type { ModelSource } from '../model-source.ts';
import { type PrepareOptions, type PrepareStage, prepareModel } from './prepare-model.ts';
import type { RequestReader } from './request-reader.ts';

export const reader: RequestReader = {
  decodeRequest: (body, signature, caller) => decodeInferRequest(body, '', signature, caller),
  validateRequest,
};

export const prepareOptions: PrepareOptions = {
  ...reader,
  clock: systemClock,
  onStage: () => {},
  timeoutMs: 60_000,
  allowOutsideLinks: false,
};

export type TestFiles = Readonly<Record<string, string | Uint8Array>>;

/** A pool of hosts that models are loaded in and prepared. */
export class PreparedModels {
  readonly #pool: HostPool;
  readonly #metrics: MetricsRegistry = new MetricsRegistry({ config: parseMetricsConfig([]) });
  readonly #loader: ModelLoader;
  readonly #models: Model[] = [];
  readonly #cleanups: (() => void)[] = [];

  constructor(options: Partial<HostPoolOptions>) {
    const quiet = { info: () => {}, warn: () => {}, error: () => {} };
    this.#pool = new HostPool({ kind: 'process', tensorMemoryBytes: 16 * 1024 * 1024, log: quiet, ...options });
    this.#loader = new ModelLoader({
      pool: this.#pool,
      metrics: this.#metrics,
      clock: systemClock,
      maxQueueSize: 4,
      defaultMaxBatchSize: 4,
      disableAutoComplete: false,
      nestedCalls: noNestedCalls,
      onFault: () => {},
    });
  }

  /** Version 1 of the model 'm', loaded and not yet prepared; `files` by path below its directory. */
  async load(files: TestFiles): Promise<{ model: Model; source: ModelSource }> {
    const repository = makeRepository(Object.fromEntries(Object.entries(files).map(([path, content]) => [join('m', path), content])));
    this.#cleanups.push(repository.remove);
    const source = directorySource(repository.path, 'm');
    const description = await readModelDirectory(source);
    const model = await this.#loader.load(description, description.versions[0]!, () => {});
    this.#models.push(model);
    return { model, source };
  }

  /** Loads, and prepares; what the stages were. */
  async prepare(files: TestFiles, options: Partial<PrepareOptions> = {}): Promise<{ model: Model; stages: PrepareStage[] }> {
    const { model, source } = await this.load(files);
    const stages: PrepareStage[] = [];
    await prepareModel(model, source, { ...prepareOptions, onStage: (stage) => stages.push(stage), ...options });
    return { model, stages };
  }

  /** The reason for which preparing fails. */
  async refusal(files: TestFiles, options: Partial<PrepareOptions> = {}): Promise<InferenceError> {
    try {
      await this.prepare(files, options);
    } catch (error) {
      if (error instanceof InferenceError) return error;
      throw error;
    }
    throw new Error('the model was prepared');
  }

  async stop(): Promise<void> {
    for (const model of this.#models) await model.stop();
    await this.#pool.stop();
    await this.#metrics.close();
    for (const cleanup of this.#cleanups) cleanup();
  }
}
