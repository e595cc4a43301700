/** Ensembles and sequences. Rows 8 and 9 of the scoreboard. */

import { sumRequests, vectorRequests } from '../requests.ts';
import type { LoadContender, Scenario } from '../scenario.ts';
import { INLINE, type Load, latency, nereid, processorTime, throughput } from './contenders.ts';

const vector = (model: string, concurrency: number): Load => ({ protocol: 'http-binary', requests: vectorRequests(model), concurrency });

export const ensemble: Scenario = {
  name: 'ensemble',
  title: 'Ensemble of three, one core',
  about:
    'Three models of 2 us behind one another, as an ensemble and beside one of them alone. `npm run bench:ensemble` has the cost of a stage by itself.',
  cores: 'one',
  models: ['stage0', 'stage1', 'stage2', 'three'],
  seconds: 0,
  contenders: [
    nereid('one model, c=32', INLINE, vector('stage0', 32)),
    nereid('ensemble of three, c=32', INLINE, vector('three', 32)),
    nereid('one model, c=1', INLINE, vector('stage0', 1)),
    nereid('ensemble of three, c=1', INLINE, vector('three', 1)),
  ],
  ratios: [
    throughput('ensemble of three / one model, c=32', { of: 'ensemble of three, c=32', to: 'one model, c=32', inGate: true }, null),
    processorTime('ensemble of three / one model, c=32', { of: 'ensemble of three, c=32', to: 'one model, c=32', inGate: true }),
    latency('ensemble of three / one model, c=1, p50', { of: 'ensemble of three, c=1', to: 'one model, c=1' }, null),
  ],
};

/** As many live sequences as requests in flight, each of some dozen steps. */
function sequences(name: string, live: number): LoadContender {
  const load: Load = { protocol: 'websocket-binary', requests: sumRequests(), concurrency: live, connections: Math.ceil(live / 128) };
  return { ...nereid(name, INLINE, load), sequence: { minLength: 8, maxLength: 32, firstId: 1_000_000_000 } };
}

export const sequence: Scenario = {
  name: 'sequence',
  title: 'Sequences with state, one core',
  about:
    'A running sum whose state the server keeps, over WebSocket: each sequence has one step in flight, 8 to 32 steps and an end. Beside it a model of 2 us without state.',
  cores: 'one',
  models: ['sum', 'stage0'],
  seconds: 0,
  contenders: [
    nereid('no sequence, 1 in flight', INLINE, { ...vector('stage0', 1), protocol: 'websocket-binary' }),
    sequences('1 sequence', 1),
    nereid('no sequence, 32 in flight', INLINE, { ...vector('stage0', 32), protocol: 'websocket-binary', connections: 1 }),
    sequences('32 sequences', 32),
    sequences('1,000 sequences', 1000),
  ],
  ratios: [
    latency('1 sequence / no sequence, p50', { of: '1 sequence', to: 'no sequence, 1 in flight' }, null),
    throughput('32 sequences / no sequence, c=32', { of: '32 sequences', to: 'no sequence, 32 in flight' }, null),
    throughput('1,000 sequences / 32', { of: '1,000 sequences', to: '32 sequences' }, null),
  ],
};
