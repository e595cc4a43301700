import { readFileSync } from 'node:fs';
import { cpuSeconds } from './child.ts';

/** Processor time of all cores together, seconds. Zeros where there is no /proc. */
export interface MachineTime {
  readonly total: number;
  /** Taken by other guests of the host. */
  readonly steal: number;
  /** Used by anybody on this machine. */
  readonly busy: number;
  /** Used by this process and all that it started. */
  readonly own: number;
}

/** Whose time a stretch was, as shares of all of it. */
export interface TimeShares {
  readonly steal: number;
  /** Used on this machine, and not by the benchmark. */
  readonly others: number;
}

const TICKS_PER_SECOND = 100;

export function machineTime(): MachineTime {
  if (process.platform !== 'linux') return { total: 0, steal: 0, busy: 0, own: 0 };
  return { ...parseMachineTime(readFileSync('/proc/stat', 'utf8')), own: cpuSeconds(process.pid) };
}

/** Of the `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal. */
export function parseMachineTime(stat: string): Omit<MachineTime, 'own'> {
  const seconds = stat
    .split('\n', 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  const total = seconds.reduce((sum, one) => sum + one, 0);
  const [, , , idle = 0, waiting = 0, interrupts = 0, softInterrupts = 0, steal = 0] = seconds;
  // Interrupts are nobody's: those of loopback are the benchmark's own, and no process has them.
  return { total, steal, busy: total - idle - waiting - interrupts - softInterrupts - steal };
}

export function sharesBetween(before: MachineTime, after: MachineTime): TimeShares {
  const total = after.total - before.total;
  if (total <= 0) return { steal: 0, others: 0 };
  const others = after.busy - before.busy - (after.own - before.own);
  return { steal: (after.steal - before.steal) / total, others: Math.max(0, others / total) };
}
