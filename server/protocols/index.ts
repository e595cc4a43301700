import type { HttpRoute } from '../transports/http-exchange.ts';
import { oipRestRoutes } from './oip-rest/endpoints.ts';
import type { ProtocolContext } from './protocol.ts';

/** Every protocol that is served over HTTP, a line each. */
export function protocolRoutes(context: ProtocolContext): HttpRoute[] {
  return [...oipRestRoutes(context)];
}
