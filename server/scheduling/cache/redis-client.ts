/** The part of the package `redis` (5 or later) that is used: it is optional, and so are its types. */
export interface RedisClient {
  /** It is connected, and has authenticated itself. */
  readonly isReady: boolean;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'ready', listener: () => void): unknown;
  connect(): Promise<unknown>;
  /** Rejects on an error reply, and when the connection is lost. */
  sendCommand(args: readonly (string | Buffer)[], options?: object): Promise<unknown>;
  destroy(): void;
}

export interface RedisLibrary {
  createClient(options: object): RedisClient;
}

export const redisPackage = 'redis';

export interface RedisConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  readonly password: string | null;
  readonly database: number;
  /** Null: without TLS. PEM texts. */
  readonly tls: {
    readonly ca: string | null;
    readonly cert: string | null;
    readonly key: string | null;
    readonly serverName: string | null;
  } | null;
  readonly connectTimeoutMs: number;
}

const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 10_000;
/** Type of a reply, as the protocol marks it (`$`): strings come as the bytes that they are. */
const BLOB_STRING = 36;
export const asBytes: object = { typeMapping: { [BLOB_STRING]: Buffer } };

export function createRedisClient(library: RedisLibrary, connection: RedisConnection): RedisClient {
  const { host, port, user, password, database, tls, connectTimeoutMs } = connection;
  const encryption =
    tls === null
      ? {}
      : {
          tls: true,
          servername: tls.serverName ?? host,
          ...(tls.ca === null ? {} : { ca: tls.ca }),
          ...(tls.cert === null ? {} : { cert: tls.cert }),
          ...(tls.key === null ? {} : { key: tls.key }),
        };
  return library.createClient({
    socket: { host, port, connectTimeout: connectTimeoutMs, reconnectStrategy: retryDelayMs, ...encryption },
    ...(user === null ? {} : { username: user }),
    ...(password === null ? {} : { password }),
    database,
    RESP: 2,
    // What cannot be sent now is a miss.
    disableOfflineQueue: true,
    disableClientInfo: true,
  });
}

/** Doubling, and never two servers in step. */
function retryDelayMs(retries: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(retries, 16)) * (0.5 + Math.random() / 2);
}
