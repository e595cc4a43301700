/// <reference lib="esnext.disposable" preserve="true" />

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { type CallOptions, CallScope, type HeaderSource } from './call-scope.ts';
import { type GenerateCall, type GenerateRequest, type GenerateResponse, generateBody, noGenerate } from './generate.ts';
import { encodeInput, type NamedInput } from './infer-input.ts';
import { type InferOptions, inferOutputs, inferParameters } from './infer-options.ts';
import { InferResult } from './infer-result.ts';
import { ModelHandle, type ModelTypes, type UntypedModel } from './model-handle.ts';
import { type CallKind, type RetryPolicy, retryPolicy, withRetries } from './retry.ts';
import type {
  CudaSharedMemoryRegion,
  LogSettings,
  LogSettingsUpdate,
  ModelConfig,
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
  SystemSharedMemoryRegion,
  TraceSettings,
  TraceSettingsUpdate,
} from './server-facts.ts';
import type { CallContext, InferRequest, InferResponse, Transport } from './transport.ts';

export interface ClientSettings {
  readonly headers: HeaderSource;
  /** Of calls that say none; Infinity: none. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
}

/** `client.infer`, `client.stream`: a model by its name and inputs that say what they are, without the metadata being asked for. */
export interface InferCall extends InferOptions {
  readonly model: string;
  /** Left out: the version that the server's policy says. */
  readonly version?: string | number;
  readonly inputs: readonly NamedInput[];
}

export interface VersionOptions extends CallOptions {
  /** Left out: the version that the server's policy says. */
  readonly version?: string | number | undefined;
}

export interface LoadOptions extends CallOptions {
  /** A model configuration that takes the place of the one on disk. */
  readonly config?: ModelConfig | string;
  /** By path below the model's directory, `1/model.onnx`: these take the place of what is on disk; `config` is needed then. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

/** Where the runtime has none, a key that nobody uses. */
const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for('nereid.asyncDispose');

/** A client of one server: one API over every transport. Made by `connect`. Every call takes a signal, a time limit and headers, and rejects with InferenceError. */
export class InferenceClient {
  readonly #transport: Transport;
  readonly #settings: ClientSettings;

  constructor(transport: Transport, settings: ClientSettings) {
    this.#transport = transport;
    this.#settings = settings;
  }

  /** A handle that knows the model's inputs and outputs; asks the server for its metadata. `T` is a type written by `nereid client types`. */
  async model<T extends ModelTypes = UntypedModel>(name: string, options: VersionOptions = {}): Promise<ModelHandle<T>> {
    return new ModelHandle<T>(this, await this.modelMetadata(name, options), versionText(options.version));
  }

  /** One request, one answer. Data of the inputs must stay as it is until then. */
  async infer(call: InferCall): Promise<InferResult> {
    return this.inferRequest(encodeCall(call), call);
  }

  /** For models that answer any number of times. The request goes out with the first step of the iteration; leaving the loop cancels it. */
  stream(call: InferCall): AsyncIterableIterator<InferResult> {
    return this.streamRequest(encodeCall(call), call);
  }

  /** An encoded request; `infer` and model handles come here. */
  async inferRequest<O extends object>(request: InferRequest, options: CallOptions): Promise<InferResult<O>> {
    const response = await this.#call(kindOf(request), options, (call) => this.#transport.infer(request, call));
    return new InferResult<O>(response);
  }

  streamRequest<O extends object>(request: InferRequest, options: CallOptions): AsyncIterableIterator<InferResult<O>> {
    return this.#stream<O>(request, options);
  }

  async *#stream<O extends object>(request: InferRequest, options: CallOptions): AsyncGenerator<InferResult<O>, void, undefined> {
    const open = (call: CallContext): AsyncIterableIterator<InferResponse> => this.#transport.stream(request, call);
    for await (const response of this.#iterate(options, kindOf(request), open)) yield new InferResult<O>(response);
  }

  async *#iterate<T>(
    options: CallOptions,
    kind: CallKind,
    open: (call: CallContext) => AsyncIterableIterator<T>,
  ): AsyncGenerator<T, void, undefined> {
    const scope = new CallScope(options, this.#settings.timeoutMs);
    let responses: AsyncIterableIterator<T> | null = null;
    try {
      // Up to its first response a stream is repeated as any other call is.
      let step = await this.#attempts(scope, kind, options, (call) => {
        responses = open(call);
        return responses.next();
      });
      while (!step.done) {
        yield step.value;
        step = await responses!.next();
      }
      responses = null;
    } finally {
      scope.dispose();
      await (responses as AsyncIterableIterator<T> | null)?.return?.();
    }
  }

  /**
   * The generate extension: inputs as plain values, and the one response as a plain object. Over HTTP. A model that gives none, or more than one, rejects: `generateStream` takes them.
   */
  async generate(call: GenerateCall): Promise<GenerateResponse> {
    const transport = this.#transport;
    if (transport.generate === undefined) throw noGenerate(transport.name);
    const request = encodeGenerate(call);
    return this.#call('infer', call, (context) => transport.generate!(request, context));
  }

  /** The same for any number of responses, as they come. The request goes out with the first step of the iteration; leaving the loop cancels it. */
  async *generateStream(call: GenerateCall): AsyncGenerator<GenerateResponse, void, undefined> {
    const transport = this.#transport;
    if (transport.generateStream === undefined) throw noGenerate(transport.name);
    const request = encodeGenerate(call);
    yield* this.#iterate(call, 'infer', (context) => transport.generateStream!(request, context));
  }

  isServerLive(options: CallOptions = {}): Promise<boolean> {
    return this.#read(options, (call) => this.#transport.isServerLive(call));
  }

  isServerReady(options: CallOptions = {}): Promise<boolean> {
    return this.#read(options, (call) => this.#transport.isServerReady(call));
  }

  /** False also for a model or version that the server does not know. */
  isModelReady(name: string, options: VersionOptions = {}): Promise<boolean> {
    return this.#read(options, (call) => this.#transport.isModelReady(checkedName(name), versionText(options.version), call));
  }

  serverMetadata(options: CallOptions = {}): Promise<ServerMetadata> {
    return this.#read(options, (call) => this.#transport.serverMetadata(call));
  }

  modelMetadata(name: string, options: VersionOptions = {}): Promise<ModelMetadata> {
    return this.#read(options, (call) => this.#transport.modelMetadata(checkedName(name), versionText(options.version), call));
  }

  modelConfig(name: string, options: VersionOptions = {}): Promise<ModelConfig> {
    return this.#read(options, (call) => this.#transport.modelConfig(checkedName(name), versionText(options.version), call));
  }

  /** Of one model, or of all when no name is given. */
  statistics(name = '', options: VersionOptions = {}): Promise<readonly ModelStatistics[]> {
    return this.#read(options, (call) => this.#transport.statistics(name, versionText(options.version), call));
  }

  repositoryIndex(options: CallOptions & { readonly readyOnly?: boolean } = {}): Promise<readonly RepositoryEntry[]> {
    return this.#read(options, (call) => this.#transport.repositoryIndex(options.readyOnly === true, call));
  }

  loadModel(name: string, options: LoadOptions = {}): Promise<void> {
    const { config = '', files = {} } = options;
    const text = typeof config === 'string' ? config : JSON.stringify(config);
    const content = new Map(Object.entries(files));
    return this.#write(options, (call) => this.#transport.loadModel(checkedName(name), text, content, call));
  }

  unloadModel(name: string, options: CallOptions & { readonly unloadDependents?: boolean } = {}): Promise<void> {
    return this.#write(options, (call) => this.#transport.unloadModel(checkedName(name), options.unloadDependents === true, call));
  }

  /** Back to the versions that served before the last change, as long as the server keeps them; resolves with their numbers. A call of Nereid's own, over HTTP and WebSocket clients. */
  rollbackModel(name: string, options: CallOptions = {}): Promise<readonly string[]> {
    return this.#write(options, (call) => this.#transport.rollbackModel(checkedName(name), call));
  }

  /** Of one region, or of all when no name is given. */
  systemSharedMemoryStatus(name = '', options: CallOptions = {}): Promise<readonly SystemSharedMemoryRegion[]> {
    return this.#read(options, (call) => this.#transport.systemSharedMemoryStatus(name, call));
  }

  registerSystemSharedMemory(region: SystemSharedMemoryRegion, options: CallOptions = {}): Promise<void> {
    return this.#write(options, (call) => this.#transport.registerSystemSharedMemory(region, call));
  }

  /** One region, or all when no name is given. */
  unregisterSystemSharedMemory(name = '', options: CallOptions = {}): Promise<void> {
    return this.#write(options, (call) => this.#transport.unregisterSystemSharedMemory(name, call));
  }

  /** Of one region, or of all when no name is given. */
  cudaSharedMemoryStatus(name = '', options: CallOptions = {}): Promise<readonly CudaSharedMemoryRegion[]> {
    return this.#read(options, (call) => this.#transport.cudaSharedMemoryStatus(name, call));
  }

  /** `rawHandle`: the 64 bytes of a CUDA IPC handle. */
  registerCudaSharedMemory(region: CudaSharedMemoryRegion, rawHandle: Uint8Array, options: CallOptions = {}): Promise<void> {
    return this.#write(options, (call) => this.#transport.registerCudaSharedMemory(region, rawHandle, call));
  }

  /** One region, or all when no name is given. */
  unregisterCudaSharedMemory(name = '', options: CallOptions = {}): Promise<void> {
    return this.#write(options, (call) => this.#transport.unregisterCudaSharedMemory(name, call));
  }

  /** Reads the settings, of one model or the server's, after the changes of `update`. */
  traceSettings(update: TraceSettingsUpdate = {}, options: CallOptions & { readonly model?: string } = {}): Promise<TraceSettings> {
    const attempt = (call: CallContext): Promise<TraceSettings> => this.#transport.traceSettings(options.model ?? '', update, call);
    return Object.keys(update).length === 0 ? this.#read(options, attempt) : this.#write(options, attempt);
  }

  /** Reads the settings after the changes of `update`. */
  logSettings(update: LogSettingsUpdate = {}, options: CallOptions = {}): Promise<LogSettings> {
    const attempt = (call: CallContext): Promise<LogSettings> => this.#transport.logSettings(update, call);
    return Object.keys(update).length === 0 ? this.#read(options, attempt) : this.#write(options, attempt);
  }

  /** Ends all connections; calls in flight reject with CANCELLED. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  [asyncDispose](): Promise<void> {
    return this.close();
  }

  #read<T>(options: CallOptions, attempt: (call: CallContext) => Promise<T>): Promise<T> {
    return this.#call('read', options, attempt);
  }

  #write<T>(options: CallOptions, attempt: (call: CallContext) => Promise<T>): Promise<T> {
    return this.#call('write', options, attempt);
  }

  async #call<T>(kind: CallKind, options: CallOptions, attempt: (call: CallContext) => Promise<T>): Promise<T> {
    const scope = new CallScope(options, this.#settings.timeoutMs);
    try {
      return await this.#attempts(scope, kind, options, attempt);
    } finally {
      scope.dispose();
    }
  }

  #attempts<T>(scope: CallScope, kind: CallKind, options: CallOptions, attempt: (call: CallContext) => Promise<T>): Promise<T> {
    const policy = retryPolicy(options.retry, this.#settings.retry);
    return withRetries(kind, policy, scope, async () => attempt(await scope.context(this.#settings.headers, options.headers)));
  }
}

function encodeGenerate(call: GenerateCall): GenerateRequest {
  return { modelName: checkedName(call.model), modelVersion: versionText(call.version), body: generateBody(call) };
}

function encodeCall(call: InferCall): InferRequest {
  if (!Array.isArray(call.inputs)) throw invalidArgument('inputs: expected an array of inputs with their names');
  const json = call.json === true;
  return {
    modelName: checkedName(call.model),
    modelVersion: versionText(call.version),
    id: call.id ?? '',
    parameters: inferParameters(call),
    inputs: call.inputs.map((input: NamedInput) => encodeInput(input.name, input, null)),
    outputs: inferOutputs(call.outputs, json, null),
    json,
  };
}

/** A request of a sequence is known by its parameters, however they came there. */
function kindOf(request: InferRequest): CallKind {
  return 'sequence_id' in request.parameters ? 'sequence' : 'infer';
}

function versionText(version: string | number | undefined): string {
  const text = String(version ?? '');
  if (!/^\d*$/.test(text)) throw invalidArgument(`version: expected a whole number, got '${text}'`);
  return text;
}

function checkedName(name: unknown): string {
  if (typeof name === 'string' && name !== '') return name;
  throw new InferenceError('INVALID_ARGUMENT', `model: expected a name, got ${typeof name === 'string' ? 'none' : typeof name}`);
}
