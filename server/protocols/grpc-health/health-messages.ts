/** Messages of `grpc.health.v1.Health`. */

import protobuf from 'protobufjs';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import type { HealthCheckRequest, HealthCheckResponseServingStatus } from '../../../proto/gen/health.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';

const root = protobuf.Root.fromJSON(descriptor);
const requestType = root.lookupType('grpc.health.v1.HealthCheckRequest');
const responseType = root.lookupType('grpc.health.v1.HealthCheckResponse');

/** The services whose health is known: both are the server. */
export const HEALTH_SERVICES: readonly string[] = ['', 'inference.GRPCInferenceService'];

/** The service that a HealthCheckRequest asks about. */
export function decodeHealthRequest(message: Uint8Array): string {
  try {
    return (requestType.toObject(requestType.decode(message), { defaults: true }) as HealthCheckRequest).service;
  } catch (error) {
    throw invalidArgument(
      `the message is not a grpc.health.v1.HealthCheckRequest: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** A HealthCheckResponse. */
export function encodeHealthStatus(status: HealthCheckResponseServingStatus): Uint8Array {
  return responseType.encode(responseType.fromObject({ status })).finish();
}
