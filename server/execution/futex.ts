/** @hotpath a wake per batch given to a sleeping host: one system call, no allocation once a words array is known */

/**
 * Futexes over memory that several processes map. `Atomics.wait` and `Atomics.notify` will not do: they know the threads of one process only.
 */

import { InferenceError } from '../../proto/inference-error.ts';
import { errnoName, type LinuxCalls, linuxCalls } from './linux-calls.ts';

/** Without FUTEX_PRIVATE_FLAG: the other side is another process. */
const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;
const EINTR = 4;
const EAGAIN = 11;
const ETIMEDOUT = 110;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

let calls: LinuxCalls | null = null;
/** struct timespec, two 64-bit words, little-endian on both architectures. One is enough: a wait is synchronous. */
const timespec: Int32Array = new Int32Array(new ArrayBuffer(16));
let timespecAddress = 0;

/** Asking V8 for an address costs more than the system call; arrays are few and live as long as their host. */
const addresses = new WeakMap<Int32Array, number>();

function addressOf(words: Int32Array): number {
  const known = addresses.get(words);
  if (known !== undefined) return known;
  const address = linuxCalls().addressOf(words);
  addresses.set(words, address);
  return address;
}

function boot(): LinuxCalls {
  calls = linuxCalls();
  timespecAddress = calls.addressOf(timespec);
  return calls;
}

/**
 * Puts this thread to sleep while `words[index]` is `expected`, until a wake, a signal or `timeoutMs` (Infinity: no limit). Wakes may be spurious:
 * look at the word again. 'changed' means that the word was not `expected` to begin with. `words` lies in shared memory.
 */
export function futexWait(words: Int32Array, index: number, expected: number, timeoutMs: number): 'woken' | 'changed' | 'timeout' {
  const linux = calls ?? boot();
  if (index < 0 || index >= words.length) throw new RangeError(`word ${index} lies outside an array of ${words.length}`);
  let limit = 0;
  if (timeoutMs !== Number.POSITIVE_INFINITY) {
    const wholeMs = timeoutMs > 0 ? Math.min(timeoutMs, 0x7fffffff) : 0;
    const seconds = Math.floor(wholeMs / 1000);
    timespec[0] = seconds;
    timespec[2] = Math.floor((wholeMs - seconds * 1000) * 1e6);
    limit = timespecAddress;
  }
  if (linux.futexWait(linux.numbers.futex, addressOf(words) + index * 4, FUTEX_WAIT, expected, limit) === 0) return 'woken';
  const errno = linux.errno();
  if (errno === EAGAIN) return 'changed';
  if (errno === ETIMEDOUT) return 'timeout';
  if (errno === EINTR) return 'woken';
  throw new InferenceError('INTERNAL', `futex wait failed with ${errnoName(errno)}`);
}

/** Wakes every thread of every process that sleeps on `words[index]`. Nobody sleeping is no error. */
export function futexWake(words: Int32Array, index: number): void {
  const linux = calls ?? boot();
  linux.futexWake(linux.numbers.futex, addressOf(words) + index * 4, FUTEX_WAKE, 0x7fffffff);
}

/**
 * Has the kernel end this process with SIGKILL when the thread that started it ends, and ends it at once when that has already happened. For a host,
 * first thing: its gateway may be killed at any moment. Pass the gateway's process id where it is known; without it only a parent that vanished during
 * this call is noticed.
 */
export function dieWithParent(parentPid: number = process.ppid): void {
  const linux = calls ?? boot();
  if (linux.prctl(linux.numbers.prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0) {
    throw new InferenceError('INTERNAL', `prctl(PR_SET_PDEATHSIG) failed with ${errnoName(linux.errno())}`);
  }
  if (process.ppid !== parentPid) process.kill(process.pid, 'SIGKILL');
}
