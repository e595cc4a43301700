/**
 * What an HTTP transport offers to a protocol that speaks over WebSocket (RFC 6455). The transport has the handshake, frames, fragments, UTF-8, pings, limits and time-outs;
 * the protocol has messages. Both HTTP engines meet this contract and one suite, `web-socket.case.ts`.
 */

export interface WebSocketRoute {
  /** As in HttpRoute, without parameters. GET requests with `Upgrade: websocket` on it become connections; others get 426. */
  readonly pattern: string;
  /** Largest message, fragments put together, bytes: a larger one closes the connection with 1009. */
  readonly maxMessageBytes: number;
  /**
   * The most that may wait to be sent, bytes: a peer that reads so slowly that more would is cut off (1013). Its protocol should hold back long before.
   */
  readonly maxUnsentBytes: number;
  /** Silence (no frame of any kind, pongs included) after which the connection is closed (1001), ms. The transport pings well before, so an idle peer that lives stays. */
  readonly idleTimeoutMs: number;
  /** Permessage-deflate is never offered: tensors do not shrink, and inflating is an attack surface. */
  /** A connection is open. What is thrown closes it with 1011 and is a log line. */
  open(connection: WebSocketConnection): WebSocketListener;
}

export interface WebSocketConnection {
  /** Bytes that wait to be sent, as far as the engine knows. */
  readonly unsentBytes: number;
  readonly isClosed: boolean;
  /** Text, as UTF-8 bytes or a string. Bytes are borrowed until this returns. Nothing happens when the connection is closed. */
  sendText(text: string | Uint8Array): void;
  /** One binary message, in one piece or several in order; borrowed until this returns. */
  sendBinary(message: Uint8Array | readonly Uint8Array[]): void;
  /**
   * Asks for no more messages until `resume`. An engine that cannot stop reading goes on delivering: the protocol has a bound of its own on what it takes.
   */
  pause(): void;
  resume(): void;
  /** Starts the closing handshake; a peer that does not answer it is cut off after a few seconds. `reason` is cut to 123 bytes of UTF-8. */
  close(code: number, reason: string): void;
}

/** What is thrown here closes the connection with 1011 and is a log line. */
export interface WebSocketListener {
  /** Valid UTF-8: the transport closes with 1007 on anything else. The bytes stay as they are for as long as they are referenced. */
  onText(message: Uint8Array): void;
  onBinary(message: Uint8Array): void;
  /** `unsentBytes` has fallen to less than half of what it was, or to 0. */
  onDrain(): void;
  /** The connection is gone, whoever ended it; called once, and nothing after it. */
  onClose(code: number): void;
}
