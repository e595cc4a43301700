/** What `--metrics-config <setting>=<value>` chooses: Triton's four settings, and ours for the stage histograms. */
export interface MetricsConfig {
  /** The `_duration_us` counters. The counts beside them are always kept. */
  readonly counterLatencies: boolean;
  /** `nv_inference_first_response_histogram_ms`. */
  readonly histogramLatencies: boolean;
  /** `nv_inference_*_summary_us`, over the last minute. */
  readonly summaryLatencies: boolean;
  readonly summaryQuantiles: readonly number[];
  /** `nereid_inference_stage_duration_seconds`. */
  readonly stageHistograms: boolean;
}

export const defaultMetricsConfig: MetricsConfig = {
  counterLatencies: true,
  histogramLatencies: false,
  summaryLatencies: false,
  summaryQuantiles: [0.5, 0.9, 0.95, 0.99, 0.999],
  stageHistograms: true,
};

export const metricsConfigSettings: readonly string[] = [
  'counter_latencies',
  'histogram_latencies',
  'summary_latencies',
  'summary_quantiles',
  'stage_histograms',
];

const MAX_QUANTILES = 20;

/**
 * Later settings win. Throws an Error that says what was expected. The error of a `<quantile>:<error>` pair is checked and otherwise unused: quantiles
 * here are within 2 % of the true value, whatever the quantile.
 */
export function parseMetricsConfig(settings: readonly string[]): MetricsConfig {
  let config = defaultMetricsConfig;
  for (const text of settings) {
    const equals = text.indexOf('=');
    const setting = text.slice(0, Math.max(0, equals));
    const value = text.slice(equals + 1);
    switch (setting) {
      case 'counter_latencies':
        config = { ...config, counterLatencies: switchOf(setting, value) };
        break;
      case 'histogram_latencies':
        config = { ...config, histogramLatencies: switchOf(setting, value) };
        break;
      case 'summary_latencies':
        config = { ...config, summaryLatencies: switchOf(setting, value) };
        break;
      case 'stage_histograms':
        config = { ...config, stageHistograms: switchOf(setting, value) };
        break;
      case 'summary_quantiles':
        config = { ...config, summaryQuantiles: quantilesOf(value) };
        break;
      default:
        throw new Error(`expected <setting>=<value> where the setting is one of ${metricsConfigSettings.join(', ')}; got '${text}'`);
    }
  }
  return config;
}

function switchOf(setting: string, value: string): boolean {
  const folded = value.toLowerCase();
  if (folded === 'true' || folded === '1') return true;
  if (folded === 'false' || folded === '0') return false;
  throw new Error(`${setting} is true or false; got '${value}'`);
}

function quantilesOf(value: string): readonly number[] {
  const quantiles = value.split(',').map((pair) => {
    const [quantile, error, more] = pair.split(':').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
    const isGood = quantile !== undefined && quantile > 0 && quantile < 1 && error !== undefined && error >= 0 && error < 1;
    if (!isGood || more !== undefined) {
      throw new Error(
        `summary_quantiles is a list of <quantile>:<error>, each between 0 and 1, such as 0.5:0.05,0.99:0.001; got '${pair}'`,
      );
    }
    return quantile;
  });
  if (quantiles.length > MAX_QUANTILES)
    throw new Error(`summary_quantiles holds at most ${MAX_QUANTILES} quantiles; got ${quantiles.length}`);
  return [...new Set(quantiles)].sort((a, b) => a - b);
}
