/**
 * `npm run bench:llm`: the text backend against node-llama-cpp used directly (bench/llm/direct.mjs), with the same GGUF of random weights (its speed does not depend on their values), threads, number of sequences and
 * sampling, in rounds that take every lane in turn. Per lane and number of streams: tokens a second, all streams together, from the first request to the last token. Then the time to the first token of a prompt
 * that is in a sequence already, in steps of one stream.
 *
 * BENCH_ROUNDS (5), BENCH_TOKENS for each stream (96), BENCH_THREADS (1); SMALL=1 for two short rounds with a small model. The control is installed by `npm ci --prefix bench/llm` when it is not there.
 */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { writeShapedLlama } from '../models/gguf/shaped-llama.ts';
import { serveModels } from './child.ts';
import { median, quantile } from './http-client.ts';
import { readStream } from './text-stream.ts';

const isSmall = process.env['SMALL'] === '1';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? (isSmall ? 2 : 5));
const tokens = Number(process.env['BENCH_TOKENS'] ?? (isSmall ? 16 : 96));
const threads = Number(process.env['BENCH_THREADS'] ?? 1);
const SEQUENCES = 16;
const CONTEXT = 1024;
const STREAMS = [1, 4, 16] as const;
const PROMPT = Array.from({ length: 24 }, (_, at) => 300 + ((at * 37) % 200));
const LONG_PROMPT = Array.from({ length: 768 }, (_, at) => 300 + ((at * 41) % 211));
const sampling = { temperature: 0.8, top_k: 40, top_p: 0.95, ignore_eos: true };

const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
const directFolder = fileURLToPath(new URL('../../../bench/llm/', import.meta.url));
const file = join(folder, 'llm', '1', 'model.gguf');

interface Measured {
  readonly seconds: number;
  readonly tokens: number;
}
type Lane = (streams: number) => Promise<Measured>;

mkdirSync(join(folder, 'llm', '1'), { recursive: true });
const shape = isSmall
  ? { dim: 256, layers: 4, heads: 8, feedForward: 704, vocabulary: 4096 }
  : { dim: 512, layers: 8, heads: 8, feedForward: 1408, vocabulary: 32000 };
await writeShapedLlama(file, { ...shape, type: 'Q8_0', context: 2048, seed: 1 });
writeFileSync(
  join(folder, 'llm', 'config.yaml'),
  `backend: llamacpp\nparameters: {sequences: {string_value: "${SEQUENCES}"}, context_size: {string_value: "${CONTEXT}"}, threads: {string_value: "${threads}"}}\n`,
);
if (!existsSync(join(directFolder, 'node_modules'))) {
  process.stderr.write('installing the control (bench/llm)\n');
  spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directFolder, stdio: ['ignore', 'ignore', 'inherit'] });
}

const direct = spawn(process.execPath, [join(directFolder, 'direct.mjs'), file, String(SEQUENCES), String(CONTEXT), String(threads)], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const answers = createInterface({ input: direct.stdout })[Symbol.asyncIterator]();
const server = await serveModels(folder);
const url = `http://127.0.0.1:${server.port}`;

try {
  if ((await answers.next()).done === true) throw new Error('the control did not start');
  const lanes: Readonly<Record<string, Lane>> = {
    direct: async (streams) => {
      direct.stdin.write(`${JSON.stringify({ streams, tokens, prompt: PROMPT })}\n`);
      return JSON.parse((await answers.next()).value as string) as Measured;
    },
    v2: (streams) => together(streams, (seed) => v2(PROMPT, tokens, seed)),
    openai: (streams) => together(streams, (seed) => openai(PROMPT, tokens, seed)),
  };
  const names = Object.keys(lanes);
  const rates = new Map<string, number[]>();
  for (const lane of Object.values(lanes)) await lane(2);
  for (let round = 0; round < rounds; round++) {
    for (const streams of STREAMS) {
      for (let i = 0; i < names.length; i++) {
        const name = names[(i + round) % names.length]!;
        const { seconds, tokens: count } = await lanes[name]!(streams);
        if (count !== streams * tokens) throw new Error(`${name} gave ${count} of ${streams * tokens} tokens`);
        const key = `${name} ${streams}`;
        rates.set(key, [...(rates.get(key) ?? []), count / seconds]);
      }
    }
  }
  const ratio = (a: string, b: string): number => median(rates.get(a)!.map((rate, round) => rate / rates.get(b)![round]!));
  const rate = (key: string): string => median(rates.get(key)!).toFixed(0);

  const steps: number[] = [];
  const cold: number[] = [];
  for (let round = 0; round < rounds * 2; round++) {
    const prompt = [...LONG_PROMPT];
    prompt[0] = 300 + round;
    const first = await v2(prompt, 32, 1);
    const again = await v2(prompt, 32, 2);
    const step = again.stepMs;
    cold.push(first.firstMs / step);
    steps.push(again.firstMs / step);
  }

  const lines = [
    `${cpus().length} cores, Node ${process.version}; ${rounds} rounds, ${tokens} tokens a stream, ${SEQUENCES} sequences, ${threads} thread(s); random weights, ${JSON.stringify(shape)} Q8_0`,
    'streams  direct tok/s  V2 tok/s  OpenAI tok/s  V2/direct  OpenAI/direct  OpenAI/V2',
    ...STREAMS.map((n) =>
      [
        String(n).padEnd(8),
        rate(`direct ${n}`).padEnd(13),
        rate(`v2 ${n}`).padEnd(9),
        rate(`openai ${n}`).padEnd(13),
        ratio(`v2 ${n}`, `direct ${n}`).toFixed(2).padEnd(10),
        ratio(`openai ${n}`, `direct ${n}`).toFixed(2).padEnd(14),
        ratio(`openai ${n}`, `v2 ${n}`).toFixed(2),
      ].join(' '),
    ),
    `time to the first token of a prompt of ${LONG_PROMPT.length} tokens, in decode steps: ${median(steps).toFixed(1)} when it is in a sequence (quartiles ${quantile(steps, 0.25).toFixed(1)} to ${quantile(steps, 0.75).toFixed(1)}), ${median(cold).toFixed(1)} when it is not`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
} finally {
  direct.kill();
  await server.stop();
  rmSync(folder, { recursive: true });
}

async function together(streams: number, run: (seed: number) => Promise<{ readonly tokens: number }>): Promise<Measured> {
  const startedMs = performance.now();
  const results = await Promise.all(Array.from({ length: streams }, (_, at) => run(at + 1)));
  return { seconds: (performance.now() - startedMs) / 1000, tokens: results.reduce((sum, result) => sum + result.tokens, 0) };
}

async function v2(prompt: readonly number[], count: number, seed: number): Promise<{ tokens: number; firstMs: number; stepMs: number }> {
  const body = { input_ids: prompt, stream: true, return_num_output_tokens: true, parameters: { ...sampling, max_tokens: count, seed } };
  const told = await readStream(`${url}/v2/models/llm/generate_stream`, body);
  const last = JSON.parse(told.last) as { num_output_tokens: number };
  return { tokens: last.num_output_tokens, firstMs: told.firstMs, stepMs: (told.lastMs - told.firstMs) / (last.num_output_tokens - 1) };
}

async function openai(prompt: readonly number[], count: number, seed: number): Promise<{ tokens: number }> {
  const body = { model: 'llm', prompt, stream: true, stream_options: { include_usage: true }, ...sampling, max_tokens: count, seed };
  const told = await readStream(`${url}/v1/completions`, body);
  return { tokens: (JSON.parse(told.last) as { usage: { completion_tokens: number } }).usage.completion_tokens };
}
