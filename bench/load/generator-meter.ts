import type { GeneratorUse } from './load-window.ts';
import type { SocketLoop } from './socket-loop.ts';

/** What this process took since it was last asked. */
export class GeneratorMeter {
  readonly #loop: SocketLoop;
  #atMs: number;
  #waitedMs: number;
  #cpuUs: number;
  #switches: number;

  constructor(loop: SocketLoop) {
    this.#loop = loop;
    this.#atMs = loop.now();
    this.#waitedMs = loop.waitedMs();
    this.#cpuUs = cpuUs();
    this.#switches = process.resourceUsage().involuntaryContextSwitches;
  }

  take(): GeneratorUse {
    const atMs = this.#loop.now();
    const waitedMs = this.#loop.waitedMs();
    const cpu = cpuUs();
    const switches = process.resourceUsage().involuntaryContextSwitches;
    const wallMs = Math.max(1e-6, atMs - this.#atMs);
    const use: GeneratorUse = {
      busy: Math.min(1, Math.max(0, 1 - (waitedMs - this.#waitedMs) / wallMs)),
      cpu: (cpu - this.#cpuUs) / 1000 / wallMs,
      involuntarySwitches: switches - this.#switches,
    };
    this.#atMs = atMs;
    this.#waitedMs = waitedMs;
    this.#cpuUs = cpu;
    this.#switches = switches;
    return use;
  }
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
