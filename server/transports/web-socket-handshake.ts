/** The server's half of the WebSocket opening handshake (RFC 6455, 4.2): which requests become connections, and what the others are told. */

import type { BufferedExchange } from './buffered-exchange.ts';
import type { CrossOrigin } from './cross-origin.ts';
import type { HttpExchange, HttpRoute } from './http-exchange.ts';
import * as refusals from './http-refusals.ts';
import type { WebSocketRoute } from './web-socket.ts';

const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** A 426 must name the protocol to upgrade to, and Upgrade must be listed in Connection (RFC 9110, 7.8). */
const UPGRADE_HEADERS: readonly string[] = ['upgrade', 'websocket', 'connection', 'Upgrade', 'sec-websocket-version', '13'];
const NO_HEADERS: readonly string[] = [];

/** The part of a request's head that a handshake is judged by. */
export interface HandshakeHead {
  /** '' when it is not there. */
  header(name: string): string;
}

interface HandshakeFault {
  readonly status: 400 | 403 | 426;
  readonly message: string;
  readonly headers: readonly string[];
}

/** The route of a WebSocket path for requests that were not upgraded: it says what is wrong with them. */
export class HandshakeRoute implements HttpRoute {
  readonly method = 'GET';
  readonly pattern: string;
  readonly requestHeaders: readonly string[] = ['upgrade', 'connection', 'host', 'origin', 'sec-websocket-key', 'sec-websocket-version'];
  readonly allowContentCoding = false;
  readonly webSocket: WebSocketRoute;
  readonly #crossOrigin: CrossOrigin;

  constructor(webSocket: WebSocketRoute, crossOrigin: CrossOrigin) {
    this.pattern = webSocket.pattern;
    this.webSocket = webSocket;
    this.#crossOrigin = crossOrigin;
  }

  /** null: nothing is wrong with the handshake's own headers. */
  fault(head: HandshakeHead): HandshakeFault | null {
    if (head.header('upgrade').trim().toLowerCase() !== 'websocket' || !/(^|,)\s*upgrade\s*(,|$)/i.test(head.header('connection'))) {
      return { status: 426, message: refusals.UPGRADE_REQUIRED, headers: UPGRADE_HEADERS };
    }
    const version = head.header('sec-websocket-version');
    if (version !== '13') return { status: 426, message: refusals.webSocketVersion(version), headers: UPGRADE_HEADERS };
    if (!KEY.test(head.header('sec-websocket-key'))) return { status: 400, message: refusals.WEB_SOCKET_KEY, headers: NO_HEADERS };
    const origin = head.header('origin');
    if (this.#crossOrigin.mayOpenWebSocket(origin, head.header('host'))) return null;
    return { status: 403, message: refusals.originNotAllowed(origin), headers: NO_HEADERS };
  }

  handle(exchange: HttpExchange): void {
    const fault = this.fault(exchange) ?? { status: 400, message: refusals.HANDSHAKE_NOT_PLAIN, headers: NO_HEADERS };
    (exchange as BufferedExchange).refuse(fault.status, fault.message, fault.headers);
  }
}
