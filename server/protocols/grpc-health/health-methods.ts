/**
 * The gRPC health checking protocol, `grpc.health.v1.Health`.
 *
 * The services that it knows are '' and 'inference.GRPCInferenceService', and both mean the server: SERVING when it is ready, else NOT_SERVING. Of another one `Check` is
 * NOT_FOUND and `Watch` SERVICE_UNKNOWN, as the protocol says; Triton ignores the name, so that a probe with a misspelt one looks healthy, and has no `Watch`.
 */

import { InferenceError } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { RpcMethod, UnaryCall } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { decodeHealthRequest, encodeHealthStatus, HEALTH_SERVICES } from './health-messages.ts';
import { HealthWatchers } from './health-watchers.ts';

export function grpcHealthMethods(context: ProtocolContext): RpcMethod[] {
  const watchers = new HealthWatchers(context);
  return [
    { kind: 'unary', path: '/grpc.health.v1.Health/Check', handle: (call) => check(call, context) },
    { kind: 'stream', path: '/grpc.health.v1.Health/Watch', open: (call) => watchers.open(call) },
  ];
}

function check(call: UnaryCall, context: ProtocolContext): void {
  try {
    const service = decodeHealthRequest(call.message);
    if (!HEALTH_SERVICES.includes(service)) {
      throw new InferenceError(
        'NOT_FOUND',
        `service: no service '${service.slice(0, 200)}' here; '' and '${HEALTH_SERVICES[1]}' ask for the server${didYouMean(service, HEALTH_SERVICES)}`,
      );
    }
    call.respond(encodeHealthStatus(context.isReady() ? 'SERVING' : 'NOT_SERVING'));
  } catch (error) {
    context.reportFault(error);
    call.fail(InferenceError.from(error));
  }
}
