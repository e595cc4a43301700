import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { LatencyHistogram, stageBoundsNs } from './latency-histogram.ts';
import { LatencyWindow } from './latency-window.ts';
import { MetricsRegistry, type MetricsRegistryOptions } from './metrics.ts';
import { parseMetricsConfig } from './metrics-config.ts';
import { ModelReporter } from './model-reporter.ts';
import { parseCpuTimes, parseMemory } from './system-sampler.ts';

const registries: MetricsRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.close();
});

function createRegistry(settings: readonly string[] = [], options: Partial<MetricsRegistryOptions> = {}): MetricsRegistry {
  const registry = new MetricsRegistry({ config: parseMetricsConfig(settings), serverVersion: '1.2.3', ...options });
  registries.push(registry);
  return registry;
}

interface Page {
  readonly types: ReadonlyMap<string, string>;
  /** `name{labels}` to the text of the value. */
  readonly samples: ReadonlyMap<string, string>;
}

/** Reads the exposition format strictly: every sample belongs to a family that was announced before it, once; no sample comes twice. */
function parsePage(text: string): Page {
  const types = new Map<string, string>();
  const samples = new Map<string, string>();
  const helped = new Set<string>();
  let current = '';
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (kind === 'HELP') {
        expect(helped.has(name), `two HELP lines of ${name}`).toBe(false);
        helped.add(name);
      } else {
        expect(types.has(name), `two TYPE lines of ${name}`).toBe(false);
        expect(['counter', 'gauge', 'histogram', 'summary']).toContain(rest);
        types.set(name, rest);
        current = name;
      }
      continue;
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\n|\\")*",?)*\})? (\S+)$/.exec(line);
    expect(sample, `not a sample: ${line}`).not.toBeNull();
    const [, name, labels = '', value] = sample as unknown as [string, string, string | undefined, string];
    expect(name.replace(/_(bucket|sum|count|total)$/, '')).toBe(current.replace(/_(bucket|sum|count|total)$/, ''));
    expect(samples.has(name + labels), `twice: ${name}${labels}`).toBe(false);
    // Prometheus reads NaN in any case; prom-client writes Nan.
    expect(/^nan$/i.test(value) || !Number.isNaN(Number(value)), line).toBe(true);
    samples.set(name + labels, value);
  }
  return { types, samples };
}

const US = 1_000;
const MS = 1_000_000;

describe('model series', () => {
  test('are there at 0 from register on, count what the reporter counts, and go at unregister', async () => {
    const registry = createRegistry();
    const reporter = new ModelReporter('simple', '1', {});
    expect(await registry.render()).not.toContain('model="simple"');
    registry.register(reporter);
    const before = parsePage(await registry.render());
    for (const name of ['request_success', 'count', 'exec_count', 'request_duration_us', 'queue_duration_us', 'pending_request_count']) {
      expect(before.samples.get(`nv_inference_${name}{model="simple",version="1"}`), name).toBe('0');
    }
    for (const reason of ['REJECTED', 'CANCELED', 'BACKEND', 'OTHER']) {
      expect(before.samples.get(`nv_inference_request_failure{model="simple",version="1",reason="${reason}"}`)).toBe('0');
    }

    reporter.requestSucceeded(8, 5_000_999, 1_500, 2_500, 3 * MS, 4_500);
    reporter.requestSucceeded(1, 1 * MS, 600, 1_000, 2_000, 3_000);
    reporter.requestFailed('BACKEND', 1 * MS);
    reporter.executed(9, 1, 2, 3);
    reporter.pendingCount = 3;
    reporter.loadDurationSecs = 0.25;
    const { samples, types } = parsePage(await registry.render());
    const of = (name: string): string | undefined => samples.get(`${name}{model="simple",version="1"}`);
    expect(of('nv_inference_request_success')).toBe('2');
    expect(of('nv_inference_count')).toBe('9');
    expect(of('nv_inference_exec_count')).toBe('1');
    expect(of('nv_inference_request_duration_us')).toBe('6000');
    expect(of('nv_inference_queue_duration_us')).toBe('2');
    expect(of('nv_inference_compute_input_duration_us')).toBe('3');
    expect(of('nv_inference_compute_infer_duration_us')).toBe('3002');
    expect(of('nv_inference_compute_output_duration_us')).toBe('7');
    expect(of('nv_inference_pending_request_count')).toBe('3');
    expect(of('nv_model_load_duration_secs')).toBe('0.25');
    expect(samples.get('nv_inference_request_failure{model="simple",version="1",reason="BACKEND"}')).toBe('1');
    expect(samples.get('nv_inference_request_failure{model="simple",version="1",reason="OTHER"}')).toBe('0');
    expect(types.get('nv_inference_request_success')).toBe('counter');
    expect(types.get('nv_inference_pending_request_count')).toBe('gauge');

    registry.unregister(reporter);
    expect(await registry.render()).not.toContain('model="simple"');
  });

  test('stage histograms cumulate, and their parts agree', async () => {
    const registry = createRegistry();
    const reporter = new ModelReporter('m', '2', {});
    registry.register(reporter);
    reporter.requestSucceeded(1, 3 * MS, 30 * US, 1, 2.5 * MS, 60_000 * MS);
    reporter.requestSucceeded(1, 4 * MS, 30 * US, 1, 2.5 * MS, 1);
    const { samples, types } = parsePage(await registry.render());
    const of = (stage: string, part: string, le?: string): string | undefined =>
      samples.get(
        `nereid_inference_stage_duration_seconds_${part}{model="m",version="2",stage="${stage}"${le === undefined ? '' : `,le="${le}"`}}`,
      );
    expect(types.get('nereid_inference_stage_duration_seconds')).toBe('histogram');
    expect([of('request', 'bucket', '0.0025'), of('request', 'bucket', '0.005'), of('request', 'bucket', '+Inf')]).toEqual(['0', '2', '2']);
    expect([of('queue', 'bucket', '0.000025'), of('queue', 'bucket', '0.00005')]).toEqual(['0', '2']);
    // A bound belongs to its own bucket.
    expect([of('compute_infer', 'bucket', '0.001'), of('compute_infer', 'bucket', '0.0025')]).toEqual(['0', '2']);
    expect([of('compute_output', 'bucket', '10'), of('compute_output', 'bucket', '+Inf'), of('compute_output', 'count')]).toEqual([
      '1',
      '2',
      '2',
    ]);
    expect(Number(of('request', 'sum'))).toBeCloseTo(0.007, 12);
  });

  test('a second load of the same version shows, the first goes, and no series comes twice', async () => {
    const registry = createRegistry();
    const [first, second] = [new ModelReporter('m', '1', {}), new ModelReporter('m', '1', {})];
    registry.register(first);
    first.requestFailed('OTHER', 1);
    registry.register(second);
    second.requestSucceeded(1, 1, 1, 1, 1, 1);
    const key = 'nv_inference_request_success{model="m",version="1"}';
    expect(parsePage(await registry.render()).samples.get(key)).toBe('1');
    registry.unregister(first);
    expect(parsePage(await registry.render()).samples.get(key)).toBe('1');
    registry.unregister(second);
    registry.unregister(second);
    expect(parsePage(await registry.render()).samples.has(key)).toBe(false);
  });

  test('tags are labels with an underscore; any name and value makes a page that can be read', async () => {
    const registry = createRegistry(['stage_histograms=false']);
    const tagged = new ModelReporter('t', '1', { team: 'a', 'cost-centre': '7', 'cost.centre': '8' });
    registry.register(tagged);
    expect(parsePage(await registry.render()).samples.get('nv_inference_count{model="t",version="1",_team="a",_cost_centre="7"}')).toBe(
      '0',
    );
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), fc.dictionary(fc.string(), fc.string({ unit: 'grapheme' })), async (name, tags) => {
        const reporter = new ModelReporter(name, '1', tags);
        registry.register(reporter);
        const { samples } = parsePage(await registry.render());
        expect([...samples.keys()].filter((key) => key.startsWith('nv_inference_count'))).toHaveLength(2);
        registry.unregister(reporter);
      }),
      { numRuns: 30 },
    );
  });
});

describe('--metrics-config', () => {
  const run = async (settings: readonly string[]): Promise<Page> => {
    const registry = createRegistry(settings);
    const reporter = new ModelReporter('m', '1', {});
    registry.register(reporter);
    for (let i = 1; i <= 100; i++) reporter.requestSucceeded(1, i * 10 * MS, i * US, i * US, i * US, i * US);
    return parsePage(await registry.render());
  };

  test('counter_latencies=false leaves the durations out and the counts in', async () => {
    const { types, samples } = await run(['counter_latencies=false']);
    expect([...types.keys()].filter((name) => name.endsWith('_duration_us'))).toEqual([]);
    expect(samples.get('nv_inference_request_success{model="m",version="1"}')).toBe('100');
  });

  test.each([[[]], [['stage_histograms=false']], [['summary_latencies=true']]])('histogram_latencies beside %j', async (others) => {
    const { samples } = await run(['histogram_latencies=true', ...others]);
    const bucket = (le: string): string | undefined =>
      samples.get(`nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="${le}"}`);
    expect(['100', '500', '2000', '5000', '+Inf'].map(bucket)).toEqual(['10', '50', '100', '100', '100']);
    expect(samples.get('nv_inference_first_response_histogram_ms_sum{model="m",version="1"}')).toBe('50500');
  });

  test.each([[[]], [['stage_histograms=false']]])('summary_latencies beside %j', async (others) => {
    const { samples, types } = await run(['summary_latencies=1', 'summary_quantiles=0.99:0.001,0.5:0.05', ...others]);
    expect([...types].filter(([, type]) => type === 'summary').map(([name]) => name)).toEqual(
      expect.arrayContaining(
        ['request', 'queue', 'compute_input', 'compute_infer', 'compute_output'].map((s) => `nv_inference_${s}_summary_us`),
      ),
    );
    const of = (quantile: string): number =>
      Number(samples.get(`nv_inference_request_summary_us{model="m",version="1",quantile="${quantile}"}`));
    expect(of('0.5') / 500_000).toBeCloseTo(1, 1);
    expect(of('0.99') / 990_000).toBeCloseTo(1, 1);
    expect(samples.get('nv_inference_request_summary_us_count{model="m",version="1"}')).toBe('100');
    expect(samples.get('nv_inference_queue_summary_us_sum{model="m",version="1"}')).toBe('5050');
  });

  test('with everything off, a request costs no histogram', async () => {
    const registry = createRegistry(['stage_histograms=false']);
    const reporter = new ModelReporter('m', '1', {});
    registry.register(reporter);
    expect(reporter.histograms).toBeNull();
  });

  test.each([
    '',
    'x',
    'counter_latencies',
    'counter_latencies=maybe',
    'summary_quantiles=0.5',
    'summary_quantiles=0.5:0.1:3',
    'summary_quantiles=:',
  ])('refuses %j', (setting) => {
    expect(() => parseMetricsConfig([setting])).toThrow();
  });
});

describe('the rest of the page', () => {
  test('process, event loop, machine, version', async () => {
    const registry = createRegistry([], { intervalMs: 5 });
    await registry.preload();
    await expect.poll(() => registry.render(), { timeout: 5_000 }).toMatch(/^nv_cpu_utilization [01]/m);
    const { samples } = parsePage(await registry.render());
    expect(samples.get(`nereid_info{version="1.2.3",node="${process.versions.node}"}`)).toBe('1');
    for (const name of [
      'process_resident_memory_bytes',
      'nodejs_eventloop_lag_p99_seconds',
      'process_cpu_seconds_total',
      'nv_cpu_memory_total_bytes',
    ]) {
      expect(Number(samples.get(name)), name).toBeGreaterThan(0);
    }
    expect(Number(samples.get('nereid_event_loop_utilization'))).toBeLessThanOrEqual(1);
    expect(Number(samples.get('nv_cpu_utilization'))).toBeLessThanOrEqual(1);
  });

  test('cpuMetrics false leaves nv_cpu_ out', async () => {
    expect(await createRegistry([], { cpuMetrics: false }).render()).not.toContain('nv_cpu_');
  });

  test('scrapes at one time share one page', () => {
    const registry = createRegistry();
    expect(registry.render()).toBe(registry.render());
  });

  test('what /proc says is read', () => {
    expect(parseCpuTimes('cpu  10 1 5 80 4 0 0 0 0 0\ncpu0 1 2 3 4\n')).toEqual({ busy: 16, total: 100 });
    expect(parseCpuTimes('')).toBeNull();
    expect(parseMemory('MemTotal:        100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n')).toEqual({
      totalBytes: 102_400,
      availableBytes: 40_960,
    });
    expect(parseMemory('nothing')).toBeNull();
  });
});

describe('LatencyHistogram', () => {
  test('puts every value where a search over all bounds would', () => {
    const bounds = fc
      .uniqueArray(fc.integer({ min: 1, max: 1e12 }), { minLength: 1, maxLength: 30 })
      .map((list) => list.sort((a, b) => a - b));
    fc.assert(
      fc.property(
        fc.oneof(fc.constant([...stageBoundsNs]), bounds),
        fc.oneof(fc.double({ min: 0, max: 1e14, noNaN: true }), fc.nat()),
        (list, ns) => {
          const histogram = new LatencyHistogram(list, null);
          histogram.observe(ns);
          const expectedIndex = list.findIndex((bound) => ns <= bound);
          expect(histogram.counts.indexOf(1)).toBe(expectedIndex < 0 ? list.length : expectedIndex);
        },
      ),
    );
  });
});

describe('LatencyWindow', () => {
  test('knows quantiles to within 2 % of the sorted values', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2e9 }), { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        (us, q) => {
          const window = new LatencyWindow(0);
          for (const value of us) window.observe(value * 1000);
          const exact = us.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(q * us.length)) - 1]!;
          expect(Math.abs(window.quantilesUs([q])[0]! - exact)).toBeLessThanOrEqual(exact * 0.02);
        },
      ),
    );
  });

  test('forgets what is a minute old, and keeps the totals', () => {
    const window = new LatencyWindow(0);
    window.observe(10_000);
    window.advance(47_999);
    window.observe(1_000_000);
    expect(window.quantilesUs([0.01])[0]).toBe(10);
    window.advance(60_000);
    expect(window.quantilesUs([0.01])[0]).toBeCloseTo(1_000, -2);
    window.advance(1e9);
    expect(window.quantilesUs([0.5, 0.9])).toEqual([Number.NaN, Number.NaN]);
    expect([window.count, window.sumNs]).toEqual([2, 1_010_000]);
  });
});

test('a page of a thousand models leaves the loop its turns', async () => {
  const registry = createRegistry();
  await registry.preload();
  for (let i = 0; i < 1_000; i++) registry.register(new ModelReporter(`model-${i}`, '1', {}));
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const page = await registry.render();
  clearInterval(timer);
  expect(page.split('\n').length).toBeGreaterThan(100_000);
  expect(turns).toBeGreaterThan(5);
});
