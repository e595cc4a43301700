/** @hotpath batches of a model that is code to its host and the answers back, in frames on the control socket (measured by request-channel.bench.ts) */

import type { ModelMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { outputFault } from './check-outputs.ts';
import { HostFault } from './check-response.ts';
import type { ExecutionBatch } from './execution-host.ts';
import type { WatchedExecutions } from './execution-watch.ts';
import type { CallerState } from './host-calls.ts';
import type { HostLink, HostLinkOwner } from './host-link.ts';
import { tooLargeBatch } from './instance-channel.ts';
import { CREDIT_BYTES, FRAME_HEADER_BYTES, FRAME_KIND, MAX_TENSOR_FRAME_BYTES, STATUS_CODES, writeFrameHeader } from './messages.ts';
import type { RequestChannel } from './request-channel.ts';
import { type RequestRow, requestRow } from './request-row.ts';
import { TellCapacity } from './tell-capacity.ts';
import { isRecord, TensorFrameReader, tensorFrame } from './tensor-frame.ts';

/** Longest error text taken from a host, characters. */
const MAX_ERROR_LENGTH = 2048;

/** A batch in the host. */
class RequestRun {
  readonly channel: RequestChannel;
  readonly batch: ExecutionBatch;
  readonly sequence: number;
  readonly byteLength: number;
  readonly submittedMs: number = performance.now();
  /** Since when the host owes something for it: `performance.now()`. */
  sinceMs: number = this.submittedMs;
  /** Its code waits for something else than the host. */
  isWaiting = false;
  /** Its requests have failed; the host is to stop, and its answer is dropped. */
  isAbandoned = false;

  constructor(channel: RequestChannel, batch: ExecutionBatch, sequence: number, byteLength: number) {
    this.channel = channel;
    this.batch = batch;
    this.sequence = sequence;
    this.byteLength = byteLength;
  }
}

/**
 * What a host of one such model has been given. `memoryBytes` bounds the batches' inputs, all together. Batches end in any order: their code may wait for other models, or for anything.
 */
export class RequestLink implements HostLink, WatchedExecutions {
  readonly #owner: HostLinkOwner;
  readonly #memoryBytes: number;
  readonly #runs: Map<number, RequestRun> = new Map();
  readonly #bySource: Map<ExecutionBatch, RequestRun> = new Map();
  readonly #tell: TellCapacity = new TellCapacity();
  /** Those that found no memory; told when there is some. */
  readonly #refused: Set<RequestChannel> = new Set();
  /** An execution, or one request of it (`index`), has ended: what was asked of others for it is of no use any more. */
  readonly #onEnded: (sequence: number, index?: number) => void;
  #lastSequence = 0;
  #usedBytes = 0;
  #isEnded = false;

  constructor(memoryBytes: number, owner: HostLinkOwner, onEnded: (sequence: number, index?: number) => void) {
    this.#owner = owner;
    this.#memoryBytes = Math.min(memoryBytes, MAX_TENSOR_FRAME_BYTES);
    this.#onEnded = onEnded;
  }

  get inflight(): WatchedExecutions {
    return this;
  }

  get count(): number {
    return this.#runs.size;
  }

  get isOwed(): boolean {
    return this.#runs.size > 0;
  }

  get headSinceMs(): number {
    return this.#head()?.sinceMs ?? Number.POSITIVE_INFINITY;
  }

  get headModel(): string | null {
    return this.#head()?.channel.tensors.key ?? null;
  }

  /** The host has one instance. */
  get currentInstance(): number {
    return this.#head()?.channel.instance ?? 0;
  }

  /** The model is loaded before it is asked anything. */
  isExecuting(): boolean {
    return this.#runs.size > 0;
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

  /** As `InstanceChannel.execute` has it, `channel.tensors.inputError` having been asked. */
  submit(channel: RequestChannel, batch: ExecutionBatch): boolean {
    const { key, metadata } = channel.tensors;
    const tensors: Tensor[] = [];
    const rows = requestRows(batch, metadata, tensors);
    let byteLength = 0;
    for (let i = 0; i < tensors.length; i++) byteLength += tensors[i]!.data.length;
    if (this.#usedBytes + byteLength > this.#memoryBytes) {
      if (this.#runs.size === 0) channel.failSoon(batch, tooLargeBatch(key, byteLength, this.#memoryBytes));
      else this.#refused.add(channel);
      return this.#runs.size === 0;
    }
    const sequence = ++this.#lastSequence;
    let frame: Buffer;
    try {
      frame = tensorFrame(FRAME_KIND.executeRequests, { sequence, instance: channel.instance, requests: rows }, tensors);
    } catch {
      channel.failSoon(batch, tooLargeBatch(key, byteLength, this.#memoryBytes));
      return true;
    }
    const run = new RequestRun(channel, batch, sequence, byteLength);
    this.#runs.set(sequence, run);
    this.#bySource.set(batch, run);
    this.#usedBytes += byteLength;
    channel.submitted();
    this.#owner.sendFrame([frame]);
    this.#owner.onBusy();
    return true;
  }

  /** See `InstanceChannel.abandon`. */
  abandon(batch: ExecutionBatch, index: number): void {
    const run = this.#bySource.get(batch);
    if (run === undefined || index < 0) return;
    this.#sendAbandon(run, index);
    const isLast = batch.requests!.every((request, i) => i === index || request.isDone);
    this.#onEnded(run.sequence, isLast ? -1 : index);
  }

  /** Who makes a call; null: an execution that is over, or never was. */
  callerOf(sequence: number, index: number): CallerState | null {
    const run = this.#runs.get(sequence);
    if (run === undefined) return null;
    const requests = run.batch.requests ?? [];
    const one = index < 0 ? undefined : requests[index];
    if (index >= 0 && one === undefined) return null;
    let isDone = run.isAbandoned || requests.length > 0;
    let depth = 0;
    let deadlineNs = requests.length > 0 ? 0 : Number.POSITIVE_INFINITY;
    for (const request of one === undefined ? requests : [one]) {
      depth = Math.max(depth, request.depth);
      if (request.isDone) continue;
      isDone = run.isAbandoned;
      // The last one that waits keeps the call alive.
      deadlineNs = Math.max(deadlineNs, request.deadlineNs);
    }
    return { isDone, depth, deadlineNs };
  }

  onFrame(kind: number, payload: Buffer): void {
    if (kind === FRAME_KIND.waiting) {
      this.#onWaiting(payload.length === 8 ? payload.readDoubleLE(0) : Number.NaN);
      return;
    }
    if (kind !== FRAME_KIND.results) throw new HostFault(`sent a frame of kind ${kind}, which has no place with models that are code`);
    const reader = new TensorFrameReader(payload);
    const run = this.#runs.get(reader.header['sequence'] as number);
    if (run === undefined) throw new HostFault('answered a batch that is not in flight');
    this.#onResults(run, reader);
  }

  /** A batch whose code waits is given up alone: the host has answered for less since, and others wait in it too. */
  abandonHead(seconds: number): boolean {
    const head = this.#head();
    if (head === null || !head.isWaiting) return false;
    if (head.isAbandoned) return this.#isSpared(head);
    const { key } = head.channel.tensors;
    head.isAbandoned = true;
    head.sinceMs = performance.now();
    const { length } = head.batch.requests ?? [0];
    for (let i = 0; i < length; i++) this.#sendAbandon(head, i);
    this.#onEnded(head.sequence);
    const text = `model '${key}' did not end within the ${seconds} s that an execution may take: it waits for something that does not come`;
    head.batch.fail(new InferenceError('DEADLINE_EXCEEDED', text, { failureReason: 'BACKEND' }));
    return true;
  }

  /** The end of a host gives back what given-up code holds on to; while others are being answered, and it is little, that can wait. */
  #isSpared(head: RequestRun): boolean {
    let abandoned = 0;
    for (const run of this.#runs.values()) if (run.isAbandoned) abandoned++;
    if (abandoned === this.#runs.size || abandoned > head.channel.maxBatches / 4) return false;
    head.sinceMs = performance.now();
    return true;
  }

  end(headError: InferenceError, otherError: InferenceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const runs = [...this.#runs.values()];
    const head = this.#head();
    this.#runs.clear();
    this.#bySource.clear();
    for (const run of runs) {
      run.channel.settled();
      if (!run.isAbandoned) run.batch.fail(run === head ? headError : otherError);
    }
  }

  #onWaiting(sequence: number): void {
    const run = this.#runs.get(sequence);
    // Its answer may have overtaken it.
    if (run === undefined || run.isWaiting) return;
    run.isWaiting = true;
    run.channel.waitingCount++;
    this.#hostIsFree();
    this.#tell.add(run.channel);
    this.#tell.run();
  }

  #onResults(run: RequestRun, reader: TensorFrameReader): void {
    const { channel, batch } = run;
    const { tensors } = channel;
    const requests = batch.requests ?? null;
    const results = readResults(reader, tensors.metadata, requests?.map((request) => request.batchSize) ?? [0]);
    const elapsedNs = (performance.now() - run.submittedMs) * 1e6;
    const inferNs = within(reader.header['inferNs'], elapsedNs);
    const outputNs = within(reader.header['outputNs'], elapsedNs - inferNs);
    if (!run.isWaiting) tensors.lastRunNs = inferNs;
    this.#runs.delete(run.sequence);
    this.#bySource.delete(batch);
    this.#usedBytes -= run.byteLength;
    if (run.isWaiting) channel.waitingCount--;
    channel.settled();
    this.#onEnded(run.sequence);
    this.#hostIsFree();
    this.#tell.add(channel);
    for (const refused of this.#refused) this.#tell.add(refused);
    this.#refused.clear();
    try {
      if (!run.isAbandoned) settle(batch, results, { inferNs, outputNs });
    } finally {
      this.#tell.run();
    }
  }

  /** What has yet to begin could not before now. */
  #hostIsFree(): void {
    const now = performance.now();
    for (const run of this.#runs.values()) if (!run.isWaiting) run.sinceMs = now;
  }

  #sendAbandon(run: RequestRun, index: number): void {
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + CREDIT_BYTES);
    writeFrameHeader(frame, 0, FRAME_KIND.abandon, CREDIT_BYTES);
    frame.writeDoubleLE(run.sequence, FRAME_HEADER_BYTES);
    frame.writeDoubleLE(index, FRAME_HEADER_BYTES + 8);
    this.#owner.sendFrame([frame]);
  }

  /** Looked for only when a timer fires or something went wrong. */
  #head(): RequestRun | null {
    let head: RequestRun | null = null;
    for (const run of this.#runs.values()) if (head === null || run.sinceMs < head.sinceMs) head = run;
    return head;
  }
}

type Result = readonly Tensor[] | InferenceError;

function settle(batch: ExecutionBatch, results: readonly Result[], timing: { inferNs: number; outputNs: number }): void {
  if (batch.completeEach !== undefined && batch.requests !== undefined) {
    batch.completeEach(results, timing);
    return;
  }
  const [result] = results;
  if (result instanceof InferenceError) batch.fail(result);
  else batch.complete(result!, timing);
}

/** A batch that is no client's is one request. */
function requestRows(batch: ExecutionBatch, metadata: ModelMetadata, tensors: Tensor[]): RequestRow[] {
  const { requests } = batch;
  if (requests !== undefined) return requests.map((request) => requestRow(request, tensors));
  const own = batch.inputs.map(({ name, datatype, shape, byteLength }, i) => {
    const data = new Uint8Array(byteLength);
    batch.writeInput(i, data);
    return { name, datatype, shape, data };
  });
  const batchSize = (metadata.maxBatchSize ?? 0) > 0 ? (own[0]?.shape[0] ?? 1) : 1;
  const bare = { id: '', parameters: {}, priority: 0, sequence: null, boundInputs: own, outputs: [], batchSize, depth: 0 };
  return [requestRow({ ...bare, deadlineNs: Number.POSITIVE_INFINITY, isDone: false }, tensors)];
}

/** `batchSizes`: of each request; 0: not known. Throws HostFault. */
function readResults(reader: TensorFrameReader, metadata: ModelMetadata, batchSizes: readonly number[]): Result[] {
  const rows = reader.header['results'];
  if (!Array.isArray(rows) || rows.length !== batchSizes.length)
    throw new HostFault(`did not answer each of the ${batchSizes.length} requests of a batch`);
  const results = new Array<Result>(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const row: unknown = rows[i];
    results[i] = Array.isArray(row) ? readOutputs(reader, row, metadata, batchSizes[i]!) : readError(row);
  }
  return results;
}

function readOutputs(reader: TensorFrameReader, rows: readonly unknown[], metadata: ModelMetadata, batchSize: number): Tensor[] {
  const outputs = reader.tensors(rows);
  const expected = metadata.outputs;
  if (outputs.length !== expected.length) throw new HostFault(`sent ${outputs.length} outputs, the model has ${expected.length}`);
  for (let i = 0; i < outputs.length; i++) {
    const { name, datatype, shape, data } = outputs[i]!;
    const fault =
      name === expected[i]!.name ? outputFault(expected[i]!, datatype, shape, data.length) : `sent output '${name}' out of order`;
    if (fault !== null) throw new HostFault(fault);
    if (batchSize > 0 && (metadata.maxBatchSize ?? 0) > 0 && shape[0] !== batchSize)
      throw new HostFault(`gave output '${name}' ${shape[0]} rows for a request of ${batchSize}`);
  }
  return outputs;
}

export function readError(row: unknown): InferenceError {
  const code = isRecord(row) ? STATUS_CODES.find((known) => known === row['code']) : undefined;
  if (!isRecord(row) || code === undefined || typeof row['message'] !== 'string') throw new HostFault('sent an error without code or text');
  return new InferenceError(code, row['message'].slice(0, MAX_ERROR_LENGTH), { failureReason: 'BACKEND' });
}

function within(ns: unknown, limitNs: number): number {
  return typeof ns === 'number' && ns >= 0 ? Math.min(ns, Math.max(0, limitNs)) : 0;
}
