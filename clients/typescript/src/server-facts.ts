/** What a server says about itself and its models. Source: Open Inference Protocol (metadata); Triton's extensions for the rest. */

export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

export interface TensorMetadata {
  readonly name: string;
  /** A protocol datatype; text, since a newer server may have more of them. */
  readonly datatype: string;
  /** The batch dimension included, where the model has one; -1: any. */
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly name: string;
  /** Ready versions. */
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

/** The model configuration in the words of `model_config.proto` (snake_case), as JSON. */
export type ModelConfig = Readonly<Record<string, unknown>>;

export interface StatisticDuration {
  readonly count: number;
  readonly ns: number;
}

export interface InferBatchStatistics {
  readonly batchSize: number;
  readonly computeInput: StatisticDuration;
  readonly computeInfer: StatisticDuration;
  readonly computeOutput: StatisticDuration;
}

/** Of the nth response of decoupled models. */
export interface InferResponseStatistics {
  readonly computeInfer: StatisticDuration;
  readonly computeOutput: StatisticDuration;
  readonly success: StatisticDuration;
  readonly fail: StatisticDuration;
  readonly emptyResponse: StatisticDuration;
  readonly cancel: StatisticDuration;
}

export interface InferStatistics {
  readonly success: StatisticDuration;
  readonly fail: StatisticDuration;
  readonly queue: StatisticDuration;
  readonly computeInput: StatisticDuration;
  readonly computeInfer: StatisticDuration;
  readonly computeOutput: StatisticDuration;
  readonly cacheHit: StatisticDuration;
  readonly cacheMiss: StatisticDuration;
}

export interface MemoryUsage {
  readonly type: string;
  readonly id: number;
  readonly byteSize: number;
}

export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970; 0: none yet. */
  readonly lastInference: number;
  /** A request of batch size n counts n times. */
  readonly inferenceCount: number;
  readonly executionCount: number;
  readonly inferenceStats: InferStatistics;
  /** By index of the response. */
  readonly responseStats: Readonly<Record<string, InferResponseStatistics>>;
  readonly batchStats: readonly InferBatchStatistics[];
  readonly memoryUsage: readonly MemoryUsage[];
}

export interface RepositoryEntry {
  readonly name: string;
  /** '': the model was never loaded. */
  readonly version: string;
  /** READY, LOADING, UNLOADING, UNAVAILABLE; '': the model was never loaded. */
  readonly state: string;
  readonly reason: string;
}

export interface SystemSharedMemoryRegion {
  readonly name: string;
  readonly key: string;
  readonly offset: number;
  readonly byteSize: number;
}

export interface CudaSharedMemoryRegion {
  readonly name: string;
  readonly deviceId: number;
  readonly byteSize: number;
}

/** In the server's words: trace_level (a list), trace_rate, trace_count, log_frequency, trace_file, trace_mode. */
export type TraceSettings = Readonly<Record<string, string | readonly string[]>>;
/** null: back to the setting's default. */
export type TraceSettingsUpdate = Readonly<Record<string, string | readonly string[] | null>>;

/** In the server's words: log_info, log_verbose_level, ... */
export type LogSettings = Readonly<Record<string, string | number | boolean>>;
export type LogSettingsUpdate = LogSettings;
