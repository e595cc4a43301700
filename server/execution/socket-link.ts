/** @hotpath a batch into a frame and its answer out of one, where the gateway and its host can't share memory (measured by instance-channel.bench.ts) */

import type { InferenceError } from '../../proto/inference-error.ts';
import { HostFault, type ResponseArea } from './check-response.ts';
import { encodeExecute, executePayloadBytes, placeResult } from './execute-frame.ts';
import type { ExecutionBatch } from './execution-host.ts';
import type { BatchLink, HostLinkOwner } from './host-link.ts';
import { failAll, InflightBatches } from './inflight-batches.ts';
import { type ProcessInstanceChannel, tooLargeBatch } from './instance-channel.ts';
import { FRAME_KIND, frameHeader, MAX_TENSOR_FRAME_BYTES } from './messages.ts';
import { settleHead } from './settle-batch.ts';
import { TellCapacity } from './tell-capacity.ts';

/** Batches that one host may have; far above what its instances take at two each. */
const CAPACITY = 1024;

/**
 * `memoryBytes` bounds the frames that are on their way, as the arena's size does for shared memory.
 */
export class SocketLink implements BatchLink {
  readonly inflight: InflightBatches = new InflightBatches(CAPACITY);
  readonly #owner: HostLinkOwner;
  readonly #memoryBytes: number;
  readonly #tell: TellCapacity = new TellCapacity();
  readonly #area: ResponseArea = { words: new Float64Array(0), at: 0, wordCount: 0, bytes: new Uint8Array(0), start: 0, end: 0 };
  #usedBytes = 0;
  #isEnded = false;

  constructor(memoryBytes: number, owner: HostLinkOwner) {
    this.#owner = owner;
    this.#memoryBytes = Math.min(memoryBytes, MAX_TENSOR_FRAME_BYTES);
  }

  get headModel(): string | null {
    return this.inflight.head?.channel.tensors.key ?? null;
  }

  get currentInstance(): number {
    return this.inflight.head?.channel.instance ?? 0;
  }

  isExecuting(loadStartedMs: number): boolean {
    // Frames are worked off in their order.
    const { head } = this.inflight;
    return head !== null && head.submittedMs < loadStartedMs;
  }

  trim(): void {
    // Frames are garbage as soon as they are written.
  }

  submit(channel: ProcessInstanceChannel, batch: ExecutionBatch): boolean {
    const { tensors } = channel;
    const payloadBytes = executePayloadBytes(batch);
    if (this.inflight.isFull || this.#usedBytes + payloadBytes > this.#memoryBytes) {
      if (this.inflight.count > 0) {
        this.#tell.add(channel);
        return false;
      }
      channel.failSoon(batch, tooLargeBatch(tensors.key, payloadBytes, this.#memoryBytes));
      return true;
    }
    const sequence = this.inflight.nextSequence();
    const payload = encodeExecute(channel, batch, sequence, payloadBytes);
    const isIdle = this.inflight.count === 0;
    this.#usedBytes += payloadBytes;
    this.inflight.push({
      channel,
      batch,
      sequence,
      submittedMs: performance.now(),
      region: 0,
      responseOffset: 0,
      outputOffset: 0,
      outputBytes: payloadBytes,
      isAbandoned: false,
      isAnswered: false,
      large: null,
    });
    channel.submitted();
    this.#owner.sendFrame([frameHeader(FRAME_KIND.execute, payloadBytes), payload]);
    if (isIdle) this.#owner.onBusy();
    return true;
  }

  /** Frames are worked off in their order: the host would hear of it behind the batch. */
  abandon(): void {}

  /** The host waits in its event loop, which only a frame wakes. */
  expect(): void {}

  announceControl(): void {
    // A host without shared memory is always in its event loop.
  }

  poll(): void {
    // Answers come by themselves.
  }

  onFrame(kind: number, payload: Buffer): void {
    if (kind !== FRAME_KIND.result) throw new HostFault(`sent a frame of kind ${kind}, which has no place on a socket`);
    const head = this.inflight.head;
    if (head === null) throw new HostFault('sent a result, though nothing is in flight');
    placeResult(this.#area, payload);
    try {
      if (!settleHead(this.inflight, head, this.#area)) throw new HostFault('sent a result without its outputs');
    } finally {
      if (this.inflight.head !== head) {
        this.#usedBytes -= head.outputBytes;
        this.#tell.add(head.channel);
      }
    }
    this.#tell.run();
  }

  abandonHead(): boolean {
    // A batch can't be stopped.
    return false;
  }

  end(headError: InferenceError, otherError: InferenceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    failAll(this.inflight, headError, otherError);
  }
}
