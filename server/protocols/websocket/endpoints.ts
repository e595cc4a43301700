import type { WebSocketRoute } from '../../transports/web-socket.ts';
import type { ProtocolContext } from '../protocol.ts';
import { BacklogBudget } from './message-backlog.ts';
import { WebSocketSession } from './web-socket-session.ts';

export interface WebSocketLimits {
  /** Largest message, and what the messages of one connection's unanswered requests may be together before no more is read, bytes. */
  readonly maxMessageBytes: number;
  /** Requests of one connection that are not answered yet. */
  readonly maxInflightRequests: number;
  /** Answers of one connection that wait for its client to read, bytes; also the largest single one. */
  readonly maxUnsentBytes: number;
  /** Silence after which a connection is closed, ms. */
  readonly idleTimeoutMs: number;
}

/** A session lets no answer past `maxUnsentBytes`; refusals may: a client that goes on sending and reads none of them is cut off here. */
const REFUSAL_BYTES = 1024 * 1024;

/** Messages put aside, of all connections together, in largest messages. */
const BACKLOG_MESSAGES = 4;

/** The inference protocol over WebSocket: docs/websocket.md. */
export function webSocketRoutes(context: ProtocolContext, limits: WebSocketLimits): WebSocketRoute[] {
  const { maxMessageBytes, maxInflightRequests, maxUnsentBytes, idleTimeoutMs } = limits;
  const sessionLimits = { maxInflightRequests, maxInflightBytes: maxMessageBytes, maxUnsentBytes };
  const backlogBudget = new BacklogBudget(BACKLOG_MESSAGES * maxMessageBytes);
  return [
    {
      pattern: '/v2/ws',
      maxMessageBytes,
      maxUnsentBytes: maxUnsentBytes + REFUSAL_BYTES,
      idleTimeoutMs,
      open: (connection) => new WebSocketSession(connection, context, sessionLimits, backlogBudget),
    },
  ];
}
