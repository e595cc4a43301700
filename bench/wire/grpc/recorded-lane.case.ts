/** What the tests of the lanes share: a plan, a sink that keeps what it is told, and an open lane. */

import type { InferRequest, InputTensor } from '../../../clients/typescript/src/transport.ts';
import { until } from '../../../server/e2e/serve.ts';
import type { Lane, LaneSink } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import { NodeLoop } from '../../load/node-loop.ts';
import { createGrpcLanes } from './grpc-lane.ts';

export interface Ended {
  readonly outcome: string;
  readonly status: string;
  readonly message: string;
}

export const OK: Ended = { outcome: 'ok', status: '', message: '' };

export class RecordingSink implements LaneSink {
  readonly ends: Map<number, Ended> = new Map();
  readonly parts: Map<number, number> = new Map();
  closedWith: string | null = null;
  sent = 0;
  received = 0;
  onEnded: (slot: number) => void = () => {};

  part(slot: number, tokens: number): void {
    this.parts.set(slot, (this.parts.get(slot) ?? 0) + tokens);
  }

  ended(slot: number, outcome: string, status: string, message: string): void {
    if (this.ends.has(slot)) throw new Error(`slot ${slot} has ended twice`);
    this.ends.set(slot, { outcome, status, message });
    this.onEnded(slot);
  }

  closed(_lane: Lane, reason: string): void {
    this.closedWith = reason;
  }

  sentBytes(count: number): void {
    this.sent += count;
  }

  receivedBytes(count: number): void {
    this.received += count;
  }

  async endOf(slot: number): Promise<Ended> {
    await until(() => this.ends.has(slot));
    return this.ends.get(slot)!;
  }
}

export function planOf(port: number, requests: readonly InferRequest[], changes: Partial<LoadPlan> = {}): LoadPlan {
  return {
    protocol: 'grpc',
    target: { host: '127.0.0.1', port, basePath: '', tls: null, headers: {} },
    requests: requests.map((infer) => ({ infer, text: null, expected: null })),
    connections: 1,
    timeoutMs: 5000,
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

export function inferRequest(modelName: string, inputs: readonly InputTensor[], changes: Partial<InferRequest> = {}): InferRequest {
  return { modelName, modelVersion: '', id: '', parameters: {}, inputs, outputs: [], json: false, ...changes };
}

export function int32(name: string, shape: readonly number[], values: readonly number[]): InputTensor {
  return { name, datatype: 'INT32', shape, data: new Uint8Array(Int32Array.from(values).buffer) };
}

export function bytesOf(values: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(values).buffer);
}

/** What every test sends that does not care. */
export const ANY_REQUEST: InferRequest = inferRequest('any', [int32('IN', [4], [1, 2, 3, 4])]);

export async function openLane(plan: LoadPlan): Promise<{ lane: Lane; sink: RecordingSink }> {
  const sink = new RecordingSink();
  const lane = await createGrpcLanes(plan).open(new NodeLoop('h2'), sink);
  return { lane, sink };
}
