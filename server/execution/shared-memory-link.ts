/** @hotpath a batch into shared memory and its answer out of it: the gateway's end of every batch that a process host runs (measured by instance-channel.bench.ts) */

import type { InferenceError } from '../../proto/inference-error.ts';
import { registerUsedOnce } from '../../proto/tensor-memory.ts';
import { HostFault, type ResponseArea } from './check-response.ts';
import { DescriptorRing } from './descriptor-ring.ts';
import { encodeExecute, executePayloadBytes, placeResult } from './execute-frame.ts';
import type { ExecutionBatch } from './execution-host.ts';
import { REQUEST_ABANDONED, requestBytes, WORD_BYTES } from './execution-record.ts';
import { futexWake } from './futex.ts';
import type { BatchLink, HostLinkOwner } from './host-link.ts';
import { failAll, type InflightBatch, InflightBatches } from './inflight-batches.ts';
import { type ProcessInstanceChannel, tooLargeBatch } from './instance-channel.ts';
import { KeptRegions } from './kept-regions.ts';
import { FRAME_KIND, frameHeader, LARGE_OUTPUT_PREFIX_BYTES, MAX_TENSOR_FRAME_BYTES } from './messages.ts';
import { settleHead } from './settle-batch.ts';
import {
  ARENA_OFFSET,
  COMPLETION_RING_OFFSET,
  CONTROL_PENDING,
  CURRENT_INSTANCE,
  GATEWAY_SLEEPS,
  HOST_PARKED,
  HOST_RUNS,
  HOST_SLEEPS,
  HOST_STATE,
  REGION_UNIT,
  RING_CAPACITY,
  RING_ENTRY_WORDS,
  SUBMIT_RING_OFFSET,
} from './shared-layout.ts';
import type { SharedMemory } from './shared-memory.ts';
import { SpinBudget } from './spin-budget.ts';
import { TellCapacity } from './tell-capacity.ts';
import { TensorArena } from './tensor-arena.ts';
import { inputAreaBytes, writeOutputRoom, writeRequest } from './write-request.ts';

/** A run up to this long is over before a wake-up would be. */
const QUICK_RUN_NS = 20_000;
/** Less is not worth the system call. */
const MIN_TRIM_BYTES = 1024 * 1024;
/** In the place of a region: the batch went by frame. */
const IN_FRAME = -1;
const wakeFrame: readonly Uint8Array[] = [frameHeader(FRAME_KIND.wake, 0)];

/**
 * Owns the memory. Lost wake-ups: this side stores GATEWAY_SLEEPS and then looks at the completion ring, and stores an entry in the submit ring and then looks at
 * HOST_STATE; the host does the reverse.
 */
export class SharedMemoryLink implements BatchLink {
  readonly inflight: InflightBatches = new InflightBatches(RING_CAPACITY);
  readonly #memory: SharedMemory;
  readonly #owner: HostLinkOwner;
  readonly #state: Int32Array;
  readonly #words: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #submitted: DescriptorRing;
  readonly #completed: DescriptorRing;
  readonly #arena: TensorArena;
  readonly #kept: KeptRegions;
  readonly #entry: Int32Array = new Int32Array(RING_ENTRY_WORDS);
  readonly #answer: Int32Array = new Int32Array(RING_ENTRY_WORDS);
  readonly #area: ResponseArea;
  readonly #tell: TellCapacity = new TellCapacity();
  readonly #maxOutputBytes: number;
  readonly #pollMs: number;
  readonly #lookBudget: SpinBudget = new SpinBudget();
  /** Until when the loop looks by itself; 0: it waits to be woken. */
  #lookUntilMs = 0;
  #isEnded = false;
  #isPolling = false;
  /** The one batch in flight went by frame. */
  #isFrameOut = false;

  constructor(memory: SharedMemory, pollUs: number, owner: HostLinkOwner) {
    const buffer = memory.buffer;
    this.#memory = memory;
    this.#pollMs = pollUs / 1000;
    this.#owner = owner;
    this.#state = new Int32Array(buffer, 0, 64);
    this.#words = new Float64Array(buffer, 0, Math.floor(buffer.byteLength / WORD_BYTES));
    this.#bytes = new Uint8Array(buffer);
    this.#submitted = new DescriptorRing(buffer, SUBMIT_RING_OFFSET, RING_CAPACITY, RING_ENTRY_WORDS);
    this.#completed = new DescriptorRing(buffer, COMPLETION_RING_OFFSET, RING_CAPACITY, RING_ENTRY_WORDS);
    this.#arena = new TensorArena(ARENA_OFFSET, buffer.byteLength - ARENA_OFFSET);
    this.#kept = new KeptRegions(memory, this.#arena);
    this.#maxOutputBytes = Math.floor(this.#arena.byteLength / 2 / REGION_UNIT) * REGION_UNIT;
    this.#area = { words: this.#words, at: 0, wordCount: 0, bytes: this.#bytes, start: 0, end: 0 };
    this.#state[GATEWAY_SLEEPS] = 1;
  }

  get headModel(): string | null {
    return this.inflight.head?.channel.tensors.key ?? null;
  }

  get currentInstance(): number {
    if (this.#isFrameOut) return this.inflight.head?.channel.instance ?? 0;
    return this.#isEnded ? 0 : Atomics.load(this.#state, CURRENT_INSTANCE);
  }

  isExecuting(): boolean {
    return this.currentInstance !== 0;
  }

  trim(): void {
    if (this.#isEnded) return;
    for (const { offset, byteLength } of this.#arena.takeDiscardable(MIN_TRIM_BYTES)) this.#memory.discard(offset, byteLength);
  }

  submit(channel: ProcessInstanceChannel, batch: ExecutionBatch): boolean {
    const { tensors } = channel;
    const recordBytes = requestBytes(batch.inputs);
    const inputBytes = inputAreaBytes(batch);
    const fixedBytes = recordBytes + tensors.responseBytes + inputBytes;
    // One batch is not to keep all others out, whatever it learned; what has no room goes by frame.
    let outputBytes = Math.min(tensors.outputBytes(batch), this.#maxOutputBytes);
    let region = this.inflight.isFull || this.#isFrameOut ? -1 : this.#arena.allocate(fixedBytes + outputBytes);
    if (region < 0) {
      if (this.inflight.count > 0) {
        this.#tell.add(channel);
        return false;
      }
      // Nothing will be freed, so waiting is no use; the outputs can still go by frame.
      outputBytes = 0;
      region = this.#arena.allocate(fixedBytes);
      if (region < 0) {
        // What is kept may be kept for this very batch.
        if (this.#kept.keptBytes > 0 && fixedBytes <= this.#arena.byteLength) return this.#submitFrame(channel, batch);
        channel.failSoon(batch, tooLargeBatch(tensors.key, fixedBytes, this.#arena.byteLength));
        return true;
      }
    }
    const sequence = this.inflight.nextSequence();
    const responseOffset = region + recordBytes;
    const inputOffset = responseOffset + tensors.responseBytes;
    const outputOffset = inputOffset + inputBytes;
    try {
      writeRequest(this.#words, this.#bytes, region, inputOffset, channel.instance, sequence, tensors, batch);
    } catch (error) {
      this.#arena.free(region);
      throw error;
    }
    writeOutputRoom(this.#words, region, responseOffset, tensors.responseBytes, outputOffset, outputBytes);
    const entry = this.#entry;
    entry[0] = region / REGION_UNIT;
    entry[1] = sequence;
    if (!this.#push(entry)) {
      this.#arena.free(region);
      return false;
    }
    const isIdle = this.inflight.count === 0;
    this.inflight.push({
      channel,
      batch,
      sequence,
      submittedMs: performance.now(),
      region,
      responseOffset,
      outputOffset,
      outputBytes,
      isAbandoned: false,
      isAnswered: false,
      large: null,
    });
    channel.submitted();
    this.#wakeHost();
    if (isIdle) this.#owner.onBusy();
    if (this.#pollMs > 0 && tensors.lastRunNs < QUICK_RUN_NS) this.#lookSoon();
    return true;
  }

  abandon(batch: ExecutionBatch): void {
    const inflight = this.#isEnded ? null : this.inflight.findByBatch(batch);
    if (inflight === null || inflight.region === IN_FRAME) return;
    inflight.isAbandoned = true;
    // Where the host has begun already, it does not look any more.
    this.#words[inflight.region / WORD_BYTES + REQUEST_ABANDONED] = 1;
  }

  expect(): void {
    if (this.#isEnded || this.inflight.count > 0) return;
    if (Atomics.compareExchange(this.#state, HOST_STATE, HOST_SLEEPS, HOST_RUNS) === HOST_SLEEPS) futexWake(this.#state, HOST_STATE);
  }

  announceControl(): void {
    if (this.#isEnded) return;
    Atomics.store(this.#state, CONTROL_PENDING, 1);
    // A parked host is woken by the frame itself.
    if (Atomics.compareExchange(this.#state, HOST_STATE, HOST_SLEEPS, HOST_RUNS) === HOST_SLEEPS) futexWake(this.#state, HOST_STATE);
  }

  poll(): void {
    // `complete` may submit, but nobody but this loop settles.
    if (this.#isEnded || this.#isPolling) return;
    this.#isPolling = true;
    try {
      do {
        Atomics.store(this.#state, GATEWAY_SLEEPS, 0);
        this.#drain();
        // An answer's receiver may have stopped the host: the memory is gone then.
        if (this.#isEnded) break;
        if (this.#lookUntilMs === 0) Atomics.store(this.#state, GATEWAY_SLEEPS, 1);
      } while (this.#drain() > 0 && !this.#isEnded);
    } catch (error) {
      if (!(error instanceof HostFault)) {
        // A receiver's fault is not to leave the other answers unseen.
        this.#lookUntilMs = 0;
        setImmediate(() => this.poll());
        throw error;
      }
      this.#owner.onFault(error.message);
    } finally {
      this.#isPolling = false;
    }
    this.#tell.run();
  }

  /** Spares host and gateway the wake-up where the answer will be there sooner than that takes. Sockets are served meanwhile. */
  #lookSoon(): void {
    if (this.#lookUntilMs === 0) {
      if (!this.#lookBudget.take()) return;
      Atomics.store(this.#state, GATEWAY_SLEEPS, 0);
      setImmediate(this.#look);
    }
    this.#lookUntilMs = performance.now() + this.#pollMs;
  }

  readonly #look = (): void => {
    if (this.#isEnded) return;
    if (!this.#completed.isEmpty) {
      this.#lookBudget.succeeded();
      this.poll();
    } else if (performance.now() >= this.#lookUntilMs) {
      this.#lookBudget.failed();
      this.#lookUntilMs = 0;
      // From here on the host is to wake this side; what it answered before it could know is settled now.
      this.poll();
      return;
    }
    if (this.#isEnded) return;
    if (this.inflight.count > 0) {
      setImmediate(this.#look);
      return;
    }
    this.#lookUntilMs = 0;
    this.poll();
  };

  /** Nothing is in flight: with the ring beside it, the host's order would be anyone's guess. */
  #submitFrame(channel: ProcessInstanceChannel, batch: ExecutionBatch): boolean {
    const payloadBytes = executePayloadBytes(batch);
    if (payloadBytes > MAX_TENSOR_FRAME_BYTES) {
      channel.failSoon(batch, tooLargeBatch(channel.tensors.key, payloadBytes, MAX_TENSOR_FRAME_BYTES));
      return true;
    }
    const sequence = this.inflight.nextSequence();
    const payload = encodeExecute(channel, batch, sequence, payloadBytes);
    this.inflight.push({
      channel,
      batch,
      sequence,
      submittedMs: performance.now(),
      region: IN_FRAME,
      responseOffset: 0,
      outputOffset: 0,
      outputBytes: 0,
      isAbandoned: false,
      isAnswered: false,
      large: null,
    });
    this.#isFrameOut = true;
    channel.submitted();
    this.#owner.sendFrame([frameHeader(FRAME_KIND.execute, payloadBytes), payload]);
    this.announceControl();
    this.#owner.onBusy();
    return true;
  }

  #onResult(payload: Buffer): void {
    const head = this.inflight.head;
    if (!this.#isFrameOut || head === null) throw new HostFault('sent a result by frame of a batch that did not come by frame');
    const area: ResponseArea = { ...this.#area };
    placeResult(area, payload);
    this.#isFrameOut = false;
    try {
      if (!settleHead(this.inflight, head, area)) throw new HostFault('sent a result without its outputs');
    } finally {
      if (this.inflight.head !== head) this.#tell.add(head.channel);
    }
    this.#tell.run();
  }

  onFrame(kind: number, payload: Buffer): void {
    if (kind === FRAME_KIND.result) {
      this.#onResult(payload);
      return;
    }
    if (kind !== FRAME_KIND.largeOutput) throw new HostFault(`sent a frame of kind ${kind}, which has no place in shared memory`);
    if (payload.length < LARGE_OUTPUT_PREFIX_BYTES) throw new HostFault('sent a large output without its prefix');
    const inflight = this.inflight.findBySequence(payload.readDoubleLE(0));
    const index = payload.readDoubleLE(8);
    if (inflight === null) throw new HostFault('sent a large output of an execution that is not in flight');
    const outputCount = inflight.channel.tensors.metadata.outputs.length;
    if (!Number.isInteger(index) || index < 0 || index >= outputCount) throw new HostFault(`sent a large output ${index}`);
    inflight.large ??= new Array<Uint8Array | undefined>(outputCount).fill(undefined);
    if (inflight.large[index] !== undefined) throw new HostFault('sent a large output twice');
    registerUsedOnce(payload);
    inflight.large[index] = new Uint8Array(payload.buffer, payload.byteOffset + LARGE_OUTPUT_PREFIX_BYTES);
    this.poll();
  }

  abandonHead(): boolean {
    // A batch can't be stopped.
    return false;
  }

  end(headError: InferenceError, otherError: InferenceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#isFrameOut = false;
    failAll(this.inflight, headError, otherError);
    this.#kept.close();
  }

  /** Settles what is answered; returns how many answers the ring had. */
  #drain(): number {
    let count = 0;
    for (;;) {
      const head = this.inflight.head;
      if (this.#isEnded) return count;
      if (head === null || !head.isAnswered) {
        if (!this.#takeAnswer(head)) return count;
        count++;
      }
      if (!this.#settle(head!)) return count;
    }
  }

  /** Takes the next answer from the ring, which can only be the head's. */
  #takeAnswer(head: InflightBatch | null): boolean {
    const answer = this.#answer;
    try {
      if (!this.#completed.pop(answer)) return false;
    } catch (error) {
      throw new HostFault(`broke its completion ring: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (head === null || answer[1] !== head.sequence || answer[0] !== head.region / REGION_UNIT) {
      throw new HostFault(
        `answered execution ${answer[1]} in region ${answer[0]}, ${head === null ? 'none is in flight' : `${head.sequence} is next`}`,
      );
    }
    head.isAnswered = true;
    return true;
  }

  #settle(head: InflightBatch): boolean {
    const area = this.#area;
    area.at = head.responseOffset / WORD_BYTES;
    area.wordCount = head.channel.tensors.responseBytes / WORD_BYTES;
    area.start = head.outputOffset;
    area.end = head.outputOffset + head.outputBytes;
    let isSettled = false;
    const outer = this.#kept.enter(head.region);
    try {
      isSettled = settleHead(this.inflight, head, area);
    } finally {
      this.#kept.leave(outer);
      // The batch is out of `inflight` even when its `complete` threw.
      if (this.inflight.head !== head) {
        this.#kept.free(head.region);
        this.#tell.add(head.channel);
      }
    }
    return isSettled;
  }

  /** False when the host has made the ring unusable; it is being ended then. */
  #push(entry: Int32Array): boolean {
    try {
      // The host takes an entry before it answers, and `inflight` is no larger than the ring: a full one is the host's fault too.
      if (this.#submitted.push(entry)) return true;
    } catch {
      // Said below.
    }
    this.#owner.onFault('broke its submit ring');
    return false;
  }

  /** Its entry is in the ring; see the class for the order. */
  #wakeHost(): void {
    const was = Atomics.load(this.#state, HOST_STATE);
    if (was === HOST_RUNS) return;
    if (Atomics.compareExchange(this.#state, HOST_STATE, was, HOST_RUNS) !== was) return;
    if (was === HOST_SLEEPS) futexWake(this.#state, HOST_STATE);
    else if (was === HOST_PARKED) this.#owner.sendFrame(wakeFrame);
  }
}
