import { IntRing } from './int-ring.ts';
import type { Lane, LaneFactory, LaneSink } from './lane.ts';
import type { SocketLoop } from './socket-loop.ts';

/** Connections that are opened at once: a listener's queue is short. */
const OPEN_AT_ONCE = 32;
const FIRST_RETRY_MS = 10;
const LONGEST_RETRY_MS = 1000;

/** A place for a lane, which outlives the lanes in it. */
interface Place {
  readonly index: number;
  seat: Seat | null;
  /** Losses and failed attempts since the last good answer. */
  failures: number;
  /** When the next attempt is due; Infinity: none is. */
  retryAtMs: number;
}

/** A lane in its place: a new object for each lane, so that what ends late, of a lost one, counts for nothing. */
export interface Seat {
  readonly lane: Lane;
  readonly place: Place;
  inFlight: number;
  isLost: boolean;
}

export interface LanePoolOptions {
  readonly factory: LaneFactory;
  readonly loop: SocketLoop;
  readonly sink: LaneSink;
  readonly lanes: number;
  /** Of all lanes together: none needs more room. */
  readonly maxInFlight: number;
  /** A lost lane is there again, and has room. */
  readonly onOpened: () => void;
  /** It could not be opened. */
  readonly onOpenFailed: (error: unknown) => void;
}

/**
 * The lanes of a run. Requests go to the one whose last answer lies back longest, in turn, which spreads them evenly. Lost lanes are opened again: at once, and after failures at growing distances (to 1 s), so that a dead
 * server is not asked in a hot loop.
 */
export class LanePool {
  readonly #factory: LaneFactory;
  readonly #loop: SocketLoop;
  readonly #sink: LaneSink;
  readonly #maxInFlight: number;
  readonly #onOpenFailed: (error: unknown) => void;
  readonly #onOpened: () => void;
  readonly #places: Place[];
  readonly #seats: Map<Lane, Seat> = new Map();
  /** Places with room for a request, as often as they have it. */
  readonly #free: IntRing;
  #isStale = false;
  #isClosed = false;
  /** When `reopen` has something to do. */
  nextRetryMs = Number.POSITIVE_INFINITY;

  constructor(options: LanePoolOptions) {
    const { factory, loop, sink, lanes, maxInFlight } = options;
    this.#factory = factory;
    this.#loop = loop;
    this.#sink = sink;
    this.#maxInFlight = maxInFlight;
    this.#onOpened = options.onOpened;
    this.#onOpenFailed = options.onOpenFailed;
    this.#places = Array.from({ length: lanes }, (_, index) => ({
      index,
      seat: null,
      failures: 0,
      retryAtMs: Number.POSITIVE_INFINITY,
    }));
    this.#free = new IntRing(Math.min(lanes, maxInFlight));
  }

  /** Opens all; rejects with the first one's error. */
  async open(): Promise<void> {
    // The first one alone: a server that is not there is told once.
    await this.#fill(this.#places[0]!);
    let next = 1;
    const openSome = async (): Promise<void> => {
      while (next < this.#places.length) await this.#fill(this.#places[next++]!);
    };
    await Promise.all(Array.from({ length: OPEN_AT_ONCE }, openSome));
  }

  /** A lane with room, now one less; null: there is none. */
  take(): Seat | null {
    if (this.#isStale) this.#refill();
    for (;;) {
      const index = this.#free.shift();
      if (index < 0) return null;
      const { seat } = this.#places[index]!;
      // One that closes just now is about to say so.
      if (seat === null || !seat.lane.isOpen) continue;
      seat.inFlight++;
      return seat;
    }
  }

  /** A request of it has ended. */
  release(seat: Seat, isGood: boolean): void {
    if (seat.isLost) return;
    seat.inFlight--;
    if (isGood) seat.place.failures = 0;
    if (!this.#isStale) this.#free.push(seat.place.index);
  }

  /** The lane is gone, which may be said twice. `isOurDoing`: the caller had lost patience, so the server is not to be spared. */
  lost(lane: Lane, isOurDoing: boolean): void {
    const seat = this.#seats.get(lane);
    if (seat === undefined) return;
    this.#seats.delete(lane);
    seat.isLost = true;
    seat.place.seat = null;
    this.#isStale = true;
    if (isOurDoing) this.#retryAt(seat.place, this.#loop.now());
    else this.#retryLater(seat.place);
  }

  /** Opens what is due to be opened again. */
  reopen(nowMs: number): void {
    this.nextRetryMs = Number.POSITIVE_INFINITY;
    for (const place of this.#places) {
      if (place.retryAtMs > nowMs) {
        this.nextRetryMs = Math.min(this.nextRetryMs, place.retryAtMs);
        continue;
      }
      place.retryAtMs = Number.POSITIVE_INFINITY;
      this.#fill(place).then(
        () => {
          if (!this.#isClosed) this.#onOpened();
        },
        (error: unknown) => {
          if (this.#isClosed) return;
          this.#retryLater(place);
          this.#onOpenFailed(error);
        },
      );
    }
  }

  close(): void {
    this.#isClosed = true;
    this.nextRetryMs = Number.POSITIVE_INFINITY;
    for (const lane of this.#seats.keys()) lane.close();
    this.#seats.clear();
  }

  async #fill(place: Place): Promise<void> {
    const lane = await this.#factory.open(this.#loop, this.#sink);
    if (this.#isClosed) {
      lane.close();
      return;
    }
    if (!lane.isOpen) throw new Error('the server closed the connection at once');
    place.seat = { lane, place, inFlight: 0, isLost: false };
    this.#seats.set(lane, place.seat);
    this.#isStale = true;
  }

  #retryLater(place: Place): void {
    place.failures++;
    const delayMs = place.failures === 1 ? 0 : Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (place.failures - 2));
    this.#retryAt(place, this.#loop.now() + delayMs);
  }

  #retryAt(place: Place, atMs: number): void {
    place.retryAtMs = atMs;
    this.nextRetryMs = Math.min(this.nextRetryMs, atMs);
  }

  /** Makes the queue anew, one turn of all lanes after the other: lanes with room for many would get all of the first requests otherwise. */
  #refill(): void {
    this.#isStale = false;
    this.#free.clear();
    for (let round = 0, isAny = true; isAny; round++) {
      isAny = false;
      for (const { index, seat } of this.#places) {
        if (seat === null || seat.inFlight + round >= Math.min(seat.lane.capacity, this.#maxInFlight)) continue;
        this.#free.push(index);
        isAny = true;
      }
    }
  }
}
