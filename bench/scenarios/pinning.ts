import { execFileSync, spawnSync } from 'node:child_process';
import { cpus } from 'node:os';

/** The core of whatever is measured, in rows of one core. */
export const SERVER_CORE = 0;
/** The core of whoever measures it. */
export const LOAD_CORE = 1;

let isPossible: boolean | null = null;

/** Whether processes can be kept on a core of their own here: Linux, with `taskset` of util-linux and two cores. */
export function canPin(): boolean {
  isPossible ??= process.platform === 'linux' && cpus().length > 1 && spawnSync('taskset', ['--version']).status === 0;
  return isPossible;
}

/** The command that starts Node with `args` on `core` (null: on any), as far as that is possible here. */
export function nodeOnCore(core: number | null, args: readonly string[]): string[] {
  const node = [process.execPath, ...args];
  return core === null || !canPin() ? node : ['taskset', '--cpu-list', String(core), ...node];
}

/** Moves a process that runs already, all of its threads, to `core` (null: leaves it). */
export function pinProcess(pid: number, core: number | null): void {
  if (core !== null && canPin())
    execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(pid)], { stdio: 'ignore' });
}
