/** @hotpath a lookup, and on a miss an insertion, per request of a cached model, where the cache is Redis, all but what Redis and its client take (measured by cached-scheduler.bench.ts) */

import type { ModelSignature } from '../../inference/model-signature.ts';
import { asBytes, createRedisClient, type RedisClient, type RedisConnection, type RedisLibrary, redisPackage } from './redis-client.ts';
import { decodeValue, encodeValue } from './redis-value.ts';
import type { CachedResponse, ResponseStore, StoreCounts } from './response-store.ts';

export interface RedisStoreOptions extends RedisConnection {
  /** A lookup without an answer by then is a miss. */
  readonly timeoutMs: number;
  /** 0: until Redis makes room. */
  readonly ttlSecs: number;
  readonly maxEntryBytes: number;
  /** Hears once that the connection is lost, or the package not there, and once that it is back. */
  readonly onState: (isReady: boolean, reason: string) => void;
}

const KEY_PREFIX = 'nereid:1:';
/** Commands without a reply; what comes beyond them does without the cache. */
const MAX_INFLIGHT = 512;
const MAX_UNSENT_BYTES = 64 * 2 ** 20;
/** Lookups without an answer in time, one after the other, before the connection is given up as hung. */
const MAX_TIMEOUTS = 64;

/**
 * In Redis, for several servers together and beyond their lives. Nothing that Redis does or does not do fails a request: without a connection, without an answer in time and with an answer that is
 * no response of the model, a lookup is a miss.
 */
export class RedisStore implements ResponseStore, StoreCounts {
  readonly isShared = true;
  readonly #options: RedisStoreOptions;
  #client: RedisClient | null = null;
  #library: RedisLibrary | null = null;
  #inflight = 0;
  #unsentBytes = 0;
  #timeouts = 0;
  /** Null: nobody knows yet. */
  #isReady: boolean | null = null;
  #isClosed = false;
  readonly usedBytes = 0;
  readonly entryCount = 0;
  readonly evictedCount = 0;
  tooLargeCount = 0;
  failedCount = 0;

  constructor(options: RedisStoreOptions) {
    this.#options = options;
    // The name is not a literal, so that nothing needs the package to be there.
    const name: string = redisPackage;
    import(name).then(
      (library: RedisLibrary) => {
        this.#library = library;
        this.#connect();
      },
      (error: unknown) => this.#tell(false, String(error)),
    );
  }

  get counts(): StoreCounts {
    return this;
  }

  lookup(key: string, signature: ModelSignature): Promise<CachedResponse | null> | null {
    const client = this.#client;
    if (client === null || !client.isReady || this.#inflight >= MAX_INFLIGHT) {
      this.failedCount++;
      return null;
    }
    this.#inflight++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.failedCount++;
        resolve(null);
        if (++this.#timeouts >= MAX_TIMEOUTS && client === this.#client) this.#giveUp();
      }, this.#options.timeoutMs);
      // No more than may be kept comes back, whatever somebody else has put there.
      client.sendCommand(['GETRANGE', KEY_PREFIX + key, '0', String(this.#options.maxEntryBytes)], asBytes).then(
        (value) => {
          clearTimeout(timer);
          this.#inflight--;
          this.#timeouts = 0;
          resolve(this.#decode(value, signature));
        },
        () => {
          clearTimeout(timer);
          this.#inflight--;
          this.failedCount++;
          resolve(null);
        },
      );
    });
  }

  insert(key: string, response: CachedResponse): void {
    const client = this.#client;
    if (client === null || !client.isReady || this.#inflight >= MAX_INFLIGHT || this.#unsentBytes >= MAX_UNSENT_BYTES) {
      this.failedCount++;
      return;
    }
    const value = encodeValue(response, this.#options.maxEntryBytes);
    if (value === null) {
      this.tooLargeCount++;
      return;
    }
    const { ttlSecs } = this.#options;
    const args = ['SET', KEY_PREFIX + key, value, ...(ttlSecs > 0 ? ['EX', String(ttlSecs)] : [])];
    this.#inflight++;
    this.#unsentBytes += value.length;
    const settled = (): void => {
      this.#inflight--;
      this.#unsentBytes -= value.length;
    };
    client.sendCommand(args).then(settled, () => {
      settled();
      this.failedCount++;
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    destroy(this.#client);
    this.#client = null;
  }

  #decode(value: unknown, signature: ModelSignature): CachedResponse | null {
    if (value instanceof Uint8Array) {
      if (value.length === 0) return null;
      const response = decodeValue(value, signature);
      if (response !== null) return response;
    }
    this.failedCount++;
    return null;
  }

  #connect(): void {
    if (this.#isClosed || this.#library === null) return;
    const client = createRedisClient(this.#library, this.#options);
    this.#client = client;
    // Without a listener the first lost connection would end the server.
    client.on('error', (error) => {
      if (client === this.#client) this.#tell(false, error.message);
    });
    client.on('ready', () => {
      if (client === this.#client) this.#tell(true, '');
    });
    client.connect().catch((error: unknown) => {
      if (client === this.#client) this.#tell(false, String(error));
    });
  }

  /** It takes commands and answers none: a new connection, and what waits at the old one fails. */
  #giveUp(): void {
    const client = this.#client;
    this.#timeouts = 0;
    this.#client = null;
    this.#tell(false, `no answer to ${MAX_TIMEOUTS} lookups within ${this.#options.timeoutMs} ms each`);
    destroy(client);
    this.#connect();
  }

  #tell(isReady: boolean, reason: string): void {
    if (this.#isReady === isReady || this.#isClosed) return;
    this.#isReady = isReady;
    this.#options.onState(isReady, reason);
  }
}

function destroy(client: RedisClient | null): void {
  try {
    client?.destroy();
  } catch {
    // It was closed already.
  }
}
