/** @hotpath the host's loop over shared memory: takes executions from the ring, runs them, answers, and decides when to spin and when to sleep (measured by instance-channel.bench.ts) */

import { writeSync } from 'node:fs';
import { DescriptorRing } from './descriptor-ring.ts';
import {
  BY_FRAME,
  REQUEST_ABANDONED,
  REQUEST_INSTANCE,
  REQUEST_OUTPUT_BYTES,
  REQUEST_OUTPUT_OFFSET,
  REQUEST_RESPONSE_OFFSET,
  REQUEST_SEQUENCE,
  WORD_BYTES,
} from './execution-record.ts';
import { futexWait } from './futex.ts';
import type { InstanceWorker } from './instance-worker.ts';
import {
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
import { SpinBudget } from './spin-budget.ts';
import { writeSkippedRecord } from './write-response.ts';

/** Longest sleep on the futex: how late a host notices what nobody announced. */
const SLEEP_MS = 500;
/** A host without requests for this long waits in its event loop: no wake-ups twice a second from hosts that have nothing to do. */
const PARK_AFTER_MS = 2000;
/** Spinning pays while requests follow each other closely. */
const SPIN_WHILE_RECENT_MS = 2;

export interface RunLoopOptions {
  readonly memory: ArrayBuffer;
  readonly worker: InstanceWorker;
  readonly wakeFd: number;
  readonly spinUs: number;
  /** True while something only the event loop can bring forward is under way: a load, half a frame, unsent bytes. */
  readonly needsEventLoop: () => boolean;
  readonly sendLargeOutput: (sequence: number, outputIndex: number, data: Uint8Array) => void;
}

/**
 * Blocks the process's event loop on purpose: a host has nothing else to do, and a futex wakes it without the loop's overhead. It goes back to the event
 * loop when the gateway announces a control frame.
 *
 * Lost wake-ups: this side stores HOST_STATE and then looks at ring and CONTROL_PENDING; the gateway stores those and then looks at HOST_STATE.
 */
export class HostRunLoop {
  readonly #worker: InstanceWorker;
  readonly #wakeFd: number;
  readonly #spinMs: number;
  readonly #needsEventLoop: () => boolean;
  readonly #sendLargeOutput: (sequence: number, outputIndex: number, data: Uint8Array) => void;
  readonly #state: Int32Array;
  readonly #words: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #submitted: DescriptorRing;
  readonly #completed: DescriptorRing;
  readonly #entry: Int32Array = new Int32Array(RING_ENTRY_WORDS);
  readonly #wakeByte: Uint8Array = Uint8Array.of(1);
  readonly #spinBudget: SpinBudget = new SpinBudget();
  #isScheduled = false;
  /** Woken before there was work: some is about to come. */
  #isExpecting = false;
  #lastWorkMs = 0;

  constructor(options: RunLoopOptions) {
    this.#worker = options.worker;
    this.#wakeFd = options.wakeFd;
    this.#spinMs = options.spinUs / 1000;
    this.#needsEventLoop = options.needsEventLoop;
    this.#sendLargeOutput = options.sendLargeOutput;
    this.#state = new Int32Array(options.memory, 0, 64);
    this.#words = new Float64Array(options.memory, 0, Math.floor(options.memory.byteLength / WORD_BYTES));
    this.#bytes = new Uint8Array(options.memory);
    this.#submitted = new DescriptorRing(options.memory, SUBMIT_RING_OFFSET, RING_CAPACITY, RING_ENTRY_WORDS);
    this.#completed = new DescriptorRing(options.memory, COMPLETION_RING_OFFSET, RING_CAPACITY, RING_ENTRY_WORDS);
  }

  /** Goes on at the next turn of the event loop. To be called whenever the event loop brought something. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    Atomics.store(this.#state, HOST_STATE, HOST_RUNS);
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isScheduled = false;
    const state = this.#state;
    for (;;) {
      while (this.#submitted.pop(this.#entry)) {
        this.#execute();
        if (Atomics.load(state, CONTROL_PENDING) !== 0) break;
      }
      if (Atomics.exchange(state, CONTROL_PENDING, 0) !== 0) {
        this.schedule();
        return;
      }
      if (this.#needsEventLoop()) {
        if (this.#park()) return;
        continue;
      }
      if (this.#spin()) continue;
      if (performance.now() - this.#lastWorkMs > PARK_AFTER_MS) {
        if (this.#park()) return;
        continue;
      }
      Atomics.store(state, HOST_STATE, HOST_SLEEPS);
      if (this.#isIdle()) {
        if (futexWait(state, HOST_STATE, HOST_SLEEPS, SLEEP_MS) === 'timeout') {
          // Whatever came unannounced, the end of the control socket among it, is seen now.
          this.schedule();
          return;
        }
        this.#isExpecting = true;
      }
      Atomics.store(state, HOST_STATE, HOST_RUNS);
    }
  };

  #isIdle(): boolean {
    return this.#submitted.isEmpty && Atomics.load(this.#state, CONTROL_PENDING) === 0;
  }

  /** True when the event loop may wait now, false when something came meanwhile. */
  #park(): boolean {
    Atomics.store(this.#state, HOST_STATE, HOST_PARKED);
    if (this.#isIdle()) return true;
    Atomics.store(this.#state, HOST_STATE, HOST_RUNS);
    return false;
  }

  /** True when something came while it spun. */
  #spin(): boolean {
    if (this.#spinMs === 0) return false;
    const start = performance.now();
    if (this.#isExpecting) this.#isExpecting = false;
    else if (start - this.#lastWorkMs > SPIN_WHILE_RECENT_MS || !this.#spinBudget.take()) return false;
    const end = start + this.#spinMs;
    do {
      if (!this.#isIdle()) {
        this.#spinBudget.succeeded();
        return true;
      }
    } while (performance.now() < end);
    this.#spinBudget.failed();
    return false;
  }

  #execute(): void {
    this.#isExpecting = false;
    const words = this.#words;
    const entry = this.#entry;
    const at = (entry[0]! * REGION_UNIT) / WORD_BYTES;
    const sequence = words[at + REQUEST_SEQUENCE]!;
    const responseAt = words[at + REQUEST_RESPONSE_OFFSET]! / WORD_BYTES;
    if (words[at + REQUEST_ABANDONED] === 1) writeSkippedRecord(words, responseAt, sequence);
    else this.#run(at, responseAt, sequence);
    // The ring has as many entries as the gateway's: it can't be full of answers to fewer requests.
    if (!this.#completed.push(entry)) throw new Error('completion ring is full');
    this.#lastWorkMs = performance.now();
    if (Atomics.exchange(this.#state, GATEWAY_SLEEPS, 0) !== 0) writeSync(this.#wakeFd, this.#wakeByte);
  }

  #run(at: number, responseAt: number, sequence: number): void {
    const words = this.#words;
    const worker = this.#worker;
    Atomics.store(this.#state, CURRENT_INSTANCE, words[at + REQUEST_INSTANCE]!);
    const error = worker.run(words, at, this.#bytes, this.#bytes, words[at + REQUEST_OUTPUT_OFFSET]!, words[at + REQUEST_OUTPUT_BYTES]!);
    worker.writeResponse(words, responseAt, sequence, error);
    if (error === null && worker.writer.overflowCount > 0) this.#sendLarge(sequence);
    Atomics.store(this.#state, CURRENT_INSTANCE, 0);
  }

  #sendLarge(sequence: number): void {
    const writer = this.#worker.writer;
    for (let i = 0; i < writer.outputCount; i++) {
      const output = writer.outputAt(i);
      if (output.offset === BY_FRAME) this.#sendLargeOutput(sequence, i, output.large!);
    }
  }
}
