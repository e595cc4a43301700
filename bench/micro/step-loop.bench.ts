/**
 * What the engine of the llamacpp backend adds to the bare calls of llama.cpp that its steps are made of: the same model, samplers and number of sequences, steps per second of both in turns.
 * The model is tiny, so that a step is mostly calls. `node dist/bench/micro/step-loop.bench.js`
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelConfig } from '../../backends/api/backend.case.ts';
import type { Generation } from '../../backends/llamacpp/engine/generation-job.ts';
import { LlamaEngine } from '../../backends/llamacpp/engine/llama-engine.ts';
import { LlamaModel } from '../../backends/llamacpp/engine/llama-model.ts';
import { readLlamaOptions } from '../../backends/llamacpp/options/llama-options.ts';
import { tinyLlama } from '../models/gguf/small-models.ts';

const TOKENS = 400;
const ROUNDS = 7;
const STREAMS = [1, 4, 16];

const folder = mkdtempSync(join(tmpdir(), 'step-loop-'));
const file = join(folder, 'model.gguf');
writeFileSync(file, tinyLlama({ context: 1024 }));
const parameters = { threads: '1', sequences: String(STREAMS.at(-1)), context_size: '1024' };
const options = readLlamaOptions(
  modelConfig({ parameters: Object.fromEntries(Object.entries(parameters).map(([name, stringValue]) => [name, { stringValue }])) }),
);
const model = await LlamaModel.open(file, options, () => {}, { architecture: 'llama', vocabularySize: 384, layers: 2, slidingWindow: 0 });
const engine = await LlamaEngine.create(model, file, options);

const rows = [];
for (const streams of STREAMS) {
  const ratios: number[] = [];
  const ours: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const bare = await bareSteps(streams);
    const measured = await engineSteps(streams);
    ours.push(measured);
    ratios.push(measured / bare);
  }
  rows.push({ streams, 'steps/s': Math.round(median(ours)), 'of bare calls': Number(median(ratios).toFixed(3)) });
}
console.log(`${TOKENS} tokens for each stream, node ${process.version}`);
console.table(rows);
await engine.close();
await model.close();
rmSync(folder, { recursive: true });

async function engineSteps(streams: number): Promise<number> {
  const startMs = performance.now();
  const jobs = Array.from({ length: streams }, (_, i) =>
    engine.generate({
      prompt: Uint32Array.of(40 + i),
      maxTokens: TOKENS,
      sampling: { temperature: 0.8, topK: 40, seed: i },
      grammar: null,
      topLogprobs: -1,
      ignoresEnd: false,
      minTokens: 0,
      stopTokens: new Set(),
      signal: new AbortController().signal,
    }),
  );
  await Promise.all(jobs.map(drain));
  return (TOKENS * 1000) / (performance.now() - startMs);
}

async function drain(generation: Generation): Promise<void> {
  for await (const { token } of generation) if (token < 0) throw new Error('no token');
}

async function bareSteps(streams: number): Promise<number> {
  const { addon } = model.native;
  const context = new addon.AddonContext(model.addonModel, {
    contextSize: 1024 * options.sequences,
    batchSize: options.batchSize,
    sequences: options.sequences,
    flashAttention: 'auto',
    threads: 1,
  });
  await context.init();
  const samplers = Array.from({ length: streams }, (_, seed) => {
    const sampler = new addon.AddonSampler(model.addonModel);
    sampler.applyConfig({ temperature: 0.8, topK: 40, seed });
    return sampler;
  });
  const tokens = samplers.map((_, i) => 40 + i);
  const one = new Uint32Array(1);
  const first = Uint32Array.of(0);
  const startMs = performance.now();
  for (let position = 0; position < TOKENS; position++) {
    context.initBatch(streams);
    for (let i = 0; i < streams; i++) {
      one[0] = tokens[i]!;
      context.addToBatch(i, position, one, first);
    }
    await context.decodeBatch();
    const chosen = await Promise.all(samplers.map((sampler, i) => context.sampleToken(i, sampler)));
    for (let i = 0; i < streams; i++) tokens[i] = chosen[i]!;
  }
  const perSecond = (TOKENS * 1000) / (performance.now() - startMs);
  for (const sampler of samplers) sampler.dispose();
  await context.dispose();
  return perSecond;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
