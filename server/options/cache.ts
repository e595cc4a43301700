import type { OptionTable } from './option-declaration.ts';
import { bytesKind, expected, listKind } from './option-kind.ts';
import { MIB } from './option-units.ts';

/** Where responses are kept; see {@link parseCacheConfig}. */
export type CacheConfig = LocalCacheConfig | RedisCacheConfig;

export interface LocalCacheConfig {
  readonly kind: 'local';
  readonly sizeBytes: number;
}

export interface RedisCacheConfig {
  readonly kind: 'redis';
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  readonly password: string | null;
  readonly database: number;
  readonly isTls: boolean;
  /** PEM files; null: the system's authorities, no certificate of our own. */
  readonly caPath: string | null;
  readonly certPath: string | null;
  readonly keyPath: string | null;
  /** Name to ask for, and to find in the certificate; null: the host. */
  readonly serverName: string | null;
  readonly connectTimeoutMs: number;
  /** A lookup without an answer by then is a miss. */
  readonly socketTimeoutMs: number;
  /** Entries are kept so long; 0: until Redis makes room. */
  readonly ttlSecs: number;
  /** Larger responses are not kept, larger values not taken. */
  readonly maxEntryBytes: number;
}

export interface CacheOptions {
  readonly cacheConfig: CacheConfig | null;
  readonly responseCacheByteSize: number;
}

export const cacheOptions: OptionTable<CacheOptions> = {
  cacheConfig: {
    flag: 'cache-config',
    group: 'Execution',
    kind: listKind<CacheConfig | null>('CACHE,KEY=VALUE', parseCacheConfig, showCacheConfig),
    default: null,
    doc: 'Keep responses of models with response_cache.enable. local,size=BYTES: in memory. redis,host=HOST, and port, user, password, db, tls, cacert, cert, key, sni, connect_timeout, socket_timeout, ttl, max_entry_bytes: in Redis (needs the package redis). One key at a time or several with commas; may be given several times.',
  },
  responseCacheByteSize: {
    flag: 'response-cache-byte-size',
    group: 'Execution',
    kind: bytesKind(0),
    default: 0,
    doc: 'As --cache-config local,size=BYTES; 0: no cache.',
  },
};

const cacheNames: readonly string[] = ['local', 'redis'];
/** What an entry takes at least, and so the smallest cache that makes sense. */
const MIN_LOCAL_BYTES = 1024;
const MAX_TIMEOUT_MS = 60_000;

/** Texts are `CACHE,KEY=VALUE[,KEY=VALUE]...`; all name one cache. */
function parseCacheConfig(texts: readonly string[]): CacheConfig {
  const settings = new Map<string, string>();
  let cache = '';
  for (const text of texts) {
    const [name = '', ...pairs] = text.split(',');
    if (!cacheNames.includes(name)) throw expected(`one of the caches ${cacheNames.join(', ')} before the first comma`, text);
    if (cache !== '' && name !== cache) throw expected(`one cache, '${cache}' as before`, text);
    cache = name;
    if (pairs.length === 0) throw expected(`${name},KEY=VALUE`, text);
    for (const pair of pairs) {
      const at = pair.indexOf('=');
      if (at < 1) throw expected(`KEY=VALUE after '${name},'`, pair);
      settings.set(pair.slice(0, at), pair.slice(at + 1));
    }
  }
  return cache === 'local' ? localConfig(settings) : redisConfig(settings);
}

function localConfig(settings: Map<string, string>): LocalCacheConfig {
  const size = settings.get('size');
  requireKnown(settings, ['size'], 'local');
  if (size === undefined) throw expected('local,size=BYTES', '');
  return { kind: 'local', sizeBytes: bytesKind(MIN_LOCAL_BYTES).parse([size]) };
}

function redisConfig(settings: Map<string, string>): RedisCacheConfig {
  const text = (key: string): string | null => settings.get(key) || null;
  const integer = (key: string, otherwise: number, min: number, max: number): number => {
    const value = settings.get(key);
    if (value === undefined) return otherwise;
    if (!/^\d{1,15}$/.test(value) || Number(value) < min || Number(value) > max)
      throw expected(`an integer from ${min} to ${max} for ${key}`, value);
    return Number(value);
  };
  const tls = settings.get('tls') ?? settings.get('tls_enabled') ?? 'false';
  if (tls !== 'true' && tls !== 'false') throw expected('true or false for tls', tls);
  const known = ['host', 'port', 'user', 'username', 'password', 'db', 'tls', 'tls_enabled', 'cacert', 'cert', 'key', 'sni', 'pool_size'];
  requireKnown(settings, [...known, 'connect_timeout', 'socket_timeout', 'wait_timeout', 'ttl', 'max_entry_bytes'], 'redis');
  const host = text('host');
  if (host === null) throw expected('redis,host=HOST', '');
  return {
    kind: 'redis',
    host,
    port: integer('port', 6379, 1, 65_535),
    user: text('user') ?? text('username'),
    password: text('password'),
    database: integer('db', 0, 0, 65_535),
    isTls: tls === 'true',
    caPath: text('cacert'),
    certPath: text('cert'),
    keyPath: text('key'),
    serverName: text('sni'),
    connectTimeoutMs: integer('connect_timeout', 1_000, 1, MAX_TIMEOUT_MS),
    socketTimeoutMs: integer('socket_timeout', 10, 1, MAX_TIMEOUT_MS),
    ttlSecs: integer('ttl', 0, 0, 2 ** 31),
    maxEntryBytes: integer('max_entry_bytes', 8 * MIB, 1024, 512 * MIB),
  };
}

function requireKnown(settings: Map<string, string>, known: readonly string[], cache: string): void {
  for (const key of settings.keys()) if (!known.includes(key)) throw expected(`a key of ${cache}: ${known.join(', ')}`, key);
}

/** Without its password. */
function showCacheConfig(config: CacheConfig | null): string {
  if (config === null) return '';
  return config.kind === 'local' ? `local,size=${config.sizeBytes}` : `redis,host=${config.host},port=${config.port}`;
}
