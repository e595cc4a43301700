/** @hotpath two or three allocations and frees per batch: a class from the size, then the top of that class's list; no JavaScript object is made */

/**
 * Allocator of 64-byte-aligned blocks in a range of tensor memory. The bookkeeping is ordinary JavaScript: what a host writes into the memory cannot
 * damage it. Two levels; blocks are cut and merged only when a list is empty or full:
 *
 *   recent   a last-in first-out list per size class of blocks just freed, so that the same warm offsets come back
 *   idle     everything else that is free, merged with its neighbours at once and kept in bins by size; a bitmap finds the smallest bin that will do
 *
 * When idle blocks cannot serve a request, the recent ones are merged too: -1 means that no free range is long enough.
 */

import { classFor, classWithin, SIZE_CLASS_COUNT, unitsOf } from './size-class.ts';

const UNIT_BYTES = 64;
/** 128 GiB: unit numbers stay small integers. */
const MAX_UNITS = 0x7fffffff;
/** Bounds the pause when all recent blocks are merged: some hundred microseconds. */
const RECENT_LIMIT = 4096;
/** Giving back written pages takes 0.2 ms per MiB: about 3 ms. */
const DEFAULT_DISCARD_BYTES = 16 * 1024 * 1024;

/** Memory that can be given back: of a free block that nobody used for a while. */
export interface DiscardableRange {
  readonly offset: number;
  readonly byteLength: number;
}

type BlockState = 'live' | 'recent' | 'idle';

/** A stretch of the arena. Blocks cover it without gaps; two idle ones are never neighbours. */
class Block {
  unit: number;
  units: number;
  state: BlockState = 'idle';
  /** Neighbours in memory. */
  before: Block | null = null;
  after: Block | null = null;
  /** Neighbours in the recent list (`next` alone) or bin that this block is in. */
  next: Block | null = null;
  previous: Block | null = null;
  /** The class it was cut for; -1 when it was cut to measure, and so is of no use to a recent list. */
  sizeClass = -1;
  /** When it was freed, counted in rounds of takeDiscardable. */
  freedAt = 0;
  /** The part that may hold written pages, in units of the arena; empty when both are equal. Kept while idle. */
  dirtyFrom = 0;
  dirtyTo = 0;

  constructor(unit: number, units: number) {
    this.unit = unit;
    this.units = units;
  }
}

export class TensorArena {
  readonly byteLength: number;
  readonly #base: number;
  readonly #units: number;
  /** Live and recent blocks by their first unit. */
  readonly #blocks = new Map<number, Block>();
  readonly #recent: (Block | null)[] = new Array<Block | null>(SIZE_CLASS_COUNT).fill(null);
  #recentCount = 0;
  readonly #bins: (Block | null)[] = new Array<Block | null>(SIZE_CLASS_COUNT).fill(null);
  /** Bit per bin: set when it holds a block. */
  readonly #filled = new Int32Array(SIZE_CLASS_COUNT / 32 + 1);
  #usedUnits = 0;
  #peakUnits = 0;
  #sweep = 0;

  /** Offsets handed out lie in [base, base + byteLength). `base` is a multiple of 64; a last part of less than 64 bytes stays unused. */
  constructor(base: number, byteLength: number) {
    if (!Number.isSafeInteger(base) || base < 0 || base % UNIT_BYTES !== 0) {
      throw new RangeError(`an arena starts at a multiple of ${UNIT_BYTES} bytes, got ${base}`);
    }
    const units = Math.floor(byteLength / UNIT_BYTES);
    if (!(units >= 1 && units <= MAX_UNITS)) throw new RangeError(`an arena has 64 bytes to 128 GiB, got ${byteLength}`);
    this.#base = base;
    this.#units = units;
    this.byteLength = units * UNIT_BYTES;
    this.#putIdle(new Block(0, units));
  }

  /** Bytes handed out now, rounding included. */
  get usedBytes(): number {
    return this.#usedUnits * UNIT_BYTES;
  }

  /** The most that `usedBytes` has been. */
  get peakBytes(): number {
    return this.#peakUnits * UNIT_BYTES;
  }

  /** Offset of a block of at least `byteLength` bytes (0 takes one too), or -1 when no free range is long enough now. The bytes are what they were before. */
  allocate(byteLength: number): number {
    if (!(byteLength >= 0)) throw new RangeError(`byteLength must be 0 or more, got ${byteLength}`);
    const units = byteLength === 0 ? 1 : Math.ceil(byteLength / UNIT_BYTES);
    if (units > this.#units - this.#usedUnits) return -1;
    const sizeClass = classFor(units);
    let block = this.#recent[sizeClass]!;
    if (block !== null) {
      this.#recent[sizeClass] = block.next;
      this.#recentCount--;
      block.next = null;
    } else {
      const cut = this.#cut(units, sizeClass);
      if (cut === null) return -1;
      block = cut;
    }
    block.state = 'live';
    this.#usedUnits += block.units;
    if (this.#usedUnits > this.#peakUnits) this.#peakUnits = this.#usedUnits;
    return this.#base + block.unit * UNIT_BYTES;
  }

  /** Throws for what `allocate` did not hand out, or what was freed already. */
  free(offset: number): void {
    const block = this.#live(offset);
    this.#usedUnits -= block.units;
    block.freedAt = this.#sweep;
    if (block.sizeClass >= 0 && this.#recentCount < RECENT_LIMIT) {
      block.state = 'recent';
      block.next = this.#recent[block.sizeClass]!;
      this.#recent[block.sizeClass] = block;
      this.#recentCount++;
    } else {
      this.#merge(block);
    }
  }

  /** Bytes of the block at `offset`: what was asked for, rounded up. */
  capacityOf(offset: number): number {
    return this.#live(offset).units * UNIT_BYTES;
  }

  /**
   * Parts of free ranges of at least `minBytes` that were in use since they were last taken, and that have been free since before the previous round:
   * call it every few seconds, and discard what it returns before the next allocation. At most `maxBytes` together; an answer that has all of them
   * leaves a rest, which belongs to the same round and may be asked for in the next turn of the loop.
   */
  takeDiscardable(minBytes: number, maxBytes: number = DEFAULT_DISCARD_BYTES): DiscardableRange[] {
    this.#mergeRecent(this.#sweep);
    const ranges: DiscardableRange[] = [];
    const minUnits = Math.max(1, Math.ceil(minBytes / UNIT_BYTES));
    let left = Math.floor(maxBytes / UNIT_BYTES);
    for (let bin = SIZE_CLASS_COUNT - 1; bin >= classWithin(minUnits) && left > 0; bin--) {
      for (let block = this.#bins[bin]!; block !== null && left > 0; block = block.next!) {
        const units = Math.min(block.dirtyTo - block.dirtyFrom, left);
        if (block.units < minUnits || units === 0 || block.freedAt >= this.#sweep) continue;
        ranges.push({ offset: this.#base + block.dirtyFrom * UNIT_BYTES, byteLength: units * UNIT_BYTES });
        block.dirtyFrom += units;
        left -= units;
      }
    }
    if (left > 0) this.#sweep++;
    return ranges;
  }

  #live(offset: number): Block {
    const block = this.#blocks.get((offset - this.#base) / UNIT_BYTES);
    if (block === undefined) throw new Error(`no block of this arena starts at offset ${offset}`);
    if (block.state !== 'live') throw new Error(`the block at offset ${offset} was freed already`);
    return block;
  }

  /** A block for `units`, of its class's size where that fits. Null when there is no room. */
  #cut(units: number, sizeClass: number): Block | null {
    const wanted = unitsOf(sizeClass);
    let found = this.#findIdle(sizeClass);
    if (found === null && this.#recentCount > 0) {
      this.#mergeRecent(Number.POSITIVE_INFINITY);
      found = this.#findIdle(sizeClass);
    }
    if (found !== null) return this.#split(found, wanted, sizeClass);
    // Nothing holds the class; a block between the size itself and its class may be there still, in the one bin where both can lie.
    for (let block = this.#bins[classWithin(units)]!; block !== null; block = block.next!) {
      if (block.units >= units) return this.#split(block, units, units === wanted ? sizeClass : -1);
    }
    return null;
  }

  /** The most recently merged block of the smallest bin whose blocks all hold `sizeClass`. */
  #findIdle(sizeClass: number): Block | null {
    const filled = this.#filled;
    let word = sizeClass >> 5;
    let bits = filled[word]! & (-1 << (sizeClass & 31));
    while (bits === 0) {
      word++;
      if (word === filled.length) return null;
      bits = filled[word]!;
    }
    return this.#bins[word * 32 + 31 - Math.clz32(bits & -bits)]!;
  }

  /** Takes an idle block out of its bin, cut to `units`; what remains goes back. */
  #split(block: Block, units: number, sizeClass: number): Block {
    this.#takeIdle(block);
    if (block.units > units) {
      const rest = new Block(block.unit + units, block.units - units);
      rest.before = block;
      rest.after = block.after;
      if (rest.after !== null) rest.after.before = rest;
      block.after = rest;
      block.units = units;
      rest.freedAt = block.freedAt;
      rest.dirtyFrom = Math.max(block.dirtyFrom, rest.unit);
      rest.dirtyTo = Math.max(block.dirtyTo, rest.dirtyFrom);
      this.#putIdle(rest);
    }
    block.sizeClass = sizeClass;
    this.#blocks.set(block.unit, block);
    return block;
  }

  /** Makes a live or recent block idle, one with its idle neighbours. It is in no list. */
  #merge(block: Block): void {
    this.#blocks.delete(block.unit);
    block.dirtyFrom = block.unit;
    block.dirtyTo = block.unit + block.units;
    let whole = block;
    if (block.before !== null && block.before.state === 'idle') {
      whole = block.before;
      this.#takeIdle(whole);
      this.#absorb(whole, block);
    }
    const after = whole.after;
    if (after !== null && after.state === 'idle') {
      this.#takeIdle(after);
      this.#absorb(whole, after);
    }
    this.#putIdle(whole);
  }

  #absorb(block: Block, after: Block): void {
    block.units += after.units;
    block.after = after.after;
    if (block.after !== null) block.after.before = block;
    if (after.freedAt > block.freedAt) block.freedAt = after.freedAt;
    if (block.dirtyFrom === block.dirtyTo) {
      block.dirtyFrom = after.dirtyFrom;
      block.dirtyTo = after.dirtyTo;
    } else if (after.dirtyFrom !== after.dirtyTo) {
      // One stretch is enough: pages between the two that were given back already cost next to nothing to give back again.
      block.dirtyTo = after.dirtyTo;
    }
  }

  /** Merges the recent blocks that were freed before a sweep. */
  #mergeRecent(before: number): void {
    if (this.#recentCount === 0) return;
    for (let sizeClass = 0; sizeClass < SIZE_CLASS_COUNT; sizeClass++) {
      let newer: Block | null = null;
      let block = this.#recent[sizeClass]!;
      // Newest first: from the first old one on, all are.
      while (block !== null && block.freedAt >= before) {
        newer = block;
        block = block.next!;
      }
      if (newer === null) this.#recent[sizeClass] = null;
      else newer.next = null;
      while (block !== null) {
        const next: Block | null = block.next;
        block.next = null;
        this.#recentCount--;
        this.#merge(block);
        block = next!;
      }
    }
  }

  #putIdle(block: Block): void {
    const bin = classWithin(block.units);
    const first = this.#bins[bin]!;
    block.state = 'idle';
    block.previous = null;
    block.next = first;
    if (first !== null) first.previous = block;
    this.#bins[bin] = block;
    this.#filled[bin >> 5]! |= 1 << (bin & 31);
  }

  #takeIdle(block: Block): void {
    const bin = classWithin(block.units);
    if (block.previous !== null) block.previous.next = block.next;
    else this.#bins[bin] = block.next;
    if (block.next !== null) block.next.previous = block.previous;
    block.previous = null;
    block.next = null;
    if (this.#bins[bin] === null) this.#filled[bin >> 5]! &= ~(1 << (bin & 31));
  }
}
