/** @hotpath HPACK's dynamic table, on top of the static one. Source: RFC 7541, sections 2.3 and 4 (measured by grpc-transport.bench.ts) */

import { STATIC_NAMES, STATIC_VALUES } from './static-table.ts';

/** What an entry counts for besides its name and value, bytes. */
export const ENTRY_OVERHEAD_BYTES = 32;
const STATIC_ENTRIES: number = STATIC_NAMES.length - 1;

export class HeaderTable {
  /** Changes with everything that changes what indices mean. */
  version = 0;
  readonly #capacity: number;
  #maxBytes: number;
  #bytes = 0;
  /** A ring; the newest entry is the one before `#next`. Empty until something is kept. */
  #names: string[] = [];
  #values: string[] = [];
  #next = 0;
  #count = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#maxBytes = capacity;
  }

  /** '' for index 0 and for one that nothing is at: no field has such a name. */
  nameAt(index: number): string {
    if (index <= STATIC_ENTRIES) return STATIC_NAMES[index]!;
    const place = index - STATIC_ENTRIES;
    return place > this.#count ? '' : this.#names[this.#slot(place)]!;
  }

  /** Of an index that has a name. */
  valueAt(index: number): string {
    return index <= STATIC_ENTRIES ? STATIC_VALUES[index]! : this.#values[this.#slot(index - STATIC_ENTRIES)]!;
  }

  insert(name: string, value: string): void {
    const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES;
    this.version += 1;
    this.#evictTo(this.#maxBytes - bytes);
    // An entry that is larger than the table empties it, and is not kept (section 4.4).
    if (bytes > this.#maxBytes) return;
    if (this.#names.length === 0) this.#makeRing();
    this.#names[this.#next] = name;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.#names.length;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** False: more than was ever allowed. */
  resize(maxBytes: number): boolean {
    if (maxBytes > this.#capacity) return false;
    this.version += 1;
    this.#maxBytes = maxBytes;
    this.#evictTo(maxBytes);
    return true;
  }

  #evictTo(bytes: number): void {
    while (this.#count > 0 && this.#bytes > bytes) {
      const oldest = this.#slot(this.#count);
      this.#bytes -= this.#names[oldest]!.length + this.#values[oldest]!.length + ENTRY_OVERHEAD_BYTES;
      this.#names[oldest] = '';
      this.#values[oldest] = '';
      this.#count -= 1;
    }
  }

  /** As many as there can be: an entry counts for its overhead at least. */
  #makeRing(): void {
    const slots = Math.floor(this.#capacity / ENTRY_OVERHEAD_BYTES);
    this.#names = Array<string>(slots).fill('');
    this.#values = Array<string>(slots).fill('');
  }

  /** `place` 1: the newest. */
  #slot(place: number): number {
    const slot = this.#next - place;
    return slot < 0 ? slot + this.#names.length : slot;
  }
}
