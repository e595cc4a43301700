/**
 * The backend contract. A backend is a folder `backends/<name>/` whose `index.ts` exports `createBackend`; `backend: "<name>"` in a model's
 * configuration finds it. Backends see tensors and a configuration: no request, socket, metric or queue.
 *
 * Everything here runs inside an execution host: usually a child process that serves nothing else, so a call may block that process, and a
 * native fault costs that process alone.
 */

import type { Datatype } from '../../proto/datatype.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ModelConfig } from './model-config.ts';

/** What `backends/<name>/index.ts` exports. */
export interface BackendModule {
  createBackend(options: BackendOptions): Promise<Backend> | Backend;
}

export interface BackendOptions {
  /** `--backend-config` settings of this backend, name to value. */
  readonly settings: Readonly<Record<string, string>>;
  /** Where models are code: what their host does for them. Left out in hosts that don't run such. */
  readonly services?: HostServices;
}

/** What a host does for a model that is code. */
export interface HostServices {
  log(level: 'debug' | 'info' | 'warn' | 'error', text: string): void;
  /**
   * Asks another model, by the server's own door. The responses, each with the outputs that were asked for; what goes wrong is thrown as InferenceError. Ending the iteration cancels the call, and
   * so does the end of the request that made it. The bytes of a response are the caller's.
   */
  call(call: ModelCall): AsyncIterable<readonly Tensor[]>;
}

export interface ModelCall {
  readonly modelName: string;
  /** '' for the version that the model's policy chooses. */
  readonly modelVersion: string;
  readonly id: string;
  readonly inputs: readonly Tensor[];
  /** Empty: all of them. */
  readonly outputs: readonly string[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** 0: the model's default. */
  readonly priority: number;
  readonly sequence: RequestSequence | null;
  /** For whom it is made; null: for nobody, in the background. */
  readonly caller: RequestPlace | null;
  readonly signal: AbortSignal | null;
}

export interface RequestSequence {
  readonly id: bigint | string;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

/** A request that is being executed, or all those of its batch (`index` -1). */
export interface RequestPlace {
  readonly execution: number;
  readonly index: number;
}

export interface Backend {
  readonly name: string;
  /**
   * Opens one model version and reads what its file says of itself. Throws InferenceError (INVALID_ARGUMENT: the file or the
   * configuration is at fault; UNIMPLEMENTED: it needs something this backend does not do).
   */
  load(spec: ModelSpec): Promise<Model>;
  /** Releases what the backend holds beyond its models; called after all are unloaded. */
  close(): Promise<void>;
}

/** Everything a host needs to load a model version. Plain data: it crosses the process boundary as JSON. */
export interface ModelSpec {
  readonly name: string;
  readonly version: number;
  /** Absolute path of the model's file (or directory, where the backend's format is one). */
  readonly modelPath: string;
  /** The configuration as the repository read it; inputs and outputs may still be missing: the gateway completes them from `Model.metadata`. */
  readonly config: ModelConfig;
}

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: Datatype;
  /** The model file's own shape, batch dimension included; -1 where the file leaves a dimension open; [] is a scalar. */
  readonly shape: readonly number[];
  /** May be left out of a request (an ONNX input that has an initializer), or, an output, of a response of a decoupled model. */
  readonly optional: boolean;
}

export interface ModelMetadata {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** The model's own word on batches: 0: it has no batch dimension. Left out where only the shapes tell. */
  readonly maxBatchSize?: number;
}

export interface Model {
  readonly metadata: ModelMetadata;
  /** One executable copy. Instances of a model may share its weights. Throws INVALID_ARGUMENT where the model can only be served decoupled. */
  createInstance(): Promise<ModelInstance>;
  /** Instead of `createInstance`, for a model whose configuration says `model_transaction_policy { decoupled: true }`. */
  createDecoupledInstance?(): Promise<DecoupledModelInstance>;
  /** Instead of `createInstance`, in hosts that run models' own code. */
  createRequestInstance?(): Promise<RequestModelInstance>;
  unload(): Promise<void>;
}

export interface ModelInstance {
  /**
   * Runs the model once on a whole batch, synchronously.
   *
   * `inputs` are those present, in any order, with the names and datatypes of the metadata and shapes that include the batch dimension. Their bytes lie
   * in memory that does not move, 64-byte aligned, and stay as they are until this returns. Every output of the model goes to `sink`, in the
   * metadata's order. Throws InferenceError when the model fails; the instance stays usable.
   */
  execute(inputs: readonly Tensor[], sink: OutputSink): void;
  dispose(): void;
}

/** Where an instance puts what it computed. */
export interface OutputSink {
  /**
   * `byteLength` bytes, 64-byte aligned and not moving, for the backend to write the named output into before `execute` returns; it may be asked for
   * before the run (when the shape is known, so the runtime writes in place) or after it. BYTES outputs are written with their length prefixes.
   * Called once per output.
   */
  allocate(name: string, datatype: Datatype, shape: readonly number[], byteLength: number): Uint8Array;
  /** The inputs are bound and the model starts to compute: splits the standard durations compute_input / compute_infer. */
  inferStarted(): void;
  /** The model is done; what follows is compute_output. */
  inferEnded(): void;
}

/** An instance of a model that answers a request with any number of responses, over time; it may work on many requests at once. */
export interface DecoupledModelInstance {
  /** How many requests it works on at once, 1 or more. Left out, or over the host's own bound: that bound. */
  readonly maxRequests?: number;
  /**
   * The responses to one request, each with every output of the model but optional ones that it does not have, in the metadata's order. The host asks for the next one only while the client has room for it.
   * Ends the request by ending; throws InferenceError when the model fails, which ends this request alone. When `signal` aborts nobody waits any more: end soon.
   * Runs on the host's event loop: never hold it for long, other requests and the cancel wait for it. `inputs` are the request's own until the iteration ends; the bytes of
   * a response stay as they are until the next one is asked for.
   */
  infer(request: DecoupledRequest): AsyncIterable<readonly Tensor[]>;
  /** Of one that generates text, for the server's metrics. Asked for at the end of each request and four times a second while some run, so it only reads. */
  statistics?(): EngineStatistics;
  dispose(): Promise<void>;
}

/** Whole numbers, 0 or more. Counters are since the instance was made. */
export interface EngineStatistics {
  /** Computed, so without `cachedPromptTokens`: those that a sequence had already. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly generatedTokens: number;
  /** Runs of the model, each over the tokens of many sequences. */
  readonly steps: number;
  /** Now, that read a prompt or generate. */
  readonly runningSequences: number;
  /** Now; a prompt that is kept for later counts as well. */
  readonly kvTokensUsed: number;
  readonly kvTokensTotal: number;
}

/** An instance that is given a batch's requests one by one, and takes its time: it runs on the host's event loop, many batches at once where it waits for something. */
export interface RequestModelInstance {
  /** How many batches it works on at once, 1 or more. Left out, or over the host's own bound: that bound. */
  readonly maxBatches?: number;
  /** For each request, in order, every output of the model in the metadata's order, or why it failed. What it throws instead fails all of them. */
  execute(requests: readonly ModelRequest[]): Promise<readonly (readonly Tensor[] | InferenceError)[]>;
  dispose(): Promise<void>;
}

/** One request of a batch, with what the protocols say of it. */
export interface ModelRequest {
  readonly id: string;
  /** Those present, with the names and datatypes of the metadata; the bytes begin on 8-byte boundaries and are the request's own. */
  readonly inputs: readonly Tensor[];
  /** Empty: all of them. */
  readonly outputs: readonly string[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly priority: number;
  readonly sequence: RequestSequence | null;
  /** First dimension of the inputs where the model batches, 1 elsewhere. */
  readonly batchSize: number;
  /** On this process's `performance.now()`; Infinity: none. */
  readonly deadlineMs: number;
  /** Nobody waits any more. */
  readonly signal: AbortSignal;
  readonly place: RequestPlace;
}

export interface DecoupledRequest {
  /** In hosts that run models' own code: the same request, with all that is known of it. */
  readonly request?: ModelRequest;
  /** Those present, with the names and datatypes of the metadata. */
  readonly inputs: readonly Tensor[];
  /** Request parameters that are not reserved words of the protocol. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly signal: AbortSignal;
  /**
   * It gets on, though it gives no response: its time until the next one (--execution-timeout-ms) starts anew. To be called for one that waits behind others, too, while those get on.
   * Cheap: the host tells its gateway now and then.
   */
  progress?(): void;
  /** Of a model that generates text: the tokens of the prompt and of the text so far. What was said last is told with the request's end. */
  used?(inputTokens: number, outputTokens: number): void;
}
