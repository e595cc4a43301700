import type { RpcTransportOptions } from '../rpc-call.ts';

/** A gRPC transport on a free port of this machine, for tests and benchmarks: no timers, no TLS, no compression. */
export const LOCAL_OPTIONS: Omit<RpcTransportOptions, 'methods' | 'onError'> = {
  host: '127.0.0.1',
  port: 0,
  maxReceiveBytes: 64 * 1024 * 1024,
  maxSendBytes: 2 ** 31 - 1,
  maxMetadataBytes: 8 * 1024,
  maxConnections: 100,
  maxConcurrentCalls: 2000,
  compression: 'none',
  keepaliveTimeMs: Number.POSITIVE_INFINITY,
  keepaliveTimeoutMs: 20_000,
  maxConnectionAgeMs: Number.POSITIVE_INFINITY,
  maxConnectionAgeGraceMs: Number.POSITIVE_INFINITY,
  tls: null,
};
