/** @hotpath requests of decoupled models to their host and its responses back, in frames on the control socket (measured by decoupled-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import { registerUsedOnce } from '../../proto/tensor-memory.ts';
import { HostFault, type ResponseArea, readOutputs, readResponseError } from './check-response.ts';
import { type ProcessDecoupledChannel, ProcessDecoupledRun } from './decoupled-channel.ts';
import { ACKNOWLEDGED_TOGETHER, type DecoupledExecution, type DecoupledRun, RESPONSE_WINDOW } from './decoupled-execution.ts';
import {
  ENDED_INPUT_TOKENS,
  ENDED_OUTPUT_TOKENS,
  REQUEST_PARAMETERS_BYTES,
  REQUEST_PARAMETERS_OFFSET,
  RESPONSE_SEQUENCE,
  requestBytes,
  WORD_BYTES,
} from './execution-record.ts';
import type { WatchedExecutions } from './execution-watch.ts';
import type { CallerState } from './host-calls.ts';
import type { HostLink, HostLinkOwner } from './host-link.ts';
import { parseControl } from './host-requests.ts';
import { tooLargeBatch } from './instance-channel.ts';
import {
  CANCEL_BYTES,
  CREDIT_BYTES,
  FRAME_HEADER_BYTES,
  FRAME_KIND,
  frameHeader,
  MAX_TENSOR_FRAME_BYTES,
  writeFrameHeader,
} from './messages.ts';
import { encodeParameters } from './parameters-json.ts';
import { describeRequest } from './request-row.ts';
import { TellCapacity } from './tell-capacity.ts';
import { inputAreaBytes, writeRequest } from './write-request.ts';

/**
 * What a host of decoupled models has been given: any number of requests at once, each with a window of responses. `memoryBytes` bounds the requests'
 * inputs, all together.
 *
 * The host owes something for every request whose window is open, and for every one that was cancelled: that it stops.
 */
export class DecoupledLink implements HostLink, WatchedExecutions {
  readonly #owner: HostLinkOwner;
  readonly #memoryBytes: number;
  /** The host runs models' own code: it is told more of a request, and what an execution asked of others ends with it. Null: it does not. */
  readonly #onEndedCode: ((sequence: number) => void) | null;
  readonly #runs: Map<number, ProcessDecoupledRun> = new Map();
  readonly #channels: Map<number, ProcessDecoupledChannel> = new Map();
  readonly #tell: TellCapacity = new TellCapacity();
  /** Those that found no memory; told when there is some. */
  readonly #refused: Set<ProcessDecoupledChannel> = new Set();
  readonly #area: ResponseArea = { words: new Float64Array(0), at: 0, wordCount: 0, bytes: new Uint8Array(0), start: 0, end: 0 };
  /** The run whose frame is being looked at. */
  #current: ProcessDecoupledRun | null = null;
  #lastSequence = 0;
  #usedBytes = 0;
  #isEnded = false;

  constructor(memoryBytes: number, owner: HostLinkOwner, onEndedCode: ((sequence: number) => void) | null = null) {
    this.#owner = owner;
    this.#onEndedCode = onEndedCode;
    this.#memoryBytes = Math.min(memoryBytes, MAX_TENSOR_FRAME_BYTES);
  }

  get inflight(): WatchedExecutions {
    return this;
  }

  get count(): number {
    return this.#runs.size;
  }

  get isOwed(): boolean {
    return this.#head() !== null;
  }

  get headSinceMs(): number {
    return this.#head()?.sinceMs ?? Number.POSITIVE_INFINITY;
  }

  get headModel(): string | null {
    return (this.#current ?? this.#head())?.channel.tensors.key ?? null;
  }

  /** All requests run at once: it can be told only where they are all of one model. */
  get currentInstance(): number {
    let only: ProcessDecoupledChannel | null = null;
    for (const { channel } of this.#runs.values()) {
      if (only !== null && only.tensors !== channel.tensors) return 0;
      only = channel;
    }
    return only?.instance ?? 0;
  }

  /** A load and the requests share the event loop: who holds it cannot be told, and the load is the more likely. */
  isExecuting(): boolean {
    return false;
  }

  forgiveMs(ms: number): void {
    for (const run of this.#runs.values()) run.sinceMs += ms;
  }

  restartHead(): void {
    const now = performance.now();
    for (const run of this.#runs.values()) run.sinceMs = now;
  }

  trim(): void {}

  announceControl(): void {}

  poll(): void {}

  /** A channel of this link's, which hears what its instance says of itself. */
  adopt(channel: ProcessDecoupledChannel): void {
    this.#channels.set(channel.instance, channel);
  }

  forget(channel: ProcessDecoupledChannel): void {
    this.#channels.delete(channel.instance);
  }

  /** See {@link DecoupledChannel.start}; `channel.tensors.inputError` has been asked. */
  start(channel: ProcessDecoupledChannel, execution: DecoupledExecution): DecoupledRun | null {
    const { tensors } = channel;
    const parameters = this.#onEndedCode === null ? encodeParameters(execution.parameters) : describeRequest(execution);
    const recordBytes = requestBytes(execution.inputs);
    const parametersAt = recordBytes + inputAreaBytes(execution);
    const payloadBytes = parametersAt + parameters.length;
    if (this.#usedBytes + payloadBytes > this.#memoryBytes) {
      if (this.#runs.size === 0) return channel.failSoon(execution, tooLargeBatch(tensors.key, payloadBytes, this.#memoryBytes));
      this.#refused.add(channel);
      return null;
    }
    const payload = Buffer.allocUnsafeSlow(payloadBytes);
    const words = new Float64Array(payload.buffer, 0, Math.floor(payloadBytes / WORD_BYTES));
    const sequence = ++this.#lastSequence;
    writeRequest(words, payload, 0, recordBytes, channel.instance, sequence, tensors, execution);
    words[REQUEST_PARAMETERS_OFFSET] = parametersAt;
    words[REQUEST_PARAMETERS_BYTES] = parameters.length;
    payload.set(parameters, parametersAt);
    const run = new ProcessDecoupledRun(this, channel, execution, sequence, payloadBytes);
    this.#runs.set(sequence, run);
    this.#usedBytes += payloadBytes;
    channel.submitted();
    this.#owner.sendFrame([frameHeader(FRAME_KIND.start, payloadBytes), payload]);
    this.#owner.onBusy();
    return run;
  }

  cancel(run: ProcessDecoupledRun): void {
    if (run.isCancelled || !this.#runs.has(run.sequence)) return;
    run.isCancelled = true;
    run.sinceMs = performance.now();
    this.#onEndedCode?.(run.sequence);
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + CANCEL_BYTES);
    writeFrameHeader(frame, 0, FRAME_KIND.cancel, CANCEL_BYTES);
    frame.writeDoubleLE(run.sequence, FRAME_HEADER_BYTES);
    this.#owner.sendFrame([frame]);
    this.#owner.onBusy();
  }

  /** Opens the window again by what was taken, unless that is little or the caller takes no more now. */
  acknowledge(run: ProcessDecoupledRun): void {
    const count = run.unacknowledged;
    if (count < ACKNOWLEDGED_TOGETHER || run.isCancelled || run.execution.isPaused || !this.#runs.has(run.sequence)) return;
    run.unacknowledged = 0;
    run.sinceMs = performance.now();
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + CREDIT_BYTES);
    writeFrameHeader(frame, 0, FRAME_KIND.credit, CREDIT_BYTES);
    frame.writeDoubleLE(run.sequence, FRAME_HEADER_BYTES);
    frame.writeDoubleLE(count, FRAME_HEADER_BYTES + WORD_BYTES);
    this.#owner.sendFrame([frame]);
    this.#owner.onBusy();
  }

  /** Who makes a call; null: a request that is over, or never was. */
  callerOf(sequence: number): CallerState | null {
    const run = this.#runs.get(sequence);
    if (run === undefined) return null;
    const { request } = run.execution;
    return {
      isDone: run.isCancelled || request?.isDone === true,
      depth: request?.depth ?? 0,
      deadlineNs: request?.deadlineNs ?? Number.POSITIVE_INFINITY,
    };
  }

  onFrame(kind: number, payload: Buffer): void {
    if (kind === FRAME_KIND.response || kind === FRAME_KIND.ended) this.#onAnswer(kind, payload);
    else if (kind === FRAME_KIND.progress) this.#onProgress(payload);
    else if (kind === FRAME_KIND.statistics) this.#onStatistics(payload);
    else throw new HostFault(`sent a frame of kind ${kind}, which has no place with decoupled models`);
  }

  #onAnswer(kind: number, payload: Buffer): void {
    const area = this.#area;
    registerUsedOnce(payload);
    area.words = new Float64Array(payload.buffer, payload.byteOffset, Math.floor(payload.length / WORD_BYTES));
    area.wordCount = area.words.length;
    area.bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.length);
    area.end = payload.length;
    const sequence = area.words[RESPONSE_SEQUENCE] ?? Number.NaN;
    const run = this.#runs.get(sequence);
    if (run === undefined) throw new HostFault(`answered request ${sequence}, which is not in flight`);
    this.#current = run;
    const error = readResponseError(area, sequence);
    if (kind === FRAME_KIND.ended) this.#onEnded(run, error, area.words);
    else if (error !== null) throw new HostFault('sent an error as a response');
    else this.#onResponse(run, area);
    this.#current = null;
  }

  /** A request that is silent for too long is cancelled first: the host may well be alive, and others wait for it. */
  abandonHead(seconds: number): boolean {
    const head = this.#head();
    if (head === null || head.isCancelled) return false;
    const { key } = head.channel.tensors;
    this.cancel(head);
    const text = `model '${key}' gave neither a response nor an end for ${seconds} s, as long as an execution may take; the request was ended`;
    head.execution.fail(new InferenceError('DEADLINE_EXCEEDED', text, { failureReason: 'BACKEND' }));
    return true;
  }

  end(headError: InferenceError, otherError: InferenceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const runs = [...this.#runs.values()];
    const blamed = this.#current;
    this.#runs.clear();
    this.#current = null;
    for (const run of runs) {
      run.channel.settled();
      if (run.isCancelled) run.execution.stopped?.();
      else run.execution.fail(run === blamed ? headError : otherError);
    }
  }

  #onResponse(run: ProcessDecoupledRun, area: ResponseArea): void {
    if (run.unacknowledged === RESPONSE_WINDOW)
      throw new HostFault(`sent more than ${RESPONSE_WINDOW} responses that nobody had asked for`);
    const outputs = readOutputs(area, run.channel.tensors.metadata, null);
    if (outputs === null) throw new HostFault('sent a response without its outputs');
    run.unacknowledged++;
    if (run.isCancelled) return;
    run.sinceMs = performance.now();
    run.execution.respond(outputs);
    this.acknowledge(run);
  }

  /** A cancelled one is to stop, whatever it does. */
  #onProgress(payload: Buffer): void {
    const sequence = payload.length === CANCEL_BYTES ? payload.readDoubleLE(0) : Number.NaN;
    const run = this.#runs.get(sequence);
    if (run === undefined) throw new HostFault(`told of the progress of request ${sequence}, which is not in flight`);
    if (!run.isCancelled) run.sinceMs = performance.now();
  }

  /** Of an instance that has left meanwhile nobody wants to know. */
  #onStatistics(payload: Buffer): void {
    const { instance, statistics } = parseControl(payload);
    if (typeof instance !== 'number' || typeof statistics !== 'object' || statistics === null)
      throw new HostFault('sent statistics without an instance or without numbers');
    const numbers = this.#channels.get(instance)?.numbers;
    if (numbers?.take(statistics as Record<string, unknown>) === false) throw new HostFault('sent statistics that cannot be');
  }

  #onEnded(run: ProcessDecoupledRun, error: InferenceError | null, words: Float64Array): void {
    const { channel, execution } = run;
    const inputTokens = words[ENDED_INPUT_TOKENS]!;
    const outputTokens = words[ENDED_OUTPUT_TOKENS]!;
    if (!isTokenCount(inputTokens) || !isTokenCount(outputTokens))
      throw new HostFault(`counted ${inputTokens} tokens of a prompt and ${outputTokens} of a text`);
    this.#runs.delete(run.sequence);
    this.#onEndedCode?.(run.sequence);
    this.#usedBytes -= run.byteLength;
    channel.settled();
    this.#tell.add(channel);
    for (const refused of this.#refused) this.#tell.add(refused);
    this.#refused.clear();
    try {
      if (run.isCancelled) execution.stopped?.();
      else if (error === null) {
        if (inputTokens > 0) execution.used?.(inputTokens, outputTokens);
        execution.complete();
      } else execution.fail(error);
    } finally {
      this.#tell.run();
    }
  }

  /** Looked for only when a timer fires. */
  #head(): ProcessDecoupledRun | null {
    let head: ProcessDecoupledRun | null = null;
    for (const run of this.#runs.values()) {
      if (!run.isCancelled && run.unacknowledged === RESPONSE_WINDOW) continue;
      if (head === null || run.sinceMs < head.sinceMs) head = run;
    }
    return head;
  }
}

function isTokenCount(value: number): boolean {
  return value >= 0 && Number.isSafeInteger(value);
}
