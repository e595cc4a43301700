/** @hotpath once per batch: which region is being answered, and whether it may be used again after that (measured by instance-channel.bench.ts) */

import { registerTensorMemory, type TensorMemory } from '../../proto/tensor-memory.ts';
import type { SharedMemory } from './shared-memory.ts';
import type { TensorArena } from './tensor-arena.ts';

/** Regions that are kept already are looked through for a tensor up to this many. */
const MAX_SEARCH = 64;

/**
 * Regions of a host's tensor memory whose outputs somebody goes on reading after their batch was answered. At most half of the memory is kept: the rest is for batches.
 *
 * The order for a batch: `enter`, the answer, `leave`, `free`. Owns the memory from `close` on: it is given back when nobody reads it any more.
 */
export class KeptRegions implements TensorMemory {
  readonly #memory: SharedMemory;
  readonly #arena: TensorArena;
  readonly #maxBytes: number;
  /** How many hold each kept region; the batch that is being answered is one of them. */
  readonly #holds: Map<number, number> = new Map();
  #keptBytes = 0;
  /** The region whose batch is being answered; -1: none is. */
  #answering = -1;
  #isClosing = false;

  constructor(memory: SharedMemory, arena: TensorArena) {
    this.#memory = memory;
    this.#arena = arena;
    this.#maxBytes = Math.floor(arena.byteLength / 2);
    registerTensorMemory(memory.buffer, this);
  }

  /** What kept regions take of the arena; a batch that is being answered counts as soon as something of it is kept. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** The batch in `region` is about to be answered. Returns what `leave` is to be given: an inline batch may be answered inside the answer of another. */
  enter(region: number): number {
    const outer = this.#answering;
    this.#answering = region;
    return outer;
  }

  leave(outer: number): void {
    this.#answering = outer;
  }

  /** The batch needs its region no more. */
  free(region: number): void {
    if (this.#holds.size > 0 && this.#holds.has(region)) this.#drop(region);
    else this.#arena.free(region);
    if (this.#isClosing) this.#close();
  }

  keep(data: Uint8Array): number {
    const region = this.#regionOf(data.byteOffset, data.byteOffset + data.length);
    if (region < 0) return -1;
    const holds = this.#holds.get(region);
    if (holds !== undefined) {
      this.#holds.set(region, holds + 1);
      return region;
    }
    const bytes = this.#arena.capacityOf(region);
    if (this.#keptBytes + bytes > this.#maxBytes) return -1;
    this.#keptBytes += bytes;
    this.#holds.set(region, 2);
    return region;
  }

  release(hold: number): void {
    this.#drop(hold);
    if (this.#isClosing) this.#close();
  }

  /** The host is gone: the memory goes as soon as nothing of it is read any more. */
  close(): void {
    this.#isClosing = true;
    this.#close();
  }

  #close(): void {
    if (this.#holds.size === 0 && this.#answering < 0) this.#memory.close();
  }

  #drop(region: number): void {
    const holds = this.#holds.get(region);
    if (holds === undefined) throw new Error(`the region at ${region} is not kept`);
    if (holds > 1) {
      this.#holds.set(region, holds - 1);
      return;
    }
    this.#holds.delete(region);
    this.#keptBytes -= this.#arena.capacityOf(region);
    this.#arena.free(region);
  }

  /** The region that has `[from, to)`: the one being answered, or one that is kept; -1: neither, or too many to look. */
  #regionOf(from: number, to: number): number {
    const arena = this.#arena;
    const answering = this.#answering;
    if (answering >= 0 && from >= answering && to <= answering + arena.capacityOf(answering)) return answering;
    if (this.#holds.size > MAX_SEARCH) return -1;
    for (const region of this.#holds.keys()) if (from >= region && to <= region + arena.capacityOf(region)) return region;
    return -1;
  }
}
