/** @hotpath a lookup, and on a miss an insertion, per request of a model with a response cache (measured by cached-scheduler.bench.ts) */

import type { Tensor } from '../../../proto/tensor.ts';
import type { CachedResponse, ResponseStore, StoreCounts } from './response-store.ts';

/** What an entry and a tensor of it take beside their bytes and names: objects, slots of the map, headers of arrays; measured on V8, rounded up. */
const ENTRY_BYTES = 320;
const TENSOR_BYTES = 240;
const ALIGNMENT = 8;

class Entry implements CachedResponse {
  readonly outputs: readonly Tensor[];
  readonly parameters: CachedResponse['parameters'];
  readonly byteLength: number;

  constructor({ outputs, parameters }: CachedResponse, byteLength: number, dataLength: number) {
    // One allocation for all tensors, each aligned as the widest datatype wants it.
    const memory = new Uint8Array(dataLength);
    let at = 0;
    this.outputs = outputs.map(({ name, datatype, shape, data }) => {
      const copy = memory.subarray(at, at + data.length);
      copy.set(data);
      at += aligned(data.length);
      return { name, datatype, shape: shape.slice(), data: copy };
    });
    this.parameters = parameters === null ? null : { ...parameters };
    this.byteLength = byteLength;
  }
}

/** In this process's memory: the entries that were used last, as many as fit `maxBytes`. */
export class LocalStore implements ResponseStore, StoreCounts {
  readonly isShared = false;
  readonly #maxBytes: number;
  /** Least recently used first. */
  readonly #entries: Map<string, Entry> = new Map();
  usedBytes = 0;
  evictedCount = 0;
  tooLargeCount = 0;
  readonly failedCount = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get counts(): StoreCounts {
    return this;
  }

  get entryCount(): number {
    return this.#entries.size;
  }

  lookup(key: string): CachedResponse | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  insert(key: string, response: CachedResponse): void {
    const { outputs, parameters } = response;
    let dataLength = 0;
    let byteLength = ENTRY_BYTES + key.length + (parameters === null ? 0 : 2 * JSON.stringify(parameters).length);
    for (let i = 0; i < outputs.length; i++) {
      const { shape, data } = outputs[i]!;
      dataLength += aligned(data.length);
      byteLength += TENSOR_BYTES + 8 * shape.length;
    }
    byteLength += dataLength;
    if (byteLength > this.#maxBytes) {
      this.tooLargeCount++;
      return;
    }
    const before = this.#entries.get(key);
    if (before !== undefined) this.#remove(key, before);
    for (const [oldest, entry] of this.#entries) {
      if (this.usedBytes + byteLength <= this.#maxBytes) break;
      this.#remove(oldest, entry);
      this.evictedCount++;
    }
    this.#entries.set(key, new Entry(response, byteLength, dataLength));
    this.usedBytes += byteLength;
  }

  async close(): Promise<void> {
    this.#entries.clear();
    this.usedBytes = 0;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.usedBytes -= entry.byteLength;
  }
}

function aligned(length: number): number {
  return (length + ALIGNMENT - 1) & -ALIGNMENT;
}
