/** One observation, over latencies of four decades: `node dist/bench/micro/latency-histogram.bench.js` */

import { LatencyHistogram, stageBoundsNs } from '../../server/metrics/latency-histogram.ts';
import { LatencyWindow } from '../../server/metrics/latency-window.ts';
import type { StageHistogram } from '../../server/metrics/model-reporter.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1000;
const durationsNs = Float64Array.from({ length: COUNT }, (_, i) => 10_000 * 10 ** (((i * 7919) % COUNT) / 250));
const histogram = new LatencyHistogram(stageBoundsNs, null);
const longest = new LatencyHistogram(
  Array.from({ length: 64 }, (_, i) => 25e3 * 1.2 ** i),
  null,
);
const chained = new LatencyHistogram(stageBoundsNs, new LatencyWindow(0));

function observe(target: StageHistogram & { readonly sumNs: number }): () => number {
  return () => {
    for (let i = 0; i < COUNT; i++) target.observe(durationsNs[i]!);
    return target.sumNs;
  };
}

const bench = new CallBench('latency histogram, an observation')
  .add('18 bounds (the default)', COUNT, observe(histogram))
  .add('64 bounds of the user', COUNT, observe(longest))
  .add('18 bounds and a summary', COUNT, observe(chained));
await bench.run();
