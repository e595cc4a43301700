/**
 * What a model written in JavaScript or TypeScript is given, and gives. A model is a file `model.mjs` (or `model.ts`) in its version directory:
 *
 *     // <repository>/add_one/1/model.mjs
 *     export const config = {
 *       maxBatchSize: 8,
 *       inputs: [{ name: 'IN', datatype: 'FP32', dims: [-1] }],
 *       outputs: [{ name: 'OUT', datatype: 'FP32', dims: [-1] }],
 *     };
 *     export function execute(requests) {
 *       return requests.map(({ inputs: { IN } }) => ({ OUT: { shape: IN.shape, data: IN.data.map((x) => x + 1) } }));
 *     }
 *
 * or a class with the same methods as its default export. In TypeScript: `import type { ModelRequest, ModelResult } from 'nereid/model'`.
 *
 * Each instance (`instance_group`) is a process of its own: what a module keeps in variables is its own, a crash or an endless loop costs that process alone, and it is replaced. A throw of `execute`
 * for one request fails that request; for several, they are run again one by one, so that the one at fault fails alone.
 */

export type Datatype =
  | 'BOOL'
  | 'UINT8'
  | 'UINT16'
  | 'UINT32'
  | 'UINT64'
  | 'INT8'
  | 'INT16'
  | 'INT32'
  | 'INT64'
  | 'FP16'
  | 'BF16'
  | 'FP32'
  | 'FP64'
  | 'BYTES';

/** What an error says that is not the model's fault: `Object.assign(new Error(text), { code })`, or `context.error(code, text)`. */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNKNOWN';

export type NumberArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

export type ParameterValue = string | number | boolean;

/** The elements of each datatype, as a model has them. BOOL: 0 and 1; FP16 and BF16: their bits (`floats()` makes numbers of them); BYTES: `strings()` makes text of them. */
export interface DatatypeElements {
  BOOL: Uint8Array;
  UINT8: Uint8Array;
  UINT16: Uint16Array;
  UINT32: Uint32Array;
  UINT64: BigUint64Array;
  INT8: Int8Array;
  INT16: Int16Array;
  INT32: Int32Array;
  INT64: BigInt64Array;
  FP16: Uint16Array;
  BF16: Uint16Array;
  FP32: Float32Array;
  FP64: Float64Array;
  BYTES: Uint8Array[];
}

/** An input, or an output of a model that was called. In TypeScript, `Tensor<'FP32'>` where the datatype is known. */
export interface Tensor<Type extends Datatype = Datatype> {
  readonly name: string;
  readonly datatype: Type;
  /** Every dimension, the batch dimension included. */
  readonly shape: readonly number[];
  /** The elements, row by row: a view, not a copy, and the model's own. */
  readonly data: DatatypeElements[Type];
  /** As the protocol has them: little-endian, BYTES behind 4-byte lengths. */
  readonly bytes: Uint8Array;
  /** The elements of a BYTES tensor as UTF-8 text. */
  strings(): string[];
  /** The elements as 32-bit floats; FP16, BF16, FP32 and FP64. */
  floats(): Float32Array;
}

/** An output, or an input of a model that is called. The array alone will do where the shape follows: for an output, from the configuration; for a call, one dimension. */
export type TensorInit =
  | TensorValues
  | { readonly data: TensorValues; readonly shape?: readonly number[]; readonly datatype?: Datatype }
  | Tensor;

/** Numbers in the array type of the datatype, or a plain array of numbers, bigints, booleans; strings or bytes for BYTES. FP16 and BF16 take Float32Array and plain arrays too. */
export type TensorValues = NumberArray | readonly (number | bigint | boolean | string | Uint8Array)[];

export type Outputs = Readonly<Record<string, TensorInit>>;

export interface Sequence {
  /** A number is a bigint. */
  readonly id: bigint | string;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

/** In TypeScript, `ModelRequest<{ IN: Tensor<'FP32'> }>` where the inputs are known. */
export interface ModelRequest<Inputs = Record<string, Tensor>> {
  readonly id: string;
  /** By name; an optional one that was left out is not there. */
  readonly inputs: Readonly<Inputs>;
  /** The outputs that the caller wants; the model gives all the same. */
  readonly requestedOutputs: readonly string[];
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  /** 0: the default. */
  readonly priority: number;
  readonly sequence: Sequence | null;
  /** Rows of the inputs where the model batches, 1 elsewhere. */
  readonly batchSize: number;
  /** On `performance.now()`; Infinity: none. */
  readonly deadlineMs: number;
  /** Aborted when the caller has gone or its deadline has passed: nobody reads the answer any more. */
  readonly signal: AbortSignal;
  /** As {@link ModelContext.call}, for this request alone: ends with it. */
  readonly call: ModelContext['call'];
  readonly stream: ModelContext['stream'];
}

/** A request of a decoupled model (`model_transaction_policy { decoupled: true }`): it is answered any number of times, until `execute` ends. */
export interface DecoupledRequest<Inputs = Record<string, Tensor>> extends ModelRequest<Inputs> {
  /** One response. Resolves when the next may follow: await it, so that a slow caller slows the model down. Rejects with CANCELLED when nobody waits any more. */
  send(outputs: Outputs): Promise<void>;
}

export interface CallOptions {
  /** Of the model; the one its version policy chooses when left out. */
  readonly version?: string | number;
  /** Outputs that are wanted; all when left out. */
  readonly outputs?: readonly string[];
  readonly parameters?: Readonly<Record<string, ParameterValue>>;
  readonly id?: string;
  readonly priority?: number;
  readonly sequence?: { readonly id: bigint | number | string; readonly isStart?: boolean; readonly isEnd?: boolean };
  /** Milliseconds. The request's own deadline holds as well. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ModelContext {
  readonly name: string;
  readonly version: number;
  /** Absolute path of the version directory. */
  readonly directory: string;
  /** The configuration's `parameters`, and those of the module's own `config`. */
  readonly parameters: Readonly<Record<string, string>>;
  /** The model configuration as the repository has it, in camelCase. */
  readonly config: Readonly<Record<string, unknown>>;
  /** To the server's log, with the model's name. `console` goes there too. */
  readonly logger: {
    debug(...values: unknown[]): void;
    info(...values: unknown[]): void;
    warn(...values: unknown[]): void;
    error(...values: unknown[]): void;
  };
  /**
   * Asks another model of this server; its outputs by name. Within `execute` it belongs to the batch's requests and ends with the last of them. Throws an Error with a `code`. At most 16 models deep.
   */
  call(model: string, inputs: Readonly<Record<string, TensorInit>>, options?: CallOptions): Promise<Record<string, Tensor>>;
  /** The same for models that answer any number of times. Leaving the loop cancels the call. */
  stream(model: string, inputs: Readonly<Record<string, TensorInit>>, options?: CallOptions): AsyncIterable<Record<string, Tensor>>;
  /** An error for one request: `throw context.error('INVALID_ARGUMENT', '...')`, or in its place among the results. */
  error(code: ErrorCode, message: string): Error;
}

/** The outputs of one request, every one that the model has, or why it failed. */
export type ModelResult = Outputs | Error;

export interface TensorConfig {
  readonly name: string;
  readonly datatype: Datatype;
  /** Without the batch dimension; -1: any. */
  readonly dims: readonly number[];
  /** Of an input: requests may leave it out. */
  readonly optional?: boolean;
}

/** `export const config`: for a model without a configuration file, and checked against one where there is. A function of that name, `autoComplete`, is called when the model is loaded. */
export interface ModuleConfig {
  /** 0 when left out: the model has no batch dimension. */
  readonly maxBatchSize?: number;
  readonly inputs: readonly TensorConfig[];
  readonly outputs: readonly TensorConfig[];
  /** Batches that `execute` may work on at the same time, when it waits for something; 64 when left out. 1: it is not called again before its promise has settled. */
  readonly maxConcurrency?: number;
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The module, or an instance of the class that is its default export. */
export interface Model {
  /** Once, before the first request. */
  initialize?(context: ModelContext): void | Promise<void>;
  /** One result for each request, in order. Of a decoupled model: one request, which is answered by `send`; nothing is returned. */
  execute(requests: readonly ModelRequest[], context: ModelContext): readonly ModelResult[] | Promise<readonly ModelResult[]>;
  /** Once, at the end; within 10 seconds. */
  finalize?(): void | Promise<void>;
}

export interface DecoupledModel {
  initialize?(context: ModelContext): void | Promise<void>;
  execute(requests: readonly [DecoupledRequest], context: ModelContext): void | Promise<void>;
  finalize?(): void | Promise<void>;
}
