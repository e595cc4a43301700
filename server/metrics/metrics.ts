import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import { type CacheCounts, writeCacheCounts } from './cache-counts.ts';
import { LatencyHistogram, stageBoundsNs } from './latency-histogram.ts';
import { LatencyWindow } from './latency-window.ts';
import { LoadCounts } from './load-counts.ts';
import { defaultMetricsConfig, type MetricsConfig } from './metrics-config.ts';
import { type ModelSeries, modelFamilies, type Stage } from './model-families.ts';
import type { ModelReporter } from './model-reporter.ts';
import { SystemSampler } from './system-sampler.ts';
import { textFamilies } from './text-families.ts';

export interface MetricsRegistryOptions {
  readonly config: MetricsConfig;
  /** How often the machine and the event loop are sampled, ms. */
  readonly intervalMs: number;
  /** `nv_cpu_*`. */
  readonly cpuMetrics: boolean;
  /** For `nereid_info`. */
  readonly serverVersion: string;
}

/** Sample lines written before the loop has a turn again: about a millisecond. */
const LINES_PER_TURN = 2_000;
/** Between two looks at the event loop's delay, ms; each is a wake-up, idle or not. */
const LOOP_DELAY_RESOLUTION_MS = 20;
/** Triton's, `nv_inference_first_response_histogram_ms`. */
const FIRST_RESPONSE_BOUNDS_MS: readonly number[] = [100, 500, 2_000, 5_000];

interface SystemGauge {
  readonly name: string;
  readonly help: string;
  readonly isCpuMetric: boolean;
  read(sampler: SystemSampler): number;
}

/** The gauges of the machine and of the loop. Process and runtime metrics beside them are the library's default ones. */
const systemGauges: readonly SystemGauge[] = [
  {
    name: 'nv_cpu_utilization',
    help: 'Processor time in use, all processors together, 0 to 1, over the last metrics interval.',
    isCpuMetric: true,
    read: (sampler) => sampler.cpuUtilization,
  },
  {
    name: 'nv_cpu_memory_total_bytes',
    help: 'Memory of the machine, bytes.',
    isCpuMetric: true,
    read: (sampler) => sampler.memoryTotalBytes,
  },
  {
    name: 'nv_cpu_memory_used_bytes',
    help: 'Memory of the machine that is not available, bytes.',
    isCpuMetric: true,
    read: (sampler) => sampler.memoryUsedBytes,
  },
  {
    name: 'nereid_event_loop_utilization',
    help: 'Share of time in which the event loop was busy, 0 to 1, over the last metrics interval.',
    isCpuMetric: false,
    read: (sampler) => sampler.eventLoopUtilization,
  },
];

/**
 * Everything on the metrics page. Model series are read from the reporters' plain numbers and written here; the rest is prom-client's, which is loaded
 * at the first scrape, or by {@link preload}.
 */
export class MetricsRegistry {
  readonly contentType: string = 'text/plain; version=0.0.4; charset=utf-8';
  readonly loadCounts: LoadCounts = new LoadCounts();
  /** Of the response cache; null: the server has none. */
  cacheCounts: CacheCounts | null = null;
  readonly #options: MetricsRegistryOptions;
  /** By labels: a reload registers the new load's reporter while the old one still serves; the latest is the one shown. */
  readonly #series: Map<string, ModelSeries[]> = new Map();
  readonly #sampler: SystemSampler = new SystemSampler();
  readonly #timer: NodeJS.Timeout;
  #library: Promise<Registry> | null = null;
  #rendering: Promise<string> | null = null;

  constructor(options: Partial<MetricsRegistryOptions> = {}) {
    this.#options = { config: defaultMetricsConfig, intervalMs: 2_000, cpuMetrics: true, serverVersion: '', ...options };
    void this.#sampler.sample();
    this.#timer = setInterval(() => this.#tick(), this.#options.intervalMs);
    this.#timer.unref();
  }

  /**
   * Shows the model version, at 0 where nothing happened yet, and gives it the histograms that the settings ask for. `firstResponseBoundsMs` are the
   * model's own buckets of `nv_inference_first_response_histogram_ms`, ascending.
   */
  register(reporter: ModelReporter, firstResponseBoundsMs: readonly number[] = FIRST_RESPONSE_BOUNDS_MS): void {
    const series = this.#seriesOf(reporter, firstResponseBoundsMs);
    const same = this.#series.get(series.labels);
    if (same === undefined) this.#series.set(series.labels, [series]);
    else same.push(series);
  }

  /** Takes the model version off the page. An unknown reporter is left alone. */
  unregister(reporter: ModelReporter): void {
    const labels = labelsOf(reporter);
    const rest = this.#series.get(labels)?.filter((series) => series.reporter !== reporter);
    if (rest === undefined) return;
    if (rest.length === 0) this.#series.delete(labels);
    else this.#series.set(labels, rest);
  }

  /** Loads prom-client now (some 30 ms), so that the first scrape need not. */
  async preload(): Promise<void> {
    await this.#loadLibrary();
  }

  /** The page. Scrapes that come while one is being written get the same text. */
  render(): Promise<string> {
    this.#rendering ??= this.#render().finally(() => {
      this.#rendering = null;
    });
    return this.#rendering;
  }

  /** Ends the sampling. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    (await this.#library)?.clear();
  }

  async #render(): Promise<string> {
    const library = await this.#loadLibrary();
    const { config } = this.#options;
    const shown = [...this.#series.values()].map((same) => same.at(-1)!);
    let page = '';
    let lines: string[] = [];
    const hasText = shown.some(({ reporter }) => reporter.text !== null || reporter.engine?.isTold === true);
    for (const family of hasText ? [...modelFamilies, ...textFamilies] : modelFamilies) {
      if (family.when !== null && !family.when(config)) continue;
      lines.push(`# HELP ${family.name} ${family.help}`, `# TYPE ${family.name} ${family.type}`);
      for (const series of shown) {
        family.write(lines, family.name, series, config);
        if (lines.length < LINES_PER_TURN) continue;
        page += `${lines.join('\n')}\n`;
        lines = [];
        await nextTurn();
      }
    }
    this.loadCounts.write(lines);
    if (this.cacheCounts !== null) writeCacheCounts(lines, this.cacheCounts);
    page += `${lines.join('\n')}\n`;
    return page + (await library.metrics());
  }

  #tick(): void {
    void this.#sampler.sample();
    if (!this.#options.config.summaryLatencies) return;
    const nowMs = performance.now();
    for (const same of this.#series.values()) {
      for (const { summaries } of same) {
        if (summaries === null) continue;
        for (const window of Object.values(summaries)) window.advance(nowMs);
      }
    }
  }

  #loadLibrary(): Promise<Registry> {
    this.#library ??= import('prom-client').then((prometheus) => {
      const registry = new prometheus.Registry();
      const sampler = this.#sampler;
      for (const gauge of systemGauges) {
        if (gauge.isCpuMetric && !this.#options.cpuMetrics) continue;
        new prometheus.Gauge({
          name: gauge.name,
          help: gauge.help,
          registers: [registry],
          collect() {
            const value = gauge.read(sampler);
            // Not known on this system, or not sampled yet: no sample rather than a wrong one.
            if (Number.isNaN(value)) this.remove();
            else this.set(value);
          },
        });
      }
      new prometheus.Gauge({
        name: 'nereid_info',
        help: 'Always 1; the labels say what runs.',
        labelNames: ['version', 'node'],
        registers: [registry],
      }).set({ version: this.#options.serverVersion, node: process.versions.node }, 1);
      prometheus.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_DELAY_RESOLUTION_MS });
      return registry;
    });
    return this.#library;
  }

  #seriesOf(reporter: ModelReporter, firstResponseBoundsMs: readonly number[]): ModelSeries {
    const { config } = this.#options;
    const nowMs = performance.now();
    const firstResponse = config.histogramLatencies
      ? new LatencyHistogram(
          firstResponseBoundsMs.map((ms) => ms * 1e6),
          null,
        )
      : null;
    const summaries = config.summaryLatencies ? eachStage(() => new LatencyWindow(nowMs)) : null;
    const histograms = config.stageHistograms
      ? eachStage((stage) => new LatencyHistogram(stageBoundsNs, summaries?.[stage] ?? null))
      : null;
    // Each observer hands on to the next, so the reporter knows the first of them only.
    reporter.histograms = histograms ?? summaries;
    reporter.firstResponse = firstResponse;
    return { reporter, labels: labelsOf(reporter), histograms, summaries, firstResponse };
  }
}

function eachStage<T>(make: (stage: Stage) => T): Record<Stage, T> {
  return {
    request: make('request'),
    queue: make('queue'),
    computeInput: make('computeInput'),
    computeInfer: make('computeInfer'),
    computeOutput: make('computeOutput'),
  };
}

/** Tags become `_<tag>`; a letter that no label name may hold becomes '_', and of two that end up alike the first stays. */
function labelsOf(reporter: ModelReporter): string {
  const labels = new Map([
    ['model', reporter.modelName],
    ['version', reporter.modelVersion],
  ]);
  for (const [tag, value] of Object.entries(reporter.tags)) {
    const name = `_${tag.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`;
    if (!labels.has(name)) labels.set(name, value);
  }
  return [...labels].map(([name, value]) => `${name}="${escapeLabelValue(value)}"`).join(',');
}

function escapeLabelValue(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
