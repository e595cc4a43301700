import { AsyncLocalStorage } from 'node:async_hooks';
import { dirname } from 'node:path';
import { inspect } from 'node:util';
import { InferenceError } from '../../proto/inference-error.ts';
import type {
  Backend,
  BackendOptions,
  DecoupledModelInstance,
  HostServices,
  Model,
  ModelInstance,
  ModelMetadata,
  ModelSpec,
  RequestModelInstance,
  RequestPlace,
} from '../api/backend.ts';
import { codeFailure, type LoadedModule, loadModule } from './load-module.ts';
import type { ModelContext } from './model-api.ts';
import { ModelCaller } from './model-caller.ts';
import { type DeclaredConfig, metadataOf, readModuleConfig } from './module-config.ts';
import { ScriptInstance } from './script-instance.ts';

/** Of the configuration's `parameters`: batches (of a decoupled model: requests) that the code works on at the same time. */
const CONCURRENCY_PARAMETER = 'max_concurrency';

/** Models that are JavaScript or TypeScript: see `model-api.ts` for what their code is given. */
export function createBackend({ services }: BackendOptions): Backend {
  if (services === undefined) throw new InferenceError('UNIMPLEMENTED', 'this execution host does not run the code of models');
  return new JavaScriptBackend(services);
}

class JavaScriptBackend implements Backend {
  readonly name = 'javascript';
  readonly #services: HostServices;
  readonly #models: Set<ScriptModel> = new Set();

  constructor(services: HostServices) {
    this.#services = services;
  }

  async load(spec: ModelSpec): Promise<Model> {
    try {
      const module = await loadModule(spec.modelPath);
      const declared = readModuleConfig(await module.config);
      const model = new ScriptModel(spec, module, declared, this.#services);
      this.#models.add(model);
      return model;
    } catch (error) {
      const { code, message } = InferenceError.from(error);
      throw new InferenceError(code, `model '${spec.name}': ${withoutPath(message, spec)}`, { cause: error });
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#models].map((model) => model.unload()));
  }
}

class ScriptModel implements Model {
  readonly metadata: ModelMetadata;
  readonly #spec: ModelSpec;
  readonly #module: LoadedModule;
  readonly #declared: DeclaredConfig;
  readonly #services: HostServices;
  readonly #instances: Set<ScriptInstance> = new Set();

  constructor(spec: ModelSpec, module: LoadedModule, declared: DeclaredConfig, services: HostServices) {
    this.#spec = spec;
    this.#module = module;
    this.#declared = declared;
    this.#services = services;
    this.metadata = metadataOf(spec, declared);
  }

  async createInstance(): Promise<ModelInstance> {
    throw new InferenceError('UNIMPLEMENTED', 'a model that is code runs in a host of its own');
  }

  createRequestInstance(): Promise<RequestModelInstance> {
    return this.#create();
  }

  createDecoupledInstance(): Promise<DecoupledModelInstance> {
    return this.#create();
  }

  async unload(): Promise<void> {
    await Promise.all([...this.#instances].map((instance) => instance.dispose()));
  }

  async #create(): Promise<ScriptInstance> {
    const services = this.#services;
    const places = new AsyncLocalStorage<RequestPlace>();
    const caller = new ModelCaller(services, places);
    const context = this.#context(caller);
    try {
      await this.#module.initialize?.(context);
    } catch (error) {
      const { code, message } = codeFailure('initialize failed', error);
      throw new InferenceError(code, `model '${this.#spec.name}': ${withoutPath(message, this.#spec)}`, { cause: error });
    }
    const init = { module: this.#module, metadata: this.metadata, modelName: this.#spec.name, context, caller, places, services };
    const instance = new ScriptInstance({ ...init, maxConcurrency: this.#maxConcurrency() });
    this.#instances.add(instance);
    return instance;
  }

  #maxConcurrency(): number {
    const text = this.#spec.config.parameters[CONCURRENCY_PARAMETER]?.stringValue;
    if (text === undefined) return this.#declared.maxConcurrency;
    const count = /^[1-9][0-9]{0,5}$/.test(text) ? Number(text) : 0;
    if (count > 0) return count;
    throw new InferenceError(
      'INVALID_ARGUMENT',
      `parameters["${CONCURRENCY_PARAMETER}"]: expected a whole number of 1 or more, got '${text}'`,
    );
  }

  #context(caller: ModelCaller): ModelContext {
    const { config, modelPath, name, version } = this.#spec;
    const { log } = this.#services;
    const parameters: Record<string, string> = { ...this.#declared.parameters };
    for (const [key, value] of Object.entries(config.parameters)) parameters[key] = value.stringValue;
    return Object.freeze<ModelContext>({
      name,
      version,
      directory: dirname(modelPath),
      parameters: Object.freeze(parameters),
      config: config as unknown as ModelContext['config'],
      logger: Object.freeze({
        debug: (...values: unknown[]) => log('debug', textOf(values)),
        info: (...values: unknown[]) => log('info', textOf(values)),
        warn: (...values: unknown[]) => log('warn', textOf(values)),
        error: (...values: unknown[]) => log('error', textOf(values)),
      }),
      call: (model, inputs, options) => caller.call(null, model, inputs, options),
      stream: (model, inputs, options) => caller.stream(null, model, inputs, options),
      error: (code, message) => new InferenceError(code, message, { failureReason: 'BACKEND' }),
    });
  }
}

/** Where a repository lies on the machine is nobody's business. */
function withoutPath(message: string, { modelPath }: ModelSpec): string {
  return message.replaceAll(`${dirname(dirname(dirname(modelPath)))}/`, '');
}

/** Whatever is logged: a line in the log is no reason to fail a request. */
function textOf(values: readonly unknown[]): string {
  return values.map((value) => (typeof value === 'string' ? value : inspected(value))).join(' ');
}

function inspected(value: unknown): string {
  try {
    return inspect(value, { depth: 4, breakLength: Number.POSITIVE_INFINITY });
  } catch {
    return '[a value that has no text]';
  }
}
