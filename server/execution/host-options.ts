import type { HostCalls } from './host-calls.ts';
import type { LogMessage } from './messages.ts';

/** What a process host is started with. */
export interface ProcessHostOptions {
  /** Runs instances of decoupled models, and those alone, whose requests go over the socket: the loop over shared memory would hold up theirs. */
  readonly isDecoupled: boolean;
  /** `auto`: shared memory where the system has it, frames on a socket elsewhere. */
  readonly transport: 'auto' | 'shared-memory' | 'socket';
  /**
   * Tensor memory of one host: bounds what is in flight. It is address space; a page takes memory when a batch first touches it. At most 4 GiB
   * on Node.js 20.
   */
  readonly memoryBytes: number;
  /** How long a host spins for the next batch before it sleeps, microseconds; 0: not at all. It spins only while batches follow each other closely. */
  readonly spinUs: number;
  /** How long the gateway's loop polls for the answer of a model that was quick the last time, microseconds; 0: it waits to be woken. */
  readonly pollUs: number;
  /**
   * Longest run of one batch; the host is killed then. For a request of a decoupled model: longest time without a response or the end, while responses
   * are taken; the request is cancelled then, and its host killed when it doesn't stop within the same time again. 0: no limit.
   */
  readonly executionTimeoutMs: number;
  /** Longest load of a model, and creation of an instance; the host is killed then. 0: no limit. */
  readonly loadTimeoutMs: number;
  /** Longest time from the start of the process to its first word. */
  readonly startTimeoutMs: number;
  /** Memory of its own that a host may have resident, looked at every 250 ms while it is busy; 0: no limit. */
  readonly maxHostMemoryBytes: number;
  /** `--backend-config`: backend name to its settings. */
  readonly backendSettings: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The backend to start before the first load asks for it; '': none. */
  readonly preload: string;
  /** Runs the one instance of a model that is code: in its event loop, with a heap limit, and with other models to call. Requests go over the socket. */
  readonly runsCode: boolean;
  /** The other models, for such code; null: there are none. */
  readonly calls: HostCalls | null;
  /** What the host and its native libraries print, and details of failures; not for callers of the server. `level`: 'info' for what is printed as output, or what a model's logger said. */
  readonly onLog: (pid: number, text: string, level: LogMessage['level']) => void;
  /** The program that a host runs, where it isn't Nereid's own: tests have hosts that lie. */
  readonly entry: string | null;
}

export const DEFAULT_HOST_OPTIONS: ProcessHostOptions = {
  isDecoupled: false,
  transport: 'auto',
  memoryBytes: 1024 * 1024 * 1024,
  // About the time of a wake-up, so that spinning at most doubles a wait; both sides stop it where it doesn't pay (SpinBudget).
  spinUs: 50,
  pollUs: 50,
  executionTimeoutMs: 30_000,
  loadTimeoutMs: 120_000,
  startTimeoutMs: 30_000,
  maxHostMemoryBytes: 0,
  backendSettings: {},
  preload: '',
  runsCode: false,
  calls: null,
  onLog: () => {},
  entry: null,
};

/** Fills in what is left out. Throws RangeError for numbers that can't be meant. */
export function completeHostOptions(options: Partial<ProcessHostOptions>): ProcessHostOptions {
  const complete = { ...DEFAULT_HOST_OPTIONS, ...options };
  for (const name of ['spinUs', 'pollUs', 'executionTimeoutMs', 'loadTimeoutMs', 'startTimeoutMs', 'maxHostMemoryBytes'] as const) {
    if (!(complete[name] >= 0 && complete[name] <= Number.MAX_SAFE_INTEGER))
      throw new RangeError(`${name} must be 0 or more, got ${complete[name]}`);
  }
  if (!(complete.memoryBytes >= 1024 * 1024)) throw new RangeError(`memoryBytes must be at least 1 MiB, got ${complete.memoryBytes}`);
  return Object.freeze(complete);
}

/** How often a request that gets on without a response may say so: a few times within the time that it has. */
export function progressIntervalMs({ executionTimeoutMs }: ProcessHostOptions): number {
  return Math.min(1000, executionTimeoutMs / 4);
}
