/**
 * Memory that tensors lie in and that is used again and again: that of an execution host. Whoever has a tensor may ask it to leave the bytes as they are, instead of copying them.
 */
export interface TensorMemory {
  /** Leaves the bytes of `data`, which are valid now, as they are until `release` is called with what this returns. -1: that can't be now; copy them. */
  keep(data: Uint8Array): number;
  /** Once for each `keep` that did not return -1. */
  release(hold: number): void;
}

/** By buffer, so that a tensor needs no field for it and any view will do. */
const memories = new WeakMap<ArrayBufferLike, TensorMemory>();

/** A buffer that is used once, and stays as it is for whoever has a view of it. */
const usedOnce: TensorMemory = { keep: () => 0, release: () => {} };
/** Below, a copy costs about what the entry does, which every tensor would pay. */
const MIN_USED_ONCE_BYTES: number = 64 * 1024;

/** Tells that the buffer of `data` is never written again, where that is worth it: views of it need no copy to be kept. */
export function registerUsedOnce(data: Uint8Array): void {
  if (data.length >= MIN_USED_ONCE_BYTES) memories.set(data.buffer, usedOnce);
}

/** Tells that views of `buffer` are `memory`'s to keep. */
export function registerTensorMemory(buffer: ArrayBuffer, memory: TensorMemory): void {
  memories.set(buffer, memory);
}

/** Whose `data` is; null: nobody's who could keep it. */
export function tensorMemoryOf(data: Uint8Array): TensorMemory | null {
  return memories.get(data.buffer) ?? null;
}
