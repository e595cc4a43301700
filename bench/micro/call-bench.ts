import { Bench } from 'tinybench';

/** Samples that a task's memory is measured by. A collection takes some away, the compiler's own work adds some: the upper quartile is neither. */
const MEMORY_SAMPLES = 12;
/** A young generation is no smaller than twice this: samples that take less mostly see no collection. */
const EXACT_BYTES = 512 * 1024;

/** Calls that are shorter than the clock can tell: many make one sample. Prints the time of one call, and how much of V8's heap it took. */
export class CallBench {
  readonly #bench: Bench;
  readonly #tasks: Map<string, { readonly calls: number; readonly sample: () => number }> = new Map();
  /** Results go here, so that no compiler may leave the work out. */
  #sink = 0;

  constructor(name: string) {
    this.#bench = new Bench({ name, time: 250, warmupTime: 80 });
  }

  /** `sample` makes `calls` calls and returns a number that depends on them. */
  add(task: string, calls: number, sample: () => number): this {
    this.#tasks.set(task, { calls, sample });
    this.#bench.add(task, () => {
      this.#sink += sample();
    });
    return this;
  }

  async run(): Promise<void> {
    await this.#bench.run();
    const rows = this.#bench.tasks.map(({ name, result }) => {
      if (!('latency' in result)) throw new Error(`${name}: ${result.state}`, { cause: 'error' in result ? result.error : undefined });
      const { calls, sample } = this.#tasks.get(name)!;
      return {
        task: name,
        p50: time(result.latency.p50, calls),
        p99: time(result.latency.p99, calls),
        'heap bytes': this.#bytes(calls, sample),
      };
    });
    console.log(`${this.#bench.name}; per call, node ${process.version}${Number.isNaN(this.#sink) ? ' (a result was no number)' : ''}`);
    console.table(rows);
  }

  /** What one call takes of the heap. Memory outside it, a Buffer's bytes for one, is not in this number. */
  #bytes(calls: number, sample: () => number): string {
    const taken = new Float64Array(MEMORY_SAMPLES);
    for (let i = 0; i < MEMORY_SAMPLES; i++) {
      const before = process.memoryUsage().heapUsed;
      this.#sink += sample();
      taken[i] = process.memoryUsage().heapUsed - before;
    }
    const bytes = Math.max(0, taken.sort()[MEMORY_SAMPLES * 0.75]!);
    return `${bytes > EXACT_BYTES ? '>= ' : ''}${Math.round(bytes / calls)}`;
  }
}

function time(milliseconds: number, calls: number): string {
  const ns = (milliseconds * 1e6) / calls;
  if (ns < 1e4) return `${ns.toFixed(ns < 100 ? 1 : 0)} ns`;
  return ns < 1e7 ? `${(ns / 1e3).toFixed(1)} us` : `${(ns / 1e6).toFixed(1)} ms`;
}
