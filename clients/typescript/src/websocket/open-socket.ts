import { InferenceError } from '../../../../proto/inference-error.ts';
import type { MessageSocket, SocketEvents, SocketTarget } from './message-socket.ts';
import { openStandardSocket, type StandardWebSocketClass } from './standard-socket.ts';

/**
 * By the runtime's own WebSocket where there is one and it will do; by the npm package `ws` elsewhere, and in Node for headers and certificates, which the standard
 * has no place for. Throws INVALID_ARGUMENT for headers and certificates in a browser.
 */
export async function openSocket(target: SocketTarget, events: SocketEvents, signal: AbortSignal): Promise<MessageSocket> {
  const own = (globalThis as { WebSocket?: StandardWebSocketClass }).WebSocket;
  const extras = Object.keys(target.headers);
  if (target.tls !== null) extras.push('tls');
  if (own !== undefined && extras.length === 0) return openStandardSocket(own, target, events, signal);
  const { openWsSocket } = await import('./ws-socket.ts');
  const socket = await openWsSocket(target, events, signal);
  if (socket !== null) return socket;
  if (own === undefined) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      'this runtime has no WebSocket: install the npm package ws, or use Node 22 or later; http:// and grpc:// need neither',
    );
  }
  throw new InferenceError(
    'INVALID_ARGUMENT',
    `${extras.join(', ')}: a WebSocket takes no headers and no certificates in a browser: leave them out, or connect to http://, which takes headers (in Node, the npm package ws takes both: install it)`,
  );
}
