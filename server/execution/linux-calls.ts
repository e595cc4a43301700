/**
 * The few Linux system calls that shared memory and futexes need, through koffi's binding of `syscall(2)`: the raw call is there in every C library,
 * where wrappers such as memfd_create are not. koffi is loaded at the first use, so a process that shares no memory does not pay for it.
 */

import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';

/** System call numbers of one architecture. */
interface CallNumbers {
  readonly mmap: number;
  readonly munmap: number;
  readonly madvise: number;
  readonly memfdCreate: number;
  readonly fcntl: number;
  readonly futex: number;
  readonly prctl: number;
}

const CALL_NUMBERS: Readonly<Record<string, CallNumbers>> = {
  x64: { mmap: 9, munmap: 11, madvise: 28, memfdCreate: 319, fcntl: 72, futex: 202, prctl: 157 },
  arm64: { mmap: 222, munmap: 215, madvise: 233, memfdCreate: 279, fcntl: 25, futex: 98, prctl: 167 },
};

const NATIVE_STACK_BYTES = 8 * 1024 * 1024;

/** Addresses are plain numbers: user space ends far below 2^53. A call that fails returns -1 and leaves its reason in `errno()`. */
export interface LinuxCalls {
  readonly numbers: CallNumbers;
  readonly pageBytes: number;
  mmap(number: number, address: number, byteLength: number, protection: number, flags: number, fd: number, offset: number): number;
  munmap(number: number, address: number, byteLength: number): number;
  madvise(number: number, address: number, byteLength: number, advice: number): number;
  memfdCreate(number: number, name: string, flags: number): number;
  fcntl(number: number, fd: number, command: number, argument: number): number;
  prctl(number: number, option: number, argument: number, unused3: number, unused4: number, unused5: number): number;
  futexWait(number: number, address: number, operation: number, expected: number, timespecAddress: number): number;
  futexWake(number: number, address: number, operation: number, count: number): number;
  /** Of the last call. Read it before anything else runs. */
  errno(): number;
  /** Where the bytes of a typed array or buffer lie. They must lie outside V8's heap: a view of an ArrayBuffer made by itself does. */
  addressOf(bytes: ArrayBuffer | ArrayBufferView): number;
  /** An ArrayBuffer over memory that V8 neither owns nor frees. */
  view(address: number, byteLength: number): ArrayBuffer;
}

let loaded: LinuxCalls | null = null;
let refusal: unknown = null;

function load(): LinuxCalls {
  if (process.platform !== 'linux') throw new Error(`memory that processes share needs Linux; this is ${process.platform}`);
  const numbers = CALL_NUMBERS[process.arch];
  if (numbers === undefined)
    throw new Error(`no system call numbers for ${process.arch}; known are ${Object.keys(CALL_NUMBERS).join(', ')}`);
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  // koffi fixes the size of its stacks with the first library, and a backend that loads after this one may run deep native code on them. Address
  // space alone: pages are touched as they are used.
  try {
    koffi.config({ sync_stack_size: NATIVE_STACK_BYTES, async_stack_size: NATIVE_STACK_BYTES });
  } catch {
    // A backend was first, and has made them.
  }
  const library = koffi.load(null);
  // syscall(2) is declared with `...`, but on these two architectures integer arguments travel alike with and without it.
  const bind = (...parameters: string[]) => library.func('syscall', 'long', ['long', ...parameters]);
  const sysconf = library.func('sysconf', 'long', ['int']) as (name: number) => number;
  const SC_PAGESIZE = 30;
  return {
    numbers,
    pageBytes: sysconf(SC_PAGESIZE),
    mmap: bind('long', 'long', 'long', 'long', 'long', 'long'),
    munmap: bind('long', 'long'),
    madvise: bind('long', 'long', 'long'),
    memfdCreate: bind('str', 'long'),
    fcntl: bind('long', 'long', 'long'),
    prctl: bind('long', 'long', 'long', 'long', 'long'),
    futexWait: bind('long', 'long', 'long', 'long'),
    futexWake: bind('long', 'long', 'long'),
    errno: () => koffi.errno(),
    addressOf: (bytes) => Number(koffi.address(bytes)),
    view: (address, byteLength) => koffi.view(BigInt(address), byteLength),
  };
}

/** Throws, always the same error, where the platform or koffi does not allow it. */
export function linuxCalls(): LinuxCalls {
  if (loaded !== null) return loaded;
  if (refusal !== null) throw refusal;
  try {
    loaded = load();
    return loaded;
  } catch (error) {
    refusal = error;
    throw error;
  }
}

/** 'ENOMEM' for 12. */
export function errnoName(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : `errno ${errno}`;
}
