import type { HttpRoute } from '../transports/http-exchange.ts';
import type { RpcMethod } from '../transports/rpc-call.ts';
import type { WebSocketRoute } from '../transports/web-socket.ts';
import { grpcHealthMethods } from './grpc-health/health-methods.ts';
import { grpcReflectionMethods } from './grpc-reflection/reflection-methods.ts';
import { oipGrpcMethods } from './oip-grpc/endpoints.ts';
import { oipRestRoutes } from './oip-rest/endpoints.ts';
import { openAiRoutes } from './openai/endpoints.ts';
import type { ProtocolContext } from './protocol.ts';
import { type WebSocketLimits, webSocketRoutes } from './websocket/endpoints.ts';

/** Every protocol that is served over HTTP, a line each. */
export function httpProtocols(context: ProtocolContext): HttpRoute[] {
  return [...oipRestRoutes(context), ...openAiRoutes(context)];
}

/** Every protocol that is served over WebSocket. */
export function webSocketProtocols(context: ProtocolContext, limits: WebSocketLimits): WebSocketRoute[] {
  return [...webSocketRoutes(context, limits)];
}

/** Every protocol that is served over gRPC. */
export function rpcProtocols(context: ProtocolContext): RpcMethod[] {
  const methods = [...oipGrpcMethods(context), ...grpcHealthMethods(context)];
  return [...methods, ...grpcReflectionMethods(methods)];
}
