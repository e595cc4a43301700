/**
 * A batch on the gateway's own loop, beside what its model takes alone in the same runs (as the host reports it): the difference is the host's.
 * `node dist/bench/micro/inline-host.bench.js`
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionBatch } from '../../server/execution/execution-host.ts';
import { InlineHost } from '../../server/execution/inline-host.ts';
import { emptyModelConfig } from '../../server/model-config/parse-model-config.ts';
import { addSub, identity } from '../models/test-models.ts';
import { CallBench } from './call-bench.ts';
import { type ExampleExecution, exampleExecution } from './execution-records.ts';

const CALLS = 32;
const directory = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const host = new InlineHost({ memoryBytes: 64 * 1024 * 1024, backendSettings: {} });
const bench = new CallBench('inline host, a batch');
const runs: { readonly what: string; inferNs: number; count: number }[] = [];

async function addCase(what: string, model: Uint8Array, names: readonly string[], { batch }: ExampleExecution): Promise<void> {
  const modelPath = join(directory, `${runs.length}.onnx`);
  writeFileSync(modelPath, model);
  const loaded = await host.load({
    name: what,
    version: 1,
    modelPath,
    config: { ...emptyModelConfig(), name: what, backend: 'onnxruntime' },
  });
  const channel = await loaded.createInstance(() => {});
  const run = { what, inferNs: 0, count: 0 };
  runs.push(run);
  const named: ExecutionBatch = {
    ...batch,
    inputs: batch.inputs.map((input, i) => ({ ...input, name: names[i]! })),
    complete: (_, { inferNs }) => {
      run.inferNs += inferNs;
      run.count++;
    },
  };
  bench.add(what, CALLS, () => {
    for (let i = 0; i < CALLS; i++) channel.execute(named);
    return run.count;
  });
}

const addSubInputs = ['INPUT0', 'INPUT1'];
await addCase('add_sub [1,16]', addSub('FP32'), addSubInputs, exampleExecution('', 'FP32', [1, 16], 2));
await addCase('add_sub [32,16]', addSub('FP32'), addSubInputs, exampleExecution('', 'FP32', [32, 16], 2));
await addCase('identity strings [16,16]', identity('BYTES'), ['INPUT0'], exampleExecution('', 'BYTES', [16, 16], 1));
await bench.run();
for (const { what, inferNs, count } of runs) console.log(`${what}: the model alone takes ${Math.round(inferNs / count)} ns on average`);
await host.stop();
rmSync(directory, { recursive: true });
