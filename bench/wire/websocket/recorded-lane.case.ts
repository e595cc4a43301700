/** What the tests of the lane share: sockets by node:net, a plan, and a sink that keeps what it is told. */

import { connect } from 'node:net';
import type { InferRequest, InputTensor } from '../../../clients/typescript/src/transport.ts';
import { until } from '../../../server/e2e/serve.ts';
import type { Lane, LaneSink } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import type { LoadSocket, SocketLoop } from '../../load/socket-loop.ts';
import { createWebSocketLanes } from './websocket-lane.ts';

/** The part of a loop that a lane uses. */
export function nodeSockets(): SocketLoop {
  const loop: Pick<SocketLoop, 'connect' | 'now'> = {
    now: () => performance.now(),
    connect: (target, handler) =>
      new Promise<LoadSocket>((resolve, reject) => {
        const socket = connect({ host: target.host, port: target.port, noDelay: true });
        let isClosed = false;
        socket.once('error', reject);
        socket.once('connect', () => {
          socket.off('error', reject);
          socket.on('error', () => {});
          socket.once('close', () => {
            if (!isClosed) handler.onClose('the other side closed it');
          });
          socket.on('data', (bytes: Buffer) => {
            if (!isClosed) handler.onBytes(bytes, bytes.length);
          });
          resolve({
            write: (bytes) => void socket.write(bytes),
            writeTwo: (first, second) => {
              socket.write(first);
              socket.write(second);
            },
            get queuedBytes() {
              return socket.writableLength;
            },
            close: () => {
              isClosed = true;
              socket.destroySoon();
            },
          });
        });
      }),
  };
  return loop as SocketLoop;
}

export interface Ended {
  readonly slot: number;
  readonly outcome: string;
  readonly status: string;
  readonly message: string;
}

export class RecordingSink implements LaneSink {
  readonly ends: Ended[] = [];
  readonly parts = new Map<number, number>();
  closedWith: string | null = null;
  sent = 0;
  received = 0;
  onEnded: ((ended: Ended) => void) | null = null;

  part(slot: number, tokens: number): void {
    this.parts.set(slot, (this.parts.get(slot) ?? 0) + tokens);
  }

  ended(slot: number, outcome: string, status: string, message: string): void {
    const ended = { slot, outcome, status, message };
    this.ends.push(ended);
    this.onEnded?.(ended);
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
    await until(() => this.ends.some((ended) => ended.slot === slot));
    return this.ends.find((ended) => ended.slot === slot)!;
  }
}

export function makePlan(port: number, requests: readonly InferRequest[], changes: Partial<LoadPlan> = {}): LoadPlan {
  return {
    protocol: 'websocket-binary',
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

export async function openLane(plan: LoadPlan): Promise<{ lane: Lane; sink: RecordingSink }> {
  const sink = new RecordingSink();
  const lane = await createWebSocketLanes(plan).open(nodeSockets(), sink);
  return { lane, sink };
}
