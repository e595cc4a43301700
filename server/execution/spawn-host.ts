import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { HOST_FDS } from './messages.ts';
import { type SharedMemory, sharedMemorySupport } from './shared-memory.ts';

/** Throws where shared memory is wanted and not there. */
export function chooseTransport(wanted: 'auto' | 'shared-memory' | 'socket'): 'shared-memory' | 'socket' {
  if (wanted === 'socket') return 'socket';
  const support = sharedMemorySupport();
  if (support.available) return 'shared-memory';
  if (wanted === 'auto') return 'socket';
  throw new Error(`shared memory is not available: ${support.reason}; use transport 'auto' or 'socket'`);
}

/** The process that runs `entry`, with what HOST_FDS says. `codeMemoryBytes`: memory of a host that runs models' own code, 0: without limit; -1: of another host. Throws when it can't be started. */
export function spawnHost(entry: string, memory: SharedMemory | null, codeMemoryBytes = -1): ChildProcess {
  // Options meant for the gateway, a debugger's port among them, are not for its hosts.
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const env = codeMemoryBytes < 0 ? inherited : { UV_THREADPOOL_SIZE: String(poolThreads()), ...inherited };
  const stdio: (string | number)[] = ['ignore', 'pipe', 'pipe'];
  stdio[HOST_FDS.control] = 'pipe';
  stdio[HOST_FDS.wake] = memory === null ? 'ignore' : 'pipe';
  stdio[HOST_FDS.lifeline] = 'pipe';
  stdio[HOST_FDS.memory] = memory === null ? 'ignore' : memory.fd;
  // A run leaves little behind; V8 would let a young generation of 48 MB grow before it looks.
  const flags = codeMemoryBytes < 0 ? ['--max-semi-space-size=2'] : codeFlags(codeMemoryBytes);
  const args = ['--enable-source-maps', ...flags, entry, String(process.pid)];
  const child = spawn(process.execPath, args, { stdio: stdio as StdioOptions, env, windowsHide: true });
  // Out of descriptors, there is a child object without streams, which tells of its failure later.
  child.on('error', () => {});
  if (!child.stdio?.[HOST_FDS.control]) throw new Error('the process could not be started: out of file descriptors or memory');
  return child;
}

/** Such a host has one instance, whose work beside the event loop (a language model's sampling, sequence by sequence) is done in libuv's pool: 4 threads unless it is told otherwise. */
function poolThreads(): number {
  return Math.max(4, Math.min(16, availableParallelism()));
}

/** The heap ends before the whole budget is used: what V8 says then is clearer than a kill. */
const HEAP_SHARE = 0.9;
const MIB = 1024 * 1024;
const STRIP_TYPES = '--experimental-strip-types';

/** Where Node.js can take types off by itself, models in TypeScript are run as they are. */
function codeFlags(memoryBytes: number): string[] {
  const flags = memoryBytes > 0 ? [`--max-old-space-size=${Math.max(16, Math.floor((memoryBytes * HEAP_SHARE) / MIB))}`] : [];
  if (process.allowedNodeEnvironmentFlags.has(STRIP_TYPES)) flags.push(STRIP_TYPES);
  return flags;
}
