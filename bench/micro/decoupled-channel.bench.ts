/**
 * What it costs to run a decoupled model in a host: the time to the only response and the end, and responses a second over many requests at once. The
 * model is the backend `repeat` without delays. `node dist/bench/micro/decoupled-channel.bench.js`
 */

import type { DecoupledChannel, DecoupledExecution, DecoupledRun } from '../../server/execution/decoupled-execution.ts';
import type { ExecutionHost } from '../../server/execution/execution-host.ts';
import { InlineHost } from '../../server/execution/inline-host.ts';
import { ProcessHost } from '../../server/execution/process-host.ts';
import { emptyModelConfig } from '../../server/model-config/parse-model-config.ts';

const AT_ONCE = [1, 8, 64];
const RESPONSES = 1000;
const ROUND_TRIPS = 3000;

class CountedExecution implements DecoupledExecution {
  readonly inputs: DecoupledExecution['inputs'];
  readonly parameters = {};
  readonly isPaused = false;
  readonly #data: readonly Uint8Array[];
  readonly #resolve: () => void;
  responseCount = 0;

  constructor(responses: number, resolve: () => void) {
    this.#data = [responses * 4, responses * 4, 4].map((bytes) => new Uint8Array(bytes));
    this.inputs = [
      { name: 'IN', datatype: 'INT32', shape: [responses], byteLength: responses * 4 },
      { name: 'DELAY', datatype: 'UINT32', shape: [responses], byteLength: responses * 4 },
      { name: 'WAIT', datatype: 'UINT32', shape: [1], byteLength: 4 },
    ];
    this.#resolve = resolve;
  }

  writeInput(index: number, target: Uint8Array): void {
    target.set(this.#data[index]!);
  }

  respond(): void {
    this.responseCount++;
  }

  complete(): void {
    this.#resolve();
  }

  fail(error: Error): void {
    throw error;
  }
}

function request(channel: DecoupledChannel, responses: number): Promise<number> {
  return new Promise((resolve) => {
    const execution = new CountedExecution(responses, () => resolve(execution.responseCount));
    const run: DecoupledRun | null = channel.start(execution);
    if (run === null) throw new Error('no memory');
  });
}

async function measure(host: ExecutionHost): Promise<Record<string, number>> {
  const config = { ...emptyModelConfig(), name: 'repeat', backend: 'repeat' };
  const model = await host.load({ name: 'repeat', version: 1, modelPath: '', config });
  const channel = await model.createDecoupledInstance(() => {});
  const micros: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const start = performance.now();
    await request(channel, 1);
    micros.push((performance.now() - start) * 1000);
  }
  const settled = micros.slice(ROUND_TRIPS / 10).sort((a, b) => a - b);
  const row: Record<string, number> = { 'one response, p50 us': rounded(settled, 0.5), 'p99 us': rounded(settled, 0.99) };
  for (const atOnce of AT_ONCE) {
    await Promise.all(Array.from({ length: atOnce }, () => request(channel, RESPONSES)));
    const start = performance.now();
    const counts = await Promise.all(Array.from({ length: atOnce }, () => request(channel, RESPONSES)));
    const responses = counts.reduce((sum, count) => sum + count, 0);
    row[`${atOnce} at once, responses/s`] = Math.round((responses / (performance.now() - start)) * 1000);
  }
  return row;
}

function rounded(sorted: readonly number[], quantile: number): number {
  return Number(sorted[Math.floor(sorted.length * quantile)]!.toPrecision(3));
}

const rows: Record<string, Record<string, number>> = {};
for (const [name, start] of [
  ['process', () => ProcessHost.start({ isDecoupled: true })],
  ['inline', async () => new InlineHost({ memoryBytes: 64 * 1024 * 1024, backendSettings: {} })],
] as const) {
  const host = await start();
  rows[name] = await measure(host);
  await host.stop();
}
console.log(`a decoupled model in a host; requests of ${RESPONSES} responses where several run at once`);
console.table(rows);
