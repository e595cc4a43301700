import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Logger } from './log.ts';
import type { ServerOptions } from './options/index.ts';
import { LocalStore } from './scheduling/cache/local-store.ts';
import { redisPackage } from './scheduling/cache/redis-client.ts';
import { RedisStore } from './scheduling/cache/redis-store.ts';
import type { ResponseStore } from './scheduling/cache/response-store.ts';
import { UsageError } from './usage-error.ts';

/** The response cache that the options ask for; null: none. Throws UsageError: it cannot be had here. */
export function openResponseStore({ cacheConfig, responseCacheByteSize }: ServerOptions, log: Logger): ResponseStore | null {
  if (cacheConfig === null) return responseCacheByteSize > 0 ? new LocalStore(responseCacheByteSize) : null;
  if (cacheConfig.kind === 'local') return new LocalStore(cacheConfig.sizeBytes);
  requireRedis();
  const { host, port, user, password, database, isTls, connectTimeoutMs, socketTimeoutMs, ttlSecs, maxEntryBytes } = cacheConfig;
  const { caPath, certPath, keyPath, serverName } = cacheConfig;
  const tls = isTls ? { ca: readPem('cacert', caPath), cert: readPem('cert', certPath), key: readPem('key', keyPath), serverName } : null;
  return new RedisStore({
    ...{ host, port, user, password, database, tls, connectTimeoutMs, timeoutMs: socketTimeoutMs, ttlSecs, maxEntryBytes },
    onState: (isReady, reason) => {
      if (isReady) log.info({ host, port }, 'response cache: connected to Redis');
      else log.warn({ host, port, reason }, 'response cache: no connection to Redis; models answer without it meanwhile');
    },
  });
}

function requireRedis(): void {
  try {
    createRequire(import.meta.url).resolve(redisPackage);
  } catch {
    throw new UsageError(`--cache-config redis needs the package '${redisPackage}', which is not installed: npm install ${redisPackage}`);
  }
}

function readPem(key: string, path: string | null): string | null {
  if (path === null) return null;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--cache-config redis,${key}=${path}: ${(error as Error).message}`);
  }
}
