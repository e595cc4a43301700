/** What learning adds to a request and to a batch: `node dist/bench/micro/learned-batching.bench.js` */

import { ModelReporter } from '../../server/metrics/model-reporter.ts';
import { capBatch } from '../../server/scheduling/cap-batch.ts';
import { LearnedBatching } from '../../server/scheduling/learned/learned-batching.ts';
import { identitySignature, int32Request, Ledger } from '../../server/scheduling/scheduling-fixtures.ts';
import { TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 1000;
const MAX_ROWS = 64;
const timeOf = (rows: number): number => 1e5 + 2e4 * rows;

function advisorOf(variableInputs: readonly number[]): LearnedBatching {
  const advisor = new LearnedBatching({
    signature: identitySignature(MAX_ROWS, [[variableInputs.length === 0 ? 4 : -1]]),
    maxBatchSize: MAX_ROWS,
    variableInputs,
    maxQueueTimeNs: 1e10,
    instances: { aliveCount: 1 },
    reporter: new ModelReporter('identity', '1', {}),
    clock: new TickClock(),
  });
  for (let i = 0; i < 200; i++) advisor.executed(request, 1 + (i % MAX_ROWS), 1, timeOf(1 + (i % MAX_ROWS)));
  return advisor;
}

const caller = new Ledger();
const request = int32Request('', caller, [{ shape: [1, 4], values: [1, 2, 3, 4] }]);
const urgent = Array.from({ length: MAX_ROWS }, (_, i) => {
  const one = int32Request('', caller, [{ shape: [1, 4], values: [1, 2, 3, 4] }]);
  one.deadlineNs = 1e12 - i;
  return one;
});
const queue = { length: MAX_ROWS, at: (index: number) => urgent[index]! };

const bench = new CallBench('learned batching');
for (const [name, advisor] of [
  ['one shape', advisorOf([])],
  ['open dimensions', advisorOf([0])],
] as const) {
  bench.add(`${name}: a request without a deadline arrives`, COUNT, () => {
    let refused = 0;
    for (let i = 0; i < COUNT; i++) if (advisor.arrive(request, 10, 10, MAX_ROWS, i * 1000) !== null) refused++;
    return refused;
  });
  bench.add(`${name}: a request with a deadline arrives, behind two batches`, COUNT, () => {
    let refused = 0;
    for (let i = 0; i < COUNT; i++) if (advisor.arrive(urgent[0]!, 128, 128, MAX_ROWS, i * 1000) !== null) refused++;
    return refused;
  });
  bench.add(`${name}: a batch is capped by 64 ever earlier deadlines`, COUNT, () => {
    let rows = 0;
    for (let i = 0; i < COUNT; i++) rows += capBatch(queue, MAX_ROWS, advisor, i * 1000, []);
    return rows;
  });
  bench.add(`${name}: an incomplete batch may be held`, COUNT, () => {
    let held = 0;
    for (let i = 0; i < COUNT; i++) held += advisor.holdNs(request, 4, 4, 1000, 1e6, i * 1000);
    return held;
  });
  bench.add(`${name}: an execution, and the next prediction`, COUNT, () => {
    let ns = 0;
    for (let i = 0; i < COUNT; i++) {
      const rows = 1 + (i % MAX_ROWS);
      advisor.executed(request, rows, rows, timeOf(rows));
      ns += advisor.maxRows(request, 1e9, 0);
    }
    return ns;
  });
}
await bench.run();
