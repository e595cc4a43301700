import { GeneratorMeter } from './generator-meter.ts';
import { IntRing } from './int-ring.ts';
import type { Lane, LaneFactory, LaneSink } from './lane.ts';
import { LanePool, type Seat } from './lane-pool.ts';
import type { LoadPlan } from './load-plan.ts';
import type { LoadWindow, Outcome } from './load-window.ts';
import type { Pacing, RequestStarter } from './pacing.ts';
import type { Sequence, SequencePool } from './sequence-pool.ts';
import { SlotTable } from './slot-table.ts';
import type { Pacer, SocketLoop } from './socket-loop.ts';
import { WindowCounters } from './window-counters.ts';

/** A deadline that is as good as over still goes out as one: 0 would mean that there is none. */
const LEAST_DEADLINE_MS = 0.001;

export interface LoadRunOptions {
  readonly plan: LoadPlan;
  readonly loop: SocketLoop;
  readonly factory: LaneFactory;
  readonly pacing: Pacing;
  /** Of all runs of the process, so that no ID is used twice; null where the plan has none. */
  readonly sequences: SequencePool | null;
  readonly windowMs: number;
  readonly onWindow: (window: LoadWindow) => void;
}

/**
 * One point of load: sends what its pacing says over a pool of lanes, and counts what becomes of it. A request takes a slot from when it is due to its end. One that cannot be sent since there is no lane for it waits in its
 * slot; when a connection cannot be opened, the one that has waited longest counts as sent and failed, as it would for a client of its own.
 */
export class LoadRun implements LaneSink, Pacer, RequestStarter {
  readonly #plan: LoadPlan;
  readonly #loop: SocketLoop;
  readonly #pacing: Pacing;
  readonly #sequences: SequencePool | null;
  readonly #windowMs: number;
  readonly #onWindow: (window: LoadWindow) => void;
  readonly #slots: SlotTable;
  readonly #seats: (Seat | null)[];
  readonly #sequenceOf: (Sequence | null)[];
  readonly #isValidated: Uint8Array;
  /** Slots due, without a lane. */
  readonly #waiting: IntRing;
  readonly #pool: LanePool;
  readonly #counters: WindowCounters = new WindowCounters();
  readonly #meter: GeneratorMeter;
  readonly #toldMs: number;
  /** Answers in one piece have tokens, and no time at which the first one came. */
  readonly #hasParts: boolean;
  #windowFromMs = 0;
  #windowEndMs = Number.POSITIVE_INFINITY;
  #nextIndex = 0;
  #untilValidation = 0;
  #isStopping = false;
  #isSending = false;
  #isAbandoning = false;
  /** Slots whose requests ended while they were sent. */
  readonly #endedInSend: number[] = [];

  constructor(options: LoadRunOptions) {
    const { plan, loop, factory, pacing } = options;
    this.#plan = plan;
    this.#loop = loop;
    this.#pacing = pacing;
    this.#sequences = options.sequences;
    this.#windowMs = options.windowMs;
    this.#onWindow = options.onWindow;
    const { slots } = pacing;
    this.#slots = new SlotTable(slots);
    this.#seats = new Array(slots).fill(null);
    this.#sequenceOf = new Array(slots).fill(null);
    this.#isValidated = new Uint8Array(slots);
    this.#waiting = new IntRing(Math.min(slots, 1024));
    this.#pool = new LanePool({
      factory,
      loop,
      sink: this,
      lanes: Math.min(plan.connections, slots),
      maxInFlight: slots,
      onOpened: () => this.#sendWaiting(this.now()),
      onOpenFailed: (error) => this.#openFailed(error),
    });
    this.#meter = new GeneratorMeter(loop);
    this.#toldMs = loop.now();
    this.#hasParts = plan.requests.some(({ text }) => text === null || text.stream);
  }

  /** Opens the lanes; they get their answers while somebody runs the loop. */
  open(): Promise<void> {
    return this.#pool.open();
  }

  /** Sends until `stop`, and returns the last window. */
  async run(): Promise<LoadWindow> {
    const nowMs = this.now();
    this.#windowFromMs = nowMs;
    this.#windowEndMs = nowMs + this.#windowMs;
    this.#meter.take();
    this.#pacing.start(this, nowMs);
    await this.#loop.run(this, () => this.#isStopping && this.#slots.used === 0);
    this.close();
    return this.#cutWindow(this.now());
  }

  /** Sends no more; `run` ends when what is in flight has an end. */
  stop(): void {
    this.#isStopping = true;
    for (let slot = this.#waiting.shift(); slot >= 0; slot = this.#waiting.shift()) {
      if (this.#pacing.isOpen) this.#counters.unsent++;
      this.#slots.end(slot);
    }
  }

  close(): void {
    this.#pool.close();
    this.#sequences?.abandonAll();
  }

  now(): number {
    return this.#loop.now();
  }

  nextDueMs(): number {
    if (this.#endedInSend.length > 0) return 0;
    const { oldest } = this.#slots;
    const timeoutMs = oldest < 0 ? Number.POSITIVE_INFINITY : this.#slots.sinceMs[oldest]! + this.#plan.timeoutMs;
    const nextMs = timeoutMs < this.#windowEndMs ? timeoutMs : this.#windowEndMs;
    return this.#isStopping ? nextMs : Math.min(nextMs, this.#pacing.nextMs(), this.#pool.nextRetryMs);
  }

  due(nowMs: number): void {
    if (nowMs >= this.#windowEndMs) this.#endWindow(nowMs);
    this.#expire(nowMs);
    const ended = this.#endedInSend.splice(0);
    for (const slot of ended) this.#next(slot, nowMs);
    if (this.#isStopping) return;
    if (nowMs >= this.#pool.nextRetryMs) this.#pool.reopen(nowMs);
    if (nowMs >= this.#pacing.nextMs()) this.#pacing.due(this);
  }

  begin(slot: number, intendedMs: number, nowMs: number): void {
    this.#slots.begin(slot, intendedMs, intendedMs);
    const seat = this.#waiting.length === 0 ? this.#pool.take() : null;
    if (seat === null) this.#waiting.push(slot);
    else this.#send(slot, seat, nowMs);
  }

  unsent(): void {
    this.#counters.unsent++;
  }

  part(slot: number, tokens: number): void {
    const slots = this.#slots;
    if (tokens <= 0 || !slots.isUsed(slot)) return;
    const nowMs = this.now();
    const counters = this.#counters;
    if (!this.#hasParts) {
      counters.parts += tokens;
      return;
    }
    if (slots.parts[slot] === 0) {
      slots.firstPartMs[slot] = nowMs;
      counters.firstPart.record((nowMs - slots.intendedMs[slot]!) * 1000);
    } else {
      slots.laterTokens[slot]! += tokens;
      counters.betweenParts.record((nowMs - slots.lastPartMs[slot]!) * 1000);
    }
    slots.parts[slot]!++;
    slots.lastPartMs[slot] = nowMs;
    counters.parts += tokens;
  }

  ended(slot: number, outcome: Outcome, status: string, message: string): void {
    const seat = this.#seats[slot];
    if (seat === null || seat === undefined) return;
    const nowMs = this.now();
    const slots = this.#slots;
    const counters = this.#counters;
    if (outcome === 'ok') {
      counters.ok();
      counters.latency.record((nowMs - slots.intendedMs[slot]!) * 1000);
      if (this.#isGood(slot, nowMs)) counters.good++;
    } else {
      counters.notOk(outcome, status, message);
      if (outcome === 'refused') counters.refusal.record((nowMs - slots.sentMs[slot]!) * 1000);
    }
    if (this.#isValidated[slot] === 1 && (outcome === 'ok' || outcome === 'wrong')) counters.validated++;
    this.#free(slot, seat, outcome);
    // A lane that fails at once must not lead from each failure into the next sending, ever deeper.
    if (this.#isSending) this.#endedInSend.push(slot);
    else this.#next(slot, nowMs);
  }

  closed(lane: Lane): void {
    this.#pool.lost(lane, this.#isAbandoning);
  }

  sentBytes(count: number): void {
    this.#counters.bytesSent += count;
  }

  receivedBytes(count: number): void {
    this.#counters.bytesReceived += count;
  }

  #send(slot: number, seat: Seat, nowMs: number): void {
    const slots = this.#slots;
    const counters = this.#counters;
    const { deadlineMs, sendsDeadline, validation, requests } = this.#plan;
    counters.sent++;
    slots.sentMs[slot] = nowMs;
    if (this.#pacing.isOpen) counters.lag.record((nowMs - slots.intendedMs[slot]!) * 1000);
    else if (slots.intendedMs[slot] !== nowMs) {
      // It has waited for a lane.
      slots.intendedMs[slot] = nowMs;
      slots.renew(slot, nowMs);
    }
    this.#seats[slot] = seat;
    let index: number;
    let sequence: Sequence | null = null;
    if (this.#sequences === null) {
      index = this.#nextIndex;
      this.#nextIndex = index + 1 === requests.length ? 0 : index + 1;
    } else {
      sequence = this.#sequences.take();
      this.#sequenceOf[slot] = sequence;
      index = sequence.position % requests.length;
    }
    let isValidated = false;
    if (validation.every > 0 && this.#untilValidation-- === 0) {
      isValidated = true;
      this.#untilValidation = validation.every - 1;
    }
    this.#isValidated[slot] = isValidated ? 1 : 0;
    const leftMs = sendsDeadline && deadlineMs > 0 ? Math.max(LEAST_DEADLINE_MS, slots.intendedMs[slot]! + deadlineMs - nowMs) : 0;
    this.#isSending = true;
    seat.lane.send(slot, index, sequence === null ? null : sequence.stamp, isValidated, leftMs);
    this.#isSending = false;
  }

  /** Within the deadline, and within the limits of text. An answer that came whole came with its first token at the end. */
  #isGood(slot: number, nowMs: number): boolean {
    const { deadlineMs, firstTokenMs, perTokenMs } = this.#plan;
    const slots = this.#slots;
    const intendedMs = slots.intendedMs[slot]!;
    if (deadlineMs > 0 && nowMs - intendedMs > deadlineMs) return false;
    if (firstTokenMs > 0) {
      const firstMs = slots.parts[slot]! > 0 ? slots.firstPartMs[slot]! : nowMs;
      if (firstMs - intendedMs > firstTokenMs) return false;
    }
    const later = slots.laterTokens[slot]!;
    return perTokenMs === 0 || later === 0 || (slots.lastPartMs[slot]! - slots.firstPartMs[slot]!) / later <= perTokenMs;
  }

  /** Gives back what the request had. */
  #free(slot: number, seat: Seat, outcome: Outcome): void {
    this.#seats[slot] = null;
    const sequence = this.#sequenceOf[slot];
    if (sequence !== null && sequence !== undefined) {
      this.#sequenceOf[slot] = null;
      this.#sequences!.giveBack(sequence, outcome !== 'ok' && outcome !== 'wrong');
    }
    this.#pool.release(seat, outcome === 'ok');
    this.#slots.end(slot);
  }

  /** What a free slot and a free lane make possible. */
  #next(slot: number, nowMs: number): void {
    if (this.#isStopping) return;
    this.#sendWaiting(nowMs);
    this.#pacing.ended(this, slot, nowMs);
  }

  #sendWaiting(nowMs: number): void {
    while (this.#waiting.length > 0) {
      const seat = this.#pool.take();
      if (seat === null) return;
      this.#send(this.#waiting.shift(), seat, nowMs);
    }
  }

  #openFailed(error: unknown): void {
    const slot = this.#isStopping ? -1 : this.#waiting.shift();
    if (slot < 0) return;
    this.#counters.sent++;
    this.#counters.notOk('failed', 'cannot connect', error instanceof Error ? error.message : String(error));
    this.#slots.end(slot);
    this.#next(slot, this.now());
  }

  #expire(nowMs: number): void {
    const slots = this.#slots;
    const { timeoutMs } = this.#plan;
    for (let slot = slots.oldest; slot >= 0 && slots.sinceMs[slot]! + timeoutMs <= nowMs; slot = slots.oldest) {
      const seat = this.#seats[slot];
      if (seat === null || seat === undefined) {
        this.#waiting.remove(slot);
        this.#counters.sent++;
        this.#counters.notOk('expired', 'no free connection', `no connection was free within ${timeoutMs} ms`);
        slots.end(slot);
      } else {
        this.#counters.notOk('expired', 'timeout', `no answer within ${timeoutMs} ms`);
        this.#isAbandoning = true;
        seat.lane.abandon(slot);
        if (!seat.lane.isOpen) this.#pool.lost(seat.lane, true);
        this.#isAbandoning = false;
        this.#free(slot, seat, 'expired');
      }
      this.#next(slot, nowMs);
    }
  }

  #endWindow(nowMs: number): void {
    const endMs = this.#windowEndMs + this.#windowMs;
    // After a stall of more than a window, its end is counted from now on.
    this.#windowEndMs = endMs > nowMs ? endMs : nowMs + this.#windowMs;
    this.#onWindow(this.#cutWindow(nowMs));
  }

  #cutWindow(nowMs: number): LoadWindow {
    const fromMs = this.#windowFromMs - this.#toldMs;
    this.#windowFromMs = nowMs;
    return this.#counters.take(fromMs, nowMs - this.#toldMs, this.#meter.take());
  }
}
