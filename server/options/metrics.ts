import { defaultMetricsConfig, type MetricsConfig, parseMetricsConfig } from '../metrics/metrics-config.ts';
import type { HttpOptions } from './http.ts';
import type { OptionTable } from './option-declaration.ts';
import { listKind, switchKind, textKind } from './option-kind.ts';
import { milliseconds, port } from './option-units.ts';

export interface MetricsOptions {
  readonly allowMetrics: boolean;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly metricsConfig: MetricsConfig;
  readonly metricsIntervalMs: number;
  readonly allowCpuMetrics: boolean;
}

export const metricsOptions: OptionTable<MetricsOptions, HttpOptions & MetricsOptions> = {
  allowMetrics: {
    flag: 'allow-metrics',
    group: 'Metrics',
    kind: switchKind,
    default: true,
    doc: 'Serve metrics for Prometheus at /metrics.',
  },
  metricsAddress: {
    flag: 'metrics-address',
    group: 'Metrics',
    kind: textKind('ADDRESS'),
    default: { text: 'that of --http-address', from: (options) => options.httpAddress },
    doc: 'Address to listen on for metrics.',
  },
  metricsPort: { flag: 'metrics-port', group: 'Metrics', kind: port, default: 8002, doc: 'Port for metrics; 0: any free one.' },
  metricsConfig: {
    flag: 'metrics-config',
    group: 'Metrics',
    kind: listKind<MetricsConfig>('SETTING=VALUE', parseMetricsConfig, showMetricsConfig),
    default: defaultMetricsConfig,
    doc: 'counter_latencies, histogram_latencies, summary_latencies or stage_histograms=true|false; summary_quantiles=<quantile>:<error>,... May be given several times.',
  },
  metricsIntervalMs: {
    flag: 'metrics-interval-ms',
    group: 'Metrics',
    kind: milliseconds,
    default: 2_000,
    doc: 'How often the machine and the event loop are sampled.',
  },
  allowCpuMetrics: {
    flag: 'allow-cpu-metrics',
    group: 'Metrics',
    kind: switchKind,
    default: true,
    doc: 'Processor and memory of the machine among the metrics.',
  },
};

function showMetricsConfig(config: MetricsConfig): string {
  const { counterLatencies, histogramLatencies, summaryLatencies, stageHistograms } = config;
  return `counter_latencies=${counterLatencies}, histogram_latencies=${histogramLatencies}, summary_latencies=${summaryLatencies}, stage_histograms=${stageHistograms}`;
}
