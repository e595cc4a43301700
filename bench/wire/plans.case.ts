/** Load plans for the tests of lanes. */

import { encodeValues } from '../../clients/typescript/src/encode-values.ts';
import type { InferRequest, InputTensor, RequestedOutput } from '../../clients/typescript/src/transport.ts';
import type { Datatype } from '../../proto/datatype.ts';
import type { LoadPlan, LoadTarget, PlannedRequest, TextRequest, WireProtocol } from '../load/load-plan.ts';

export function targetOf(url: string, changes: Partial<LoadTarget> = {}): LoadTarget {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port), basePath: '', tls: null, headers: {}, ...changes };
}

export function planOf(
  protocol: WireProtocol,
  target: LoadTarget,
  requests: readonly PlannedRequest[],
  changes: Partial<LoadPlan> = {},
): LoadPlan {
  return {
    protocol,
    target,
    requests,
    connections: 1,
    timeoutMs: 10_000,
    deadlineMs: 0,
    sendsDeadline: false,
    sequence: null,
    validation: { every: 1, outputs: [], isDeterministic: false },
    firstTokenMs: 0,
    perTokenMs: 0,
    seed: 1,
    sockets: 'node',
    ...changes,
  };
}

export function inputOf(name: string, datatype: Datatype, shape: readonly number[], values: unknown): InputTensor {
  return { name, datatype, shape, data: encodeValues(datatype, values, name).data };
}

export function outputOf(name: string, changes: Partial<RequestedOutput> = {}): RequestedOutput {
  return { name, binaryData: true, classification: 0, sharedMemory: null, ...changes };
}

export function inferOf(modelName: string, inputs: readonly InputTensor[], changes: Partial<InferRequest> = {}): PlannedRequest {
  return {
    infer: { modelName, modelVersion: '', id: '', parameters: {}, inputs, outputs: [], json: false, ...changes },
    text: null,
    expected: null,
  };
}

/** With what must be answered. */
export function expecting(
  request: PlannedRequest,
  outputs: Readonly<Record<string, readonly [Datatype, unknown]>>,
  tolerance = 0,
): PlannedRequest {
  return {
    ...request,
    expected: Object.entries(outputs).map(([name, [datatype, values]]) => ({
      name,
      data: encodeValues(datatype, values, name).data,
      tolerance,
    })),
  };
}

export function promptOf(path: string, body: Readonly<Record<string, unknown>>, stream: boolean): PlannedRequest {
  const text: TextRequest = { path, body, stream };
  return { infer: null, text, expected: null };
}
