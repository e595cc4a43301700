/** What finding a route costs, for a path seen before and for a new one: `node dist/bench/micro/http-router.bench.js` */

import { Bench } from 'tinybench';
import type { HttpMethod, HttpRoute } from '../../server/transports/http-exchange.ts';
import { HttpRouter } from '../../server/transports/http-router.ts';

/** Look-ups per sample: one alone is shorter than the clock can tell. */
const COUNT = 1000;

function route(method: HttpMethod, pattern: string): HttpRoute {
  return { method, pattern, requestHeaders: [], allowContentCoding: false, handle: () => {} };
}

const model = ['/v2/models/{model}', '/v2/models/{model}/versions/{version:digits}'];
const router = new HttpRouter([
  route('GET', '/v2'),
  route('GET', '/v2/health/live'),
  route('GET', '/v2/health/ready'),
  route('GET', '/v2/models/stats'),
  ...model.flatMap((prefix) => [
    route('GET', prefix),
    route('GET', `${prefix}/ready`),
    route('GET', `${prefix}/config`),
    route('GET', `${prefix}/stats`),
    route('POST', `${prefix}/infer`),
    route('POST', `${prefix}/generate`),
  ]),
]);
// As an engine hands them over: a string of its own for each request, whose hash is not computed yet.
const bytes = Buffer.from('/v2/models/digits/versions/1/infer');
let serial = 0;
let found = 0;

const bench = new Bench({ name: 'HTTP router', time: 500 });
bench.add('a path seen before, same string', () => {
  for (let turn = 0; turn < COUNT; turn++) found += router.match('/v2/models/digits/infer').params.length;
});
bench.add('a path seen before, new string', () => {
  for (let turn = 0; turn < COUNT; turn++) found += router.match(bytes.toString('latin1')).params.length;
});
bench.add('making that string alone', () => {
  for (let turn = 0; turn < COUNT; turn++) found += bytes.toString('latin1').length;
});
bench.add('a new path', () => {
  for (let turn = 0; turn < COUNT; turn++) found += router.match(`/v2/models/m${serial++}/versions/1/infer`).params.length;
});
await bench.run();
console.log(`${bench.name}; ns per look-up (${found > 0 ? 'all' : 'none'} found)`);
console.table(bench.table((task) => ({ task: task.name, p50: ns(task, 'p50'), p99: ns(task, 'p99') })));

function ns(task: Bench['tasks'][number], quantile: 'p50' | 'p99'): string {
  const { result } = task;
  return 'latency' in result ? ((result.latency[quantile] * 1e6) / COUNT).toFixed(1) : result.state;
}
