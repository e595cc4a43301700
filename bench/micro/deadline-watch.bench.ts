/** What a request with a deadline pays for it: `node dist/bench/micro/deadline-watch.bench.js` */

import { DeadlineWatch, type Watched } from '../../server/data-plane/deadline-watch.ts';
import { systemClock } from '../../server/inference/clock.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 4096;
/** None of them comes while this runs. */
const FAR_NS = 3_600e9;

class Entry implements Watched {
  readonly deadlineNs: number;
  watchIndex = -1;

  constructor(deadlineNs: number) {
    this.deadlineNs = deadlineNs;
  }

  expire(): void {}
}

const startNs = systemClock.nowNs() + FAR_NS;
const watch = new DeadlineWatch(systemClock, () => {});
// One after the other, as a clock makes them; and as clients of many minds do.
const rising = Array.from({ length: COUNT }, (_, i) => new Entry(startNs + i * 1e6));
const mixed = Array.from({ length: COUNT }, (_, i) => new Entry(startNs + ((i * 2_654_435_761) % 60_000) * 1e6));

function fillAndEmpty(entries: readonly Entry[]): number {
  for (const entry of entries) watch.add(entry);
  for (const entry of entries) watch.remove(entry);
  return watch.size;
}

const bench = new CallBench('a deadline watched and removed')
  .add('alone, with its timer', COUNT, () => {
    for (const entry of rising) {
      watch.add(entry);
      watch.remove(entry);
    }
    return watch.size;
  })
  .add('4,096 in flight, in order', COUNT, () => fillAndEmpty(rising))
  .add('4,096 in flight, in no order', COUNT, () => fillAndEmpty(mixed));
await bench.run();
