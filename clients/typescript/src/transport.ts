/**
 * What a transport (HTTP, gRPC, WebSocket) does for the client: one attempt of one call, on tensors that are bytes already. Types, retries, deadlines and the
 * caller's signal belong to the client in front of it (client.ts).
 *
 * A transport rejects with: `call.signal.reason` when the signal aborts (it always is an InferenceError); a CallError (call-error.ts), whose `phase` says how far
 * the call had come, for everything else that goes wrong on the way or is answered by the server; a plain InferenceError INVALID_ARGUMENT or UNIMPLEMENTED for what
 * this transport cannot send.
 */

import type { Datatype } from '../../../proto/datatype.ts';
import type { GenerateRequest, GenerateResponse } from './generate.ts';
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

/** A bigint is for whole numbers that a double does not hold exactly. Over gRPC a whole number is int64_param, any other number double_param. */
export type InferParameter = string | number | bigint | boolean;
export type InferParameters = Readonly<Record<string, InferParameter>>;

/** Part of a registered shared-memory region, bytes. */
export interface SharedMemoryRange {
  readonly region: string;
  readonly byteSize: number;
  readonly offset: number;
}

/** An input, checked: `data` has the bytes that datatype and shape ask for, in the binary tensor extension's layout. */
export interface InputTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Borrowed from the caller until the call ends; a range: the tensor lies in shared memory and nothing is sent. */
  readonly data: Uint8Array | SharedMemoryRange;
}

export interface RequestedOutput {
  readonly name: string;
  /** As the binary tensor extension (HTTP, WebSocket); gRPC answers are binary always. */
  readonly binaryData: boolean;
  /** The K of the classification extension; 0: the tensor itself. */
  readonly classification: number;
  readonly sharedMemory: SharedMemoryRange | null;
}

export interface InferRequest {
  readonly modelName: string;
  /** '': the version that the server's policy says. */
  readonly modelVersion: string;
  /** '': none was given. A transport that needs one (many requests on one connection) makes one, and gives none back. */
  readonly id: string;
  /** As they go on the wire, reserved words (sequence_id, priority, timeout, ...) included; without binary_data_output, which follows from `json`. */
  readonly parameters: InferParameters;
  readonly inputs: readonly InputTensor[];
  /** Empty: all of the model's. */
  readonly outputs: readonly RequestedOutput[];
  /** HTTP, WebSocket: the tensors go into the JSON, and unlisted outputs come in it. gRPC: no meaning. */
  readonly json: boolean;
}

export interface OutputTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Layout as for inputs, the receiver's to keep; null: written to shared memory. Whatever form it had on the wire, it is bytes here. Not aligned. */
  readonly data: Uint8Array | null;
}

export interface InferResponse {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly parameters: InferParameters;
  readonly outputs: readonly OutputTensor[];
}

/** One attempt of one call. */
export interface CallContext {
  /** Aborts when the caller wants it or the deadline passes, and its reason is the InferenceError to reject with. null: nothing ends the call early. */
  readonly signal: AbortSignal | null;
  /** As Date.now(), ms; Infinity: none. For transports that tell the server (gRPC); the signal enforces it. */
  readonly deadlineMs: number;
  /** Lower-case names; the client's and the call's own, put together. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Calls that are not inference. `version` is '' where none was given. Names and texts are the server's. */
export interface ControlTransport {
  isServerLive(call: CallContext): Promise<boolean>;
  isServerReady(call: CallContext): Promise<boolean>;
  /** False also for a model or version that the server does not know: servers differ in whether that is an error. */
  isModelReady(name: string, version: string, call: CallContext): Promise<boolean>;
  serverMetadata(call: CallContext): Promise<ServerMetadata>;
  modelMetadata(name: string, version: string, call: CallContext): Promise<ModelMetadata>;
  modelConfig(name: string, version: string, call: CallContext): Promise<ModelConfig>;
  /** '': of all models. */
  statistics(name: string, version: string, call: CallContext): Promise<readonly ModelStatistics[]>;
  repositoryIndex(readyOnly: boolean, call: CallContext): Promise<readonly RepositoryEntry[]>;
  /** `config`: a model configuration as JSON, or ''. `files`: by path below the model's directory, `1/model.onnx`. */
  loadModel(name: string, config: string, files: ReadonlyMap<string, Uint8Array>, call: CallContext): Promise<void>;
  unloadModel(name: string, unloadDependents: boolean, call: CallContext): Promise<void>;
  /** The versions that serve then. Nereid's own; gRPC has no such call: its transport throws UNIMPLEMENTED. */
  rollbackModel(name: string, call: CallContext): Promise<readonly string[]>;
  /** '': all regions. */
  systemSharedMemoryStatus(name: string, call: CallContext): Promise<readonly SystemSharedMemoryRegion[]>;
  registerSystemSharedMemory(region: SystemSharedMemoryRegion, call: CallContext): Promise<void>;
  /** '': all regions. */
  unregisterSystemSharedMemory(name: string, call: CallContext): Promise<void>;
  cudaSharedMemoryStatus(name: string, call: CallContext): Promise<readonly CudaSharedMemoryRegion[]>;
  registerCudaSharedMemory(region: CudaSharedMemoryRegion, rawHandle: Uint8Array, call: CallContext): Promise<void>;
  unregisterCudaSharedMemory(name: string, call: CallContext): Promise<void>;
  /** '': the server's own. An empty update only reads. */
  traceSettings(model: string, update: TraceSettingsUpdate, call: CallContext): Promise<TraceSettings>;
  logSettings(update: LogSettingsUpdate, call: CallContext): Promise<LogSettings>;
}

export interface Transport extends ControlTransport {
  /** For error messages: `HTTP`, `gRPC`, `WebSocket`. */
  readonly name: string;
  infer(request: InferRequest, call: CallContext): Promise<InferResponse>;
  /**
   * A request with any number of responses, in the order in which the model made them, each with its outputs. The flags-only message that ends a decoupled request
   * on the wire is not among them: it ends the iteration. A model that is not decoupled gives one. Ending the iteration early (`return`) cancels the request.
   * A reader that is slow holds the server back where the wire can, and never makes the client buffer without a bound. The request is sent by the first `next`.
   * HTTP has no such form: its transport throws UNIMPLEMENTED.
   */
  stream(request: InferRequest, call: CallContext): AsyncIterableIterator<InferResponse>;
  /** The generate extension, of the transports that have it: one response, an object. */
  generate?(request: GenerateRequest, call: CallContext): Promise<GenerateResponse>;
  /** The same with any number of responses; else as `stream`. */
  generateStream?(request: GenerateRequest, call: CallContext): AsyncIterableIterator<GenerateResponse>;
  /** Ends all connections. Calls in flight reject with CANCELLED, later ones too. May be called twice. */
  close(): Promise<void>;
}

export interface TransportOptions {
  /** Compresses request bodies, and asks for compressed answers, where the wire has it. */
  readonly compression: 'none' | 'gzip';
  /** For TLS in Node, PEM. Browsers have their own, and an HTTP client in Node takes them by its `fetch` option. */
  readonly tls: TlsOptions | null;
  /** Used in place of the global fetch. */
  readonly fetch: typeof globalThis.fetch | null;
}

export interface TlsOptions {
  /** Certificates of authorities to trust, in place of the system's. */
  readonly ca?: string | Uint8Array;
  /** For mutual TLS. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
}

/**
 * What the module of a transport exports under the name `createTransport`: `http/http-transport.ts`, `grpc/grpc-transport.ts`, `websocket/websocket-transport.ts`.
 * It may connect at the first call. The URL's scheme is one that the transport serves; credentials in a URL are refused before.
 */
export type CreateTransport = (url: URL, options: TransportOptions) => Transport;
