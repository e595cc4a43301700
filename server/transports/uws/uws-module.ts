/** The part of uWebSockets.js that the transport uses, and its loading. The package is optional: a native build for each Node version. */

export interface UwsRequest {
  /** As it was sent. */
  getCaseSensitiveMethod(): string;
  /** The path, not decoded. */
  getUrl(): string;
  /** undefined in some builds when there is none. */
  getQuery(): string | undefined;
  /** Keys in lower case; a repeated header comes repeatedly. */
  forEachHeader(visit: (key: string, value: string) => void): void;
}

/** Not to be touched any more after `onAborted` was called or the answer is complete: every method throws then. */
export interface UwsResponse {
  onAborted(handler: () => void): void;
  /** The chunk is detached when the handler returns. */
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): void;
  onWritable(handler: (offset: number) => boolean): void;
  cork(write: () => void): void;
  writeStatus(status: string): void;
  writeHeader(name: string, value: string): void;
  end(body: string | Uint8Array, closeConnection?: boolean): void;
  /** Writes no Content-Length. */
  endWithoutBody(): void;
  /** Adds a chunk, all of it. False: some of this one or of those before is held back. Corked, what the cork's own write leaves is not known before the next. */
  write(part: Uint8Array): boolean;
  /** Writes what the socket takes; [nothing had to be held back, the answer is complete]. */
  tryEnd(body: string | Uint8Array, totalBytes: number): [boolean, boolean];
  getWriteOffset(): number;
  close(): void;
  /** Answers 101 and calls `open`. The response is over then. */
  upgrade(userData: UwsUserData, key: string, protocol: string, extensions: string, context: UwsSocketContext): void;
}

/** What a WebSocket is told apart by: builds hand back the object itself, or another one with its properties. */
export interface UwsUserData {
  nereidWebSocket: UwsWebSocketHandlers;
}

/** Our side of a WebSocket. */
export interface UwsWebSocketHandlers {
  onOpen(socket: UwsSocket): void;
  onMessage(message: ArrayBuffer, isBinary: boolean): void;
  onPing(): void;
  onWritable(): void;
  onGone(code: number, reason: ArrayBuffer): void;
}

/** Not to be touched any more after the close handler was called: every method throws then. */
export interface UwsSocket {
  /** Copies what it is given. */
  send(message: Uint8Array, isBinary: boolean, compress: boolean): number;
  /** Bytes that the kernel has not taken; those of a cork are not counted. */
  getBufferedAmount(): number;
  cork(write: () => void): void;
  subscribe(topic: string): boolean;
  /** Sends a close frame and calls the close handler, at once. */
  end(code: number, reason: string): void;
  /** Cuts off and calls the close handler, at once. */
  close(): void;
  getUserData(): UwsUserData;
}

export interface UwsSocketContext {
  readonly opaque: unique symbol;
}

export interface UwsBehavior {
  readonly maxPayloadLength: number;
  /** Bytes after which it drops what it is to send; 0: never. */
  readonly maxBackpressure: number;
  /** Seconds, 8 to 960. */
  readonly idleTimeout: number;
  readonly sendPingsAutomatically: boolean;
  /** For GET requests with a Sec-WebSocket-Key of the right length; others go to the `any` handler. */
  upgrade(response: UwsResponse, request: UwsRequest, context: UwsSocketContext): void;
  open(socket: UwsSocket): void;
  /** The message is detached when the handler returns. */
  message(socket: UwsSocket, message: ArrayBuffer, isBinary: boolean): void;
  ping(socket: UwsSocket): void;
  drain(socket: UwsSocket): void;
  close(socket: UwsSocket, code: number, reason: ArrayBuffer): void;
}

export interface UwsListenSocket {
  readonly opaque: unique symbol;
}

export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): void;
  ws(pattern: string, behavior: UwsBehavior): void;
  listen(host: string, port: number, options: number, listening: (socket: UwsListenSocket | false) => void): void;
  /** Closes every connection and the listening socket, at once. */
  close?(): void;
  /** Hears of each connection opened (a positive count) and closed (a negative one, but not when it has become a WebSocket); not in every build. */
  filter?(handler: (response: UwsResponse, count: number) => void): void;
}

export interface UwsTlsOptions {
  readonly cert_file_name: string;
  readonly key_file_name: string;
}

export interface UwsModule {
  App(): UwsApp;
  SSLApp(options: UwsTlsOptions): UwsApp;
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  closeListenSocket(socket: UwsListenSocket): void;
  localPort(socket: UwsListenSocket): number;
}

export type UwsLoad = { readonly module: UwsModule } | { readonly reason: string };

/** Longest header block that uWebSockets.js buffers when one comes in several segments, bytes; its own default is 4096. */
const HEADER_BUFFER_BYTES = '16384';

/** The module, or in one sentence why there is none. `packageName` is for tests. */
export async function loadUws(packageName = 'uWebSockets.js'): Promise<UwsLoad> {
  // Builds that know this variable read it once, when they are loaded.
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= HEADER_BUFFER_BYTES;
  let imported: unknown;
  try {
    imported = await import(packageName);
  } catch (error) {
    return { reason: reasonOf(packageName, error) };
  }
  const exported = isRecord(imported) && isRecord(imported['default']) ? imported['default'] : imported;
  if (!isRecord(exported)) return { reason: `${packageName} exports nothing` };
  // The two helpers go by different names in different builds.
  const closeListenSocket = exported['us_listen_socket_close'] ?? exported['closeSocket'];
  const localPort = exported['us_socket_local_port'] ?? exported['getSocketPort'];
  const { App, SSLApp, LIBUS_LISTEN_EXCLUSIVE_PORT } = exported;
  if (
    typeof App !== 'function' ||
    typeof SSLApp !== 'function' ||
    typeof closeListenSocket !== 'function' ||
    typeof localPort !== 'function' ||
    typeof LIBUS_LISTEN_EXCLUSIVE_PORT !== 'number'
  ) {
    return { reason: `this build of ${packageName} lacks functions that are needed` };
  }
  return { module: { App, SSLApp, LIBUS_LISTEN_EXCLUSIVE_PORT, closeListenSocket, localPort } as UwsModule };
}

function reasonOf(packageName: string, error: unknown): string {
  const code = isRecord(error) ? error['code'] : undefined;
  if (code === 'ERR_MODULE_NOT_FOUND') return `${packageName} is not installed`;
  return `${packageName} has no build that loads on Node ${process.versions.node}, ${process.platform} ${process.arch}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
