import { InferenceError } from '../../../../proto/inference-error.ts';
import type { MessageSocket, SocketEvents, SocketTarget } from './message-socket.ts';
import { openStandardSocket, type StandardWebSocketClass } from './standard-socket.ts';

export type OpenSocket = (target: SocketTarget, events: SocketEvents, signal: AbortSignal) => Promise<MessageSocket>;

/** In Node: by the npm package `ws` where it is installed, since the runtime's own WebSocket (Node 22) cannot stop reading and takes neither headers nor certificates. */
export const openNodeSocket: OpenSocket = async (target, events, signal) => {
  const { openWsSocket } = await import('./ws-socket.ts');
  const socket = await openWsSocket(target, events, signal);
  return socket ?? openBrowserSocket(target, events, signal);
};

/** By the runtime's own WebSocket. Throws INVALID_ARGUMENT for headers and certificates, which the standard has no place for. */
export const openBrowserSocket: OpenSocket = async (target, events, signal) => {
  const own = (globalThis as { WebSocket?: StandardWebSocketClass }).WebSocket;
  if (own === undefined) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      'this runtime has no WebSocket: install the npm package ws, or use Node 22 or later; http:// and grpc:// need neither',
    );
  }
  const extras = Object.keys(target.headers);
  if (target.tls !== null) extras.push('tls');
  if (extras.length === 0) return openStandardSocket(own, target, events, signal);
  throw new InferenceError(
    'INVALID_ARGUMENT',
    `${extras.join(', ')}: a WebSocket takes no headers and no certificates in a browser: leave them out, or connect to http://, which takes headers (in Node, the npm package ws takes both: install it)`,
  );
};
