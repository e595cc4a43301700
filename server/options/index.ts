import { type CacheOptions, cacheOptions } from './cache.ts';
import { type ExecutionOptions, executionOptions } from './execution.ts';
import { type GrpcOptions, grpcOptions } from './grpc.ts';
import { type HttpOptions, httpOptions } from './http.ts';
import { type LifecycleOptions, lifecycleOptions } from './lifecycle.ts';
import { type LogOptions, logOptions } from './log.ts';
import { type MetricsOptions, metricsOptions } from './metrics.ts';
import { type ModelOptions, modelOptions } from './models.ts';
import type { OptionTable } from './option-declaration.ts';
import { type RateLimitOptions, rateLimitOptions } from './rate-limit.ts';
import { type ProcessOptions, processOptions } from './server.ts';

/** Everything that can be chosen, complete and frozen. What each means is said once, in {@link serverOptions}. */
export interface ServerOptions
  extends ModelOptions,
    LifecycleOptions,
    HttpOptions,
    GrpcOptions,
    MetricsOptions,
    ExecutionOptions,
    CacheOptions,
    RateLimitOptions,
    LogOptions,
    ProcessOptions {}

/** The one declaration of each option, in the order of the help. */
export const serverOptions: OptionTable<ServerOptions> = {
  ...modelOptions,
  ...lifecycleOptions,
  ...httpOptions,
  ...grpcOptions,
  ...metricsOptions,
  ...executionOptions,
  ...cacheOptions,
  ...rateLimitOptions,
  ...logOptions,
  ...processOptions,
};
