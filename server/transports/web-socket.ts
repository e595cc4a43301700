/**
 * What an HTTP transport offers to a protocol that speaks over WebSocket (RFC 6455). The transport has the handshake, frames, fragments, UTF-8, pings, limits
 * and time-outs; the protocol has messages. Both HTTP engines meet this contract and one suite, `web-socket.case.ts`. A peer that violates RFC 6455 gets a
 * close frame with 1002, 1007, 1008 (too many fragments) or 1009 on node; uws cuts it off without one, except for a message that is at most 1 MiB over its
 * limit.
 */

export interface WebSocketRoute {
  /** As in HttpRoute, without parameters. GET requests with `Upgrade: websocket` on it become connections; others get 426. */
  readonly pattern: string;
  /**
   * Largest message, fragments put together, bytes: a larger one closes the connection with 1009. While it comes in it is held by the engine (uws: up to 1
   * MiB more), outside of the transport's body budget: so much for each connection is the bound. uws keeps the memory of a connection's largest message until
   * it closes.
   */
  readonly maxMessageBytes: number;
  /**
   * The most that may wait to be sent, bytes: a peer that reads so slowly that more would is cut off (`onClose(1013)`; it is sent no close frame, which it
   * would not read). Its protocol should hold back long before. When nothing waits, a message of any size goes.
   */
  readonly maxUnsentBytes: number;
  /**
   * Silence (no frame of any kind, pongs included, and nothing taken of what waits) after which the connection is closed (1001), ms. The transport pings well
   * before, so an idle peer that lives stays. uws counts in steps of 4 s from 8 s up and cuts off without a close frame.
   */
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
   * Asks for no more messages until `resume`. What has been read already still comes (node: at most one read of the socket), and an engine that cannot stop
   * reading (uws) goes on delivering: the protocol has a bound of its own on what it takes.
   */
  pause(): void;
  resume(): void;
  /**
   * Starts the closing handshake, behind what waits to be sent; nothing more is heard or sent. A peer that does not take what waits within 5 s, or does not
   * answer, is cut off. `reason` is cut to 123 bytes of UTF-8.
   */
  close(code: number, reason: string): void;
}

/** What is thrown here closes the connection with 1011 and is a log line. */
export interface WebSocketListener {
  /** Valid UTF-8: the transport closes with 1007 on anything else. The bytes stay as they are for as long as they are referenced. */
  onText(message: Uint8Array): void;
  onBinary(message: Uint8Array): void;
  /** `unsentBytes` has fallen to less than half of what it was, or to 0. */
  onDrain(): void;
  /**
   * The transport drains: take no new work, and close the connection (1001) when the last answer is out. Without this method the transport closes it at once.
   */
  onDrainRequested?(): void;
  /**
   * The connection is gone, whoever ended it; called once, and nothing after it, and never from within a call of `WebSocketConnection`. `code`: that of the
   * side that closed first, 1005 for none, 1006 for a connection that was lost, and for a violation what the peer was told or (uws, which tells violators
   * nothing) would have been: 1007, 1009, or 1006 for any other.
   */
  onClose(code: number): void;
}
