import { Bench } from 'tinybench';
import { MetricsRegistry } from '../../server/metrics/metrics.ts';
import { parseMetricsConfig } from '../../server/metrics/metrics-config.ts';
import { ModelReporter } from '../../server/metrics/model-reporter.ts';

// What one successful request costs in counting, by what is switched on. A sample is 1,000 requests: a single one is shorter than the clock's step.
const REQUESTS = 1_000;

const variants: readonly (readonly [string, readonly string[]])[] = [
  ['counters only', ['stage_histograms=false']],
  ['stage histograms (the default)', []],
  ['and summaries and first response', ['summary_latencies=true', 'histogram_latencies=true']],
];

// Durations of a spread of four decades, made before the clock runs.
const durationsNs = Float64Array.from({ length: REQUESTS }, (_, i) => 10_000 * 10 ** (((i * 7919) % REQUESTS) / 250));

const bench = new Bench({ time: 500 });
const registries: MetricsRegistry[] = [];
for (const [name, settings] of variants) {
  const registry = new MetricsRegistry({ config: parseMetricsConfig(settings) });
  registries.push(registry);
  const reporter = new ModelReporter('bench', '1', {});
  registry.register(reporter);
  bench.add(name, () => {
    for (let i = 0; i < REQUESTS; i++) {
      const ns = durationsNs[i]!;
      reporter.requestSucceeded(1, ns, ns * 0.2, ns * 0.1, ns * 0.6, ns * 0.1);
    }
  });
}
await bench.run();
for (const { name, result } of bench.tasks) {
  if (!('latency' in result)) throw new Error(`${name}: ${result.state}`);
  const { p50, p99, samplesCount } = result.latency;
  // p50 and p99 are milliseconds for REQUESTS calls.
  const nsPerCall = (ms: number): string => ((ms * 1e6) / REQUESTS).toFixed(1);
  process.stdout.write(
    `${name.padEnd(36)} ${nsPerCall(p50).padStart(7)} ns p50 ${nsPerCall(p99).padStart(7)} ns p99  (${samplesCount} samples)\n`,
  );
}
for (const registry of registries) await registry.close();
