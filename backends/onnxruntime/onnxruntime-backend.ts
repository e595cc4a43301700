import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Backend, BackendOptions, Model, ModelMetadata, ModelSpec } from '../api/backend.ts';
import { type ModelSignature, readModelSignature } from './model-signature.ts';
import { keepUntilHere, NativeString, NativeWords } from './native-words.ts';
import { OnnxRuntimeModelInstance } from './onnxruntime-model-instance.ts';
import { check, ORT_NOT_IMPLEMENTED, type OrtLibrary, ortLibrary, readableMessage, takeStatus } from './ort-library.ts';
import { createSessionOptions, readSessionSettings } from './session-options.ts';

/** OrtLoggingLevel; ONNX Runtime logs to stderr. */
const LOG_ERRORS = 3;

/** From this size on, the copy of the file that loading needs is worth giving back. */
const TRIM_FROM_BYTES = 1024 * 1024;

/**
 * ONNX Runtime, through its C API. Its own binding for JavaScript has no BF16, turns strings into JavaScript strings, takes no memory but an
 * ArrayBuffer's, and costs more per run than a small model takes to compute.
 *
 * Throws UNAVAILABLE when the library is not there for this platform.
 */
export function createBackend(options: BackendOptions): Backend {
  return new OnnxRuntimeBackend(ortLibrary(), options.settings);
}

class OnnxRuntimeBackend implements Backend {
  readonly name = 'onnxruntime';
  readonly #library: OrtLibrary;
  readonly #settings: Readonly<Record<string, string>>;
  /** OrtEnv; 0 once closed. */
  #env: number;
  readonly #models = new Set<OnnxRuntimeModel>();
  /** Loads under way: they use the environment, so it stays until they are done. */
  readonly #loads = new Set<Promise<OnnxRuntimeModel>>();
  #isClosed = false;

  constructor(library: OrtLibrary, settings: Readonly<Record<string, string>>) {
    this.#library = library;
    this.#settings = settings;
    const { api } = library;
    const out = new NativeWords(1);
    const logName = new NativeString('nereid');
    check(api, api.CreateEnv(LOG_ERRORS, logName.address, out.address));
    keepUntilHere(logName);
    this.#env = out.get(0);
    check(api, api.DisableTelemetryEvents(this.#env));
  }

  async load(spec: ModelSpec): Promise<Model> {
    if (this.#isClosed) throw new InferenceError('UNAVAILABLE', 'the onnxruntime backend is closed');
    const load = this.#load(spec);
    this.#loads.add(load);
    try {
      return await load;
    } finally {
      this.#loads.delete(load);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#loads);
    for (const model of [...this.#models]) await model.unload();
    if (this.#env === 0) return;
    this.#library.api.ReleaseEnv(this.#env);
    this.#env = 0;
  }

  async #load(spec: ModelSpec): Promise<OnnxRuntimeModel> {
    const settings = readSessionSettings(spec.config, this.#settings);
    const fileBytes = await this.#checkFile(spec);
    const session = await this.#createSession(spec, createSessionOptions(this.#library, settings));
    let signature: ModelSignature;
    try {
      signature = readModelSignature(this.#library, session, spec.config);
    } catch (error) {
      this.#library.api.ReleaseSession(session);
      throw error;
    }
    const model = new OnnxRuntimeModel(this.#library, session, signature, (gone) => this.#models.delete(gone));
    this.#models.add(model);
    if (fileBytes >= TRIM_FROM_BYTES) this.#library.trim?.();
    return model;
  }

  /** Returns the file's size. Throws what ONNX Runtime would tell less clearly. */
  async #checkFile(spec: ModelSpec): Promise<number> {
    const file = await stat(spec.modelPath).catch(() => null);
    const fault =
      file === null
        ? 'does not exist or cannot be read'
        : file.isFile()
          ? file.size === 0
            ? 'is empty'
            : null
          : 'is not a file but a directory or device';
    if (file !== null && fault === null) return file.size;
    throw invalidArgument(
      `model '${spec.name}' version ${spec.version} could not be loaded: its file '${basename(spec.modelPath)}' ${fault}; expected an ONNX model`,
    );
  }

  /** Releases `options`. Opens by path, so that weights in files beside the model are found. */
  async #createSession(spec: ModelSpec, options: number): Promise<number> {
    const { api, canLoadAsync } = this.#library;
    const path = new NativeString(spec.modelPath, process.platform === 'win32' ? 'utf16le' : 'utf8');
    const out = new NativeWords(1);
    try {
      const status = canLoadAsync
        ? await new Promise<number>((resolve, reject) => {
            api.CreateSession.async(this.#env, path.address, options, out.address, (error, result) =>
              error ? reject(error) : resolve(result),
            );
          })
        : api.CreateSession(this.#env, path.address, options, out.address);
      keepUntilHere(path);
      if (status !== 0) throw this.#loadError(spec, status);
      return out.get(0);
    } finally {
      api.ReleaseSessionOptions(options);
    }
  }

  #loadError(spec: ModelSpec, status: number): InferenceError {
    const { code, message } = takeStatus(this.#library.api, status);
    return new InferenceError(
      code === ORT_NOT_IMPLEMENTED ? 'UNIMPLEMENTED' : 'INVALID_ARGUMENT',
      `model '${spec.name}' version ${spec.version} could not be loaded: ${readableMessage(message, spec.modelPath).replace(/^Load model from the model file (?:failed: ?)?/, '')}`,
      { cause: new Error(message), failureReason: 'BACKEND' },
    );
  }
}

class OnnxRuntimeModel implements Model {
  readonly #library: OrtLibrary;
  readonly #signature: ModelSignature;
  readonly #instances = new Set<OnnxRuntimeModelInstance>();
  readonly #onUnload: (model: OnnxRuntimeModel) => void;
  /** OrtSession; 0 once unloaded. Runs of several instances may share it. */
  #session: number;

  constructor(library: OrtLibrary, session: number, signature: ModelSignature, onUnload: (model: OnnxRuntimeModel) => void) {
    this.#library = library;
    this.#session = session;
    this.#signature = signature;
    this.#onUnload = onUnload;
  }

  get metadata(): ModelMetadata {
    return this.#signature.metadata;
  }

  async createInstance(): Promise<OnnxRuntimeModelInstance> {
    if (this.#session === 0) throw new InferenceError('UNAVAILABLE', 'the model is unloaded');
    const instance = new OnnxRuntimeModelInstance({
      library: this.#library,
      session: this.#session,
      signature: this.#signature,
      onDispose: (gone) => this.#instances.delete(gone),
    });
    this.#instances.add(instance);
    return instance;
  }

  async unload(): Promise<void> {
    if (this.#session === 0) return;
    for (const instance of [...this.#instances]) instance.dispose();
    this.#library.api.ReleaseSession(this.#session);
    this.#session = 0;
    this.#onUnload(this);
    this.#library.trim?.();
  }
}
