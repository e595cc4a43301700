/**
 * Watches a process host while it is busy: that the batch it runs ends in time, and that its memory stays within its budget.
 */

import { readFileSync } from 'node:fs';

/** How often the memory is looked at while the host is busy. */
const MEMORY_INTERVAL_MS = 250;
/** A timer that is this late says that this process stood still, and with it perhaps the host. */
const STOOD_STILL_MS = 1000;

/** What a host has been given. Its head is what the host owes something for the longest. */
export interface WatchedExecutions {
  readonly count: number;
  /** There is a head. */
  readonly isOwed: boolean;
  /** Since when: `performance.now()`. */
  readonly headSinceMs: number;
  /** Time in which the whole process stood still is not the host's. */
  forgiveMs(ms: number): void;
  /** The host could not go on before now: it was loading a model. */
  restartHead(): void;
}

export interface ExecutionWatchOptions {
  readonly pid: number;
  readonly inflight: WatchedExecutions;
  /** 0: no deadline. */
  readonly executionTimeoutMs: number;
  /** 0: no budget. */
  readonly maxMemoryBytes: number;
  /** Has been asked for something other than batches. */
  readonly isLoading: () => boolean;
  /** What it was asked for is what it does now: no batch is being executed. */
  readonly isHeldUp: () => boolean;
  /** Settles what is answered, so that nothing is ended that was only not looked at. */
  readonly poll: () => void;
  /** Ends the host, or the head. */
  readonly onTooLate: () => void;
  readonly onTooLarge: (usedBytes: number) => void;
}

/** No timer runs while the host is idle, and none is set per batch. */
export class ExecutionWatch {
  readonly #options: ExecutionWatchOptions;
  #deadlineTimer: NodeJS.Timeout | null = null;
  #deadlineDueMs = 0;
  #memoryTimer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: ExecutionWatchOptions) {
    this.#options = options;
  }

  /** The host has something to do. */
  start(): void {
    if (this.#isStopped) return;
    if (this.#deadlineTimer === null && this.#options.executionTimeoutMs > 0) this.#setDeadline(this.#options.executionTimeoutMs);
    if (this.#memoryTimer === null && this.#options.maxMemoryBytes > 0) {
      this.#memoryTimer = setInterval(this.#checkMemory, MEMORY_INTERVAL_MS).unref();
    }
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#deadlineTimer !== null) clearTimeout(this.#deadlineTimer);
    if (this.#memoryTimer !== null) clearInterval(this.#memoryTimer);
  }

  #setDeadline(delayMs: number): void {
    this.#deadlineDueMs = performance.now() + delayMs;
    this.#deadlineTimer = setTimeout(this.#checkDeadline, Math.ceil(delayMs)).unref();
  }

  readonly #checkDeadline = (): void => {
    const lateMs = performance.now() - this.#deadlineDueMs;
    if (lateMs > STOOD_STILL_MS) this.#options.inflight.forgiveMs(lateMs);
    // Timers come before sockets in the loop: let an answer that has arrived be read first.
    setImmediate(() => {
      this.#deadlineTimer = null;
      if (this.#isStopped) return;
      this.#options.poll();
      const { inflight, executionTimeoutMs, isHeldUp } = this.#options;
      if (inflight.isOwed && isHeldUp()) inflight.restartHead();
      while (inflight.isOwed && !this.#isStopped) {
        const leftMs = inflight.headSinceMs + executionTimeoutMs - performance.now();
        if (leftMs > 0) {
          this.#setDeadline(leftMs);
          return;
        }
        this.#options.onTooLate();
      }
    });
  };

  readonly #checkMemory = (): void => {
    const { inflight, isLoading, maxMemoryBytes, pid } = this.#options;
    const usedBytes = privateMemoryBytes(pid);
    if (usedBytes > maxMemoryBytes) {
      this.#options.onTooLarge(usedBytes);
    } else if (inflight.count === 0 && !isLoading() && this.#memoryTimer !== null) {
      clearInterval(this.#memoryTimer);
      this.#memoryTimer = null;
    }
  };
}

/**
 * Resident memory of a process that is its own: what files and tensor memory back is left out, since it is shared. 0 where it can't be read.
 */
export function privateMemoryBytes(pid: number): number {
  try {
    const found = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    return found === null ? 0 : Number(found[1]) * 1024;
  } catch {
    return 0;
  }
}
