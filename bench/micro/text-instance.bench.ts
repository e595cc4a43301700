/** What a generated token costs beside its generation: an engine that has all tokens ready. `node dist/bench/micro/text-instance.bench.js` */

import type { EngineStatistics } from '../../backends/api/backend.ts';
import type { GeneratedToken, Generation, GenerationJob } from '../../backends/llamacpp/engine/generation-job.ts';
import { TOKEN_ATTRIBUTES, VOCABULARY_TYPES } from '../../backends/llamacpp/engine/token-table.ts';
import { TextInstance } from '../../backends/llamacpp/text/text-instance.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import type { Tensor } from '../../proto/tensor.ts';

const TOKENS = 512;
const ROUNDS = 200;
const words = ['Ġthe', 'Ġquick', 'Ġbrown', 'Ġfox', ',', 'Ġjumps', 'Ġover', 'ing', '.', 'Ċ'];
const top = [
  { token: 1, logprob: -0.5 },
  { token: 2, logprob: -1.25 },
];

class ReadyGeneration implements Generation {
  readonly cachedTokens = 0;
  finish: 'stop' | 'length' | null = null;
  readonly #job: GenerationJob;

  constructor(job: GenerationJob) {
    this.#job = job;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedToken> {
    const hasTop = this.#job.topLogprobs > 0;
    for (let i = 0; i < TOKENS; i++) yield { token: (i * 7) % words.length, logprob: -0.5, top: hasTop ? top : null };
    this.finish = 'length';
  }
}

const statistics: EngineStatistics = {
  promptTokens: 0,
  cachedPromptTokens: 0,
  generatedTokens: 0,
  steps: 0,
  runningSequences: 0,
  kvTokensUsed: 0,
  kvTokensTotal: 0,
};
const instance = new TextInstance({
  engine: { generate: (job) => new ReadyGeneration(job), statistics: () => statistics },
  vocabulary: {
    tokens: {
      size: words.length,
      vocabularyType: VOCABULARY_TYPES.bytePair,
      bos: 0,
      addsBos: false,
      text: (token) => words[token]!,
      attributes: () => TOKEN_ATTRIBUTES.normal,
    },
    tokenize: () => Uint32Array.of(0, 1),
  },
  chat: null,
  compileGrammar: () => null,
  limits: { contextSize: 4096, maxInputTokens: null, maxOutputTokens: null, defaultMaxTokens: TOKENS, allowsGrammar: false },
  sequences: 1,
  dispose: async () => {},
});

async function measure(isStream: boolean, parameters: Record<string, string | number | boolean>, asks: readonly string[]): Promise<string> {
  const inputs: Tensor[] = [
    { name: 'text_input', datatype: 'BYTES', shape: [1], data: encodeBytes(['the quick brown']) },
    ...['stream', ...asks].map((name) => ({
      name,
      datatype: 'BOOL' as const,
      shape: [1],
      data: Uint8Array.of(name !== 'stream' || isStream ? 1 : 0),
    })),
  ];
  const { signal } = new AbortController();
  let bytes = 0;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = performance.now();
    for await (const outputs of instance.infer({ inputs, parameters, signal })) bytes += outputs[0]!.data.length;
    times.push(performance.now() - startMs);
  }
  if (bytes === 0) throw new Error('no text came');
  times.sort((a, b) => a - b);
  return `${((times[ROUNDS / 2]! * 1000) / TOKENS).toFixed(2)} us`;
}

const counts = ['return_finish_reason', 'return_num_output_tokens'];
console.log(`a token's way through the text instance, median of ${ROUNDS} requests of ${TOKENS} tokens; node ${process.version}`);
console.table({
  'one response': { 'per token': await measure(false, {}, []) },
  stream: { 'per token': await measure(true, {}, []) },
  'stream, finish reason and counts': { 'per token': await measure(true, {}, counts) },
  'stream, 4 stop strings': { 'per token': await measure(true, { stop: '["\\n\\n","User:","###","</s>"]' }, []) },
  'stream, logprobs of 2': { 'per token': await measure(true, { logprobs: 2 }, []) },
});
