/**
 * Memory for tensors: shared between the gateway and a host process, or private to one process with the same interface.
 *
 * Shared memory is a memfd: it has no name, so nothing stays behind however the processes end. Size costs address space only; a page takes memory
 * when it is first touched.
 */

import { constants } from 'node:buffer';
import { closeSync, fstatSync, ftruncateSync } from 'node:fs';
import { InferenceError } from '../../proto/inference-error.ts';
import { errnoName, type LinuxCalls, linuxCalls } from './linux-calls.ts';

export interface SharedMemory {
  /** What a child inherits through `stdio`; -1 for private memory. Owned by this object: `close` closes it. */
  readonly fd: number;
  /** Over the whole of the memory. Empty or detached once closed. */
  readonly buffer: ArrayBuffer;
  readonly byteLength: number;
  /**
   * Gives the whole pages inside the range back to the system; they read as zero afterwards, in every process. What lies in the partial pages at both
   * ends keeps its bytes. Costs time per page that was touched: keep ranges to some tens of MiB on an event loop.
   */
  discard(offset: number, byteLength: number): void;
  /** Unmaps here and closes the descriptor; other processes keep their own mapping. The buffer must not be touched after. Calling it again does nothing. */
  close(): void;
}

const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MADV_DONTNEED = 4;
const MADV_REMOVE = 9;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** Nobody may change the size again: a host that shrank the file would end the gateway with SIGBUS. */
const SEAL_SIZE = 1 /* F_SEAL_SEAL */ | 2 /* F_SEAL_SHRINK */ | 4; /* F_SEAL_GROW */

/** ArrayBuffer.prototype.transfer came with Node 22. */
interface Transferable {
  transfer?(byteLength: number): ArrayBuffer;
}

interface Mapping {
  readonly address: number;
  readonly byteLength: number;
  /** -1: no descriptor to close. */
  readonly fd: number;
}

/**
 * A mapping goes when its buffer is garbage, never earlier than the last view of it: for memory that nobody closed, and for closed memory where the
 * buffer cannot be detached.
 */
const collected = new FinalizationRegistry<Mapping>((mapping) => {
  linuxCalls().munmap(linuxCalls().numbers.munmap, mapping.address, mapping.byteLength);
  if (mapping.fd >= 0) closeSync(mapping.fd);
});

function refused(what: string, calls: LinuxCalls): InferenceError {
  const reason = errnoName(calls.errno());
  return new InferenceError('RESOURCE_EXHAUSTED', `${what} failed with ${reason}; give the hosts less tensor memory, or the server more`);
}

function checkSize(byteLength: number): void {
  if (!Number.isSafeInteger(byteLength) || byteLength <= 0) {
    throw new RangeError(`byteLength must be a positive integer, got ${byteLength}`);
  }
  // Asked for more, koffi would end the process instead of throwing.
  if (byteLength > constants.MAX_LENGTH) {
    throw new InferenceError(
      'RESOURCE_EXHAUSTED',
      `tensor memory of ${byteLength} bytes: one buffer of Node.js ${process.versions.node} holds at most ${constants.MAX_LENGTH}; use less, or Node.js 22 or later`,
    );
  }
}

function checkRange(offset: number, byteLength: number, limit: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(byteLength) || offset < 0 || byteLength < 0 || offset + byteLength > limit) {
    throw new RangeError(`range at ${offset} of ${byteLength} bytes lies outside memory of ${limit} bytes`);
  }
}

class MappedMemory implements SharedMemory {
  readonly fd: number;
  readonly byteLength: number;
  readonly #calls: LinuxCalls;
  readonly #address: number;
  #buffer: ArrayBuffer;
  #isOpen = true;

  constructor(calls: LinuxCalls, fd: number, byteLength: number) {
    const flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const address = calls.mmap(calls.numbers.mmap, 0, byteLength, PROT_READ_WRITE, flags, fd, 0);
    if (address === -1) throw refused(`mapping ${byteLength} bytes`, calls);
    try {
      this.#buffer = calls.view(address, byteLength);
    } catch (error) {
      calls.munmap(calls.numbers.munmap, address, byteLength);
      throw error;
    }
    this.fd = fd;
    this.byteLength = byteLength;
    this.#calls = calls;
    this.#address = address;
    collected.register(this.#buffer, { address, byteLength, fd }, this);
  }

  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  discard(offset: number, byteLength: number): void {
    checkRange(offset, byteLength, this.byteLength);
    if (!this.#isOpen) return;
    const calls = this.#calls;
    const start = Math.ceil(offset / calls.pageBytes) * calls.pageBytes;
    const end = Math.floor((offset + byteLength) / calls.pageBytes) * calls.pageBytes;
    if (end <= start) return;
    // Dropping a shared mapping's pages would only unmap them here; the file has to lose them.
    const advice = this.fd >= 0 ? MADV_REMOVE : MADV_DONTNEED;
    if (calls.madvise(calls.numbers.madvise, this.#address + start, end - start, advice) !== 0) {
      throw refused(`giving back ${end - start} bytes`, calls);
    }
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const calls = this.#calls;
    const buffer = this.#buffer;
    this.#buffer = new ArrayBuffer(0);
    collected.unregister(this);
    const transferable = buffer as ArrayBuffer & Transferable;
    if (transferable.transfer !== undefined) {
      // Detaches: a view that outlived its memory has length 0 from now on.
      transferable.transfer(0);
      calls.munmap(calls.numbers.munmap, this.#address, this.byteLength);
    } else {
      // The memory is given back now, its addresses only when the buffer is garbage. Free addresses are soon somebody else's memory, and a view that
      // outlived this one must not reach it: it sees zeros.
      const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      calls.mmap(calls.numbers.mmap, this.#address, this.byteLength, PROT_READ_WRITE, flags, -1, 0);
      collected.register(buffer, { address: this.#address, byteLength: this.byteLength, fd: -1 });
    }
    if (this.fd >= 0) closeSync(this.fd);
  }
}

/** Where memory cannot be mapped: the same interface over an ordinary buffer, which the garbage collector frees. */
class HeapMemory implements SharedMemory {
  readonly fd: number = -1;
  readonly byteLength: number;
  #buffer: ArrayBuffer;

  constructor(byteLength: number) {
    this.byteLength = byteLength;
    this.#buffer = new ArrayBuffer(byteLength);
  }

  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** Nothing can be given back; the bytes read as zero, as the contract says. */
  discard(offset: number, byteLength: number): void {
    checkRange(offset, byteLength, this.byteLength);
    if (this.#buffer.byteLength === 0) return;
    const pageBytes = 4096;
    const start = Math.ceil(offset / pageBytes) * pageBytes;
    const end = Math.floor((offset + byteLength) / pageBytes) * pageBytes;
    if (end > start) new Uint8Array(this.#buffer, start, end - start).fill(0);
  }

  close(): void {
    this.#buffer = new ArrayBuffer(0);
  }
}

let support: { available: true } | { available: false; reason: string } | null = null;

/**
 * Whether processes can share memory here: Linux, x64 or arm64, koffi, and a system that allows memfd. Tried with one page, once; the reason is text
 * for a log line.
 */
export function sharedMemorySupport(): { available: true } | { available: false; reason: string } {
  if (support === null) {
    try {
      const memory = createSharedMemory(linuxCalls().pageBytes);
      new Uint8Array(memory.buffer)[0] = 1;
      memory.close();
      support = { available: true };
    } catch (error) {
      support = { available: false, reason: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error) };
    }
  }
  return support;
}

/**
 * New memory, all zero, that a child process can map from the inherited `fd`. Throws RESOURCE_EXHAUSTED when the system refuses or the size passes what
 * one ArrayBuffer can hold (4 GiB on Node.js 20).
 */
export function createSharedMemory(byteLength: number): SharedMemory {
  checkSize(byteLength);
  const calls = linuxCalls();
  const fd = calls.memfdCreate(calls.numbers.memfdCreate, 'nereid-tensors', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw refused('memfd_create', calls);
  try {
    ftruncateSync(fd, byteLength);
    if (calls.fcntl(calls.numbers.fcntl, fd, F_ADD_SEALS, SEAL_SIZE) !== 0) throw refused('sealing the size of tensor memory', calls);
    return new MappedMemory(calls, fd, byteLength);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Maps what another process made, and from then on owns `fd`. Throws, and leaves `fd` open, when the file is shorter than `byteLength`. */
export function mapSharedMemory(fd: number, byteLength: number): SharedMemory {
  checkSize(byteLength);
  const size = fstatSync(fd).size;
  // Touching a mapping past the end of its file is SIGBUS, not an error.
  if (size < byteLength) throw new RangeError(`descriptor ${fd} holds ${size} bytes, not the ${byteLength} to be mapped`);
  return new MappedMemory(linuxCalls(), fd, byteLength);
}

/** Memory of this process alone, all zero, with the same interface; an ordinary ArrayBuffer where mapping is not possible. */
export function createPrivateMemory(byteLength: number): SharedMemory {
  checkSize(byteLength);
  let calls: LinuxCalls;
  try {
    calls = linuxCalls();
  } catch {
    return new HeapMemory(byteLength);
  }
  return new MappedMemory(calls, -1, byteLength);
}
