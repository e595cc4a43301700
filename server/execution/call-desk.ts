/** @hotpath calls that the code in a host makes to other models: a frame into a request of the server's, its responses into frames (measured by request-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { HostFault } from './check-response.ts';
import { RESPONSE_WINDOW } from './decoupled-execution.ts';
import {
  type CallerState,
  type HostCall,
  type HostCallRun,
  type HostCallSink,
  type HostCalls,
  MAX_CALL_DEPTH,
  MAX_CALLS_PER_HOST,
} from './host-calls.ts';
import { CANCEL_BYTES, CREDIT_BYTES, FRAME_KIND } from './messages.ts';
import { errorRow } from './request-worker.ts';
import { decodeSequence, decodeValues, TensorFrameReader, tensorFrame, tensorRow } from './tensor-frame.ts';

export interface CallDeskOptions {
  /** `name:version` of the model whose code calls; '' until it is loaded. */
  readonly callerKey: () => string;
  /** Null: there are no other models here. */
  readonly calls: HostCalls | null;
  /** Bytes that calls under way may have as inputs, all together. */
  readonly memoryBytes: number;
  readonly callerOf: (execution: number, index: number) => CallerState | null;
  readonly sendFrame: (frame: Buffer) => void;
}

/** One host's calls. What the host says is checked: who calls, how deep, how many. */
export class CallDesk {
  readonly #options: CallDeskOptions;
  readonly #open: Map<number, OpenCall> = new Map();
  #usedBytes = 0;
  #isEnded = false;

  constructor(options: CallDeskOptions) {
    this.#options = options;
  }

  /** A `call`, `cancelCall` or `callCredit` frame. Throws HostFault or FrameError. */
  onFrame(kind: number, payload: Buffer): void {
    if (this.#isEnded) return;
    if (kind === FRAME_KIND.call) {
      this.#start(payload);
      return;
    }
    if (payload.length !== (kind === FRAME_KIND.cancelCall ? CANCEL_BYTES : CREDIT_BYTES))
      throw new HostFault('sent a frame of a call without its words');
    // Its end may be on the way to the host.
    const open = this.#open.get(payload.readDoubleLE(0));
    if (open === undefined) return;
    if (kind === FRAME_KIND.cancelCall) open.cancel();
    else open.grant(payload.readDoubleLE(8));
  }

  /** The execution has ended, or one request of it (`index` 0 or more): nobody wants what it asked for. */
  cancelOf(execution: number, index = -1): void {
    for (const open of this.#open.values()) if (open.execution === execution && (index < 0 || open.index === index)) open.cancel();
  }

  /** The host is gone. */
  end(): void {
    this.#isEnded = true;
    const open = [...this.#open.values()];
    for (const call of open) call.cancel();
    this.#open.clear();
  }

  #start(payload: Buffer): void {
    const reader = new TensorFrameReader(payload);
    const { header } = reader;
    const id = header['call'];
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || this.#open.has(id))
      throw new HostFault('made a call without a number of its own');
    const execution = count(header['execution']);
    const index = typeof header['index'] === 'number' ? header['index'] : -1;
    const inputs = reader.tensors(header['inputs']);
    const byteLength = payload.length;
    const caller = execution === 0 ? background : this.#options.callerOf(execution, index);
    const refusal = this.#refusal(header, caller, byteLength);
    if (refusal !== null) {
      this.#send(endFrame(id, refusal));
      return;
    }
    const call: HostCall = {
      modelName: text(header['model']),
      modelVersion: text(header['version']),
      id: text(header['id']),
      inputs,
      outputs: names(header['outputs']),
      parameters: decodeValues(header['parameters']),
      priority: count(header['priority']),
      sequence: decodeSequence(header['sequence']),
      depth: caller!.depth + 1,
      deadlineNs: caller!.deadlineNs,
    };
    this.#usedBytes += byteLength;
    const open = new OpenCall(id, execution, index, {
      send: (frame) => this.#send(frame),
      ended: () => {
        if (this.#open.delete(id)) this.#usedBytes -= byteLength;
      },
    });
    this.#open.set(id, open);
    open.run = this.#options.calls!.start(call, open);
  }

  #refusal(header: Readonly<Record<string, unknown>>, caller: CallerState | null, byteLength: number): InferenceError | null {
    const { calls, callerKey, memoryBytes } = this.#options;
    const model = text(header['model']);
    if (calls === null)
      return new InferenceError('UNAVAILABLE', `model '${model}' is not here: the model that calls it is tried by itself`);
    if (caller === null || caller.isDone) {
      return new InferenceError(
        'CANCELLED',
        `a call of model '${model}': the request that it is made for has ended; await calls before execute returns`,
      );
    }
    if (caller.depth >= MAX_CALL_DEPTH) {
      const text = `model '${callerKey()}' calls model '${model}' for a request that is itself ${caller.depth} calls deep, as deep as calls may be: do models call each other in a circle?`;
      return new InferenceError('INTERNAL', text);
    }
    if (this.#open.size >= MAX_CALLS_PER_HOST) {
      return new InferenceError(
        'UNAVAILABLE',
        `model '${callerKey()}' has ${MAX_CALLS_PER_HOST} calls of other models under way, as many as there may be`,
      );
    }
    if (this.#usedBytes + byteLength > memoryBytes && this.#open.size > 0) {
      return new InferenceError(
        'UNAVAILABLE',
        `the calls that model '${callerKey()}' has under way fill the tensor memory of ${memoryBytes} bytes; make fewer at a time`,
      );
    }
    return null;
  }

  #send(frame: Buffer): void {
    if (!this.#isEnded) this.#options.sendFrame(frame);
  }
}

const background: CallerState = { isDone: false, depth: 0, deadlineNs: Number.POSITIVE_INFINITY };

interface CallOwner {
  send(frame: Buffer): void;
  ended(): void;
}

class OpenCall implements HostCallSink {
  readonly execution: number;
  readonly index: number;
  /** Null until it has started, which calls nothing back. */
  run: HostCallRun | null = null;
  readonly #id: number;
  readonly #owner: CallOwner;
  #unacknowledged = 0;
  #isOver = false;

  constructor(id: number, execution: number, index: number, owner: CallOwner) {
    this.#id = id;
    this.execution = execution;
    this.index = index;
    this.#owner = owner;
  }

  cancel(): void {
    this.run?.cancel();
  }

  grant(responses: number): void {
    if (!(responses > 0)) return;
    this.#unacknowledged = Math.max(0, this.#unacknowledged - responses);
    if (this.#unacknowledged < RESPONSE_WINDOW) this.run?.resume();
  }

  respond(outputs: readonly Tensor[]): void {
    if (this.#isOver) return;
    let frame: Buffer;
    try {
      frame = tensorFrame(FRAME_KIND.callResponse, { call: this.#id, outputs: outputs.map(tensorRow) }, outputs);
    } catch (error) {
      this.fail(new InferenceError('RESOURCE_EXHAUSTED', `the response has ${error instanceof Error ? error.message : error}`));
      this.cancel();
      return;
    }
    this.#unacknowledged++;
    if (this.#unacknowledged >= RESPONSE_WINDOW) this.run?.pause();
    this.#owner.send(frame);
  }

  complete(): void {
    this.#end(null);
  }

  fail(error: InferenceError): void {
    this.#end(error);
  }

  #end(error: InferenceError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#owner.ended();
    this.#owner.send(endFrame(this.#id, error));
  }
}

function endFrame(call: number, error: InferenceError | null): Buffer {
  return tensorFrame(FRAME_KIND.callEnded, error === null ? { call } : { call, error: errorRow(error) }, []);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function names(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((name) => typeof name === 'string') : [];
}
