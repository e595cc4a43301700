import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { builtRoot } from './built-root.ts';
import { nodeOnCore } from './pinning.ts';

/** A server process of a benchmark, ended with it. */
export interface BenchServer {
  readonly port: number;
  readonly pid: number;
  readonly process: ChildProcess;
  /** From the start of the process to its first answer, ms. */
  readonly startMs: number;
  stop(): Promise<void>;
}

const distRoot = fileURLToPath(builtRoot);

/** How a process of a benchmark is started. */
export interface Launch {
  /** The core that it and all that it starts are kept on; null: any. */
  readonly core: number | null;
  /** A module of dist/ to run in it first, which the benchmark then talks to over IPC; '': none. */
  readonly preload: string;
}

export const ANY_CORE: Launch = { core: null, preload: '' };

/** Starts `node dist/<script> <args>` and waits until `isUp(port)` says so. `args` gets the port that was chosen. */
export async function startServer(
  script: string,
  args: (port: number) => readonly string[],
  isUp: (port: number) => Promise<boolean>,
  { core, preload }: Launch = ANY_CORE,
): Promise<BenchServer> {
  const port = await freePort();
  const startedMs = performance.now();
  const isWatched = preload !== '';
  const [command, ...own] = nodeOnCore(core, isWatched ? ['--import', new URL(preload, builtRoot).href] : []);
  const child = spawn(command!, [...own, distRoot + script, ...args(port)], {
    stdio: ['ignore', 'ignore', 'inherit', ...(isWatched ? (['ipc'] as const) : [])],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  while (!(await isUp(port).catch(() => false))) {
    if (child.exitCode !== null || performance.now() - startedMs > 60_000) {
      child.kill('SIGKILL');
      throw new Error(`${script} did not come up`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return {
    port,
    pid: child.pid!,
    process: child,
    startMs: performance.now() - startedMs,
    stop: () => stop(child, ended),
  };
}

export interface ModelServer extends BenchServer {
  readonly grpcPort: number;
}

/** `nereid serve` on free ports, up when it is ready. */
export function serveModels(repository: string, ...flags: readonly string[]): Promise<ModelServer> {
  return launchModels(repository, flags, ANY_CORE);
}

export async function launchModels(repository: string, flags: readonly string[], launch: Launch): Promise<ModelServer> {
  const grpcPort = await freePort();
  let metricsPort = grpcPort;
  // A port that was closed again may be the next free one.
  while (metricsPort === grpcPort) metricsPort = await freePort();
  const ports = [`--grpc-port=${grpcPort}`, `--metrics-port=${metricsPort}`];
  const server = await startServer(
    'server/main.js',
    (port) => ['serve', `--model-repository=${repository}`, `--http-port=${port}`, ...ports, '--log-level=warn', ...flags],
    async (port) => (await fetch(`http://127.0.0.1:${port}/v2/health/ready`)).status === 200,
    launch,
  );
  return { ...server, grpcPort };
}

async function stop(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(timer);
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Processor time of a process and of all below it, user and system, seconds. */
export function cpuSeconds(pid: number): number {
  const ticksPerSecond = 100;
  let ticks = 0;
  for (const one of processTree(pid)) {
    try {
      const fields = readFileSync(`/proc/${one}/stat`, 'utf8').split(') ')[1]!.split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It has just ended.
    }
  }
  return ticks / ticksPerSecond;
}

/** Resident memory, MiB. */
export function residentMiB(pid: number): number {
  return (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096) / 2 ** 20;
}

/** Memory of a process and of those it started, MiB. What they share counts once (PSS). */
export function treeMiB(pid: number): number {
  let kib = 0;
  for (const one of processTree(pid)) {
    try {
      kib += Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has just ended.
    }
  }
  return kib / 1024;
}

/** A process and all below it. */
export function processTree(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(processTree)];
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
