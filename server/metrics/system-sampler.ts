import { readFile } from 'node:fs/promises';
import { type EventLoopUtilization, performance } from 'node:perf_hooks';

/**
 * What changes with time rather than with requests, sampled in the background: the machine's processor and memory (Linux; NaN elsewhere) and the
 * event loop.
 */
export class SystemSampler {
  /** 0..1 over the last interval, all processors together. */
  cpuUtilization: number = Number.NaN;
  memoryTotalBytes: number = Number.NaN;
  memoryUsedBytes: number = Number.NaN;
  /** 0..1 over the last interval. */
  eventLoopUtilization = 0;
  #cpu: CpuTimes | null = null;
  #loop: EventLoopUtilization = performance.eventLoopUtilization();
  #sampling: Promise<void> | null = null;

  /** One at a time; never rejects. */
  sample(): Promise<void> {
    this.#sampling ??= this.#sample().finally(() => {
      this.#sampling = null;
    });
    return this.#sampling;
  }

  async #sample(): Promise<void> {
    const loop = performance.eventLoopUtilization();
    this.eventLoopUtilization = performance.eventLoopUtilization(loop, this.#loop).utilization;
    this.#loop = loop;
    const [stat, meminfo] = await Promise.all([readText('/proc/stat'), readText('/proc/meminfo')]);
    const cpu = parseCpuTimes(stat);
    if (cpu !== null) {
      const total = this.#cpu === null ? 0 : cpu.total - this.#cpu.total;
      if (this.#cpu !== null && total > 0) this.cpuUtilization = Math.min(1, Math.max(0, (cpu.busy - this.#cpu.busy) / total));
      this.#cpu = cpu;
    }
    const memory = parseMemory(meminfo);
    if (memory !== null) {
      this.memoryTotalBytes = memory.totalBytes;
      this.memoryUsedBytes = memory.totalBytes - memory.availableBytes;
    }
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}

export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
}

/** The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal (guest times are within user and nice already). */
export function parseCpuTimes(stat: string): CpuTimes | null {
  const line = /^cpu +(.+)$/m.exec(stat)?.[1];
  if (line === undefined) return null;
  const times = line.split(' ').slice(0, 8).map(Number);
  if (times.length < 4 || times.some(Number.isNaN)) return null;
  const total = times.reduce((sum, time) => sum + time, 0);
  const idle = times[3]! + (times[4] ?? 0);
  return { busy: total - idle, total };
}

export interface MemoryInfo {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

export function parseMemory(meminfo: string): MemoryInfo | null {
  const total = /^MemTotal: +(\d+) kB$/m.exec(meminfo)?.[1];
  const available = /^MemAvailable: +(\d+) kB$/m.exec(meminfo)?.[1];
  if (total === undefined || available === undefined) return null;
  return { totalBytes: Number(total) * 1024, availableBytes: Number(available) * 1024 };
}
