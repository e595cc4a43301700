import { cpus, release, totalmem, type } from 'node:os';
import type { MachineFacts } from '../report/bench-report.ts';

/** Of the machine that the load comes from. `isShared`: the server runs on it too. */
export function machineFacts(isShared: boolean): MachineFacts {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    system: `${type()} ${release()}`,
    node: process.version,
    isShared,
  };
}
