/**
 * The control of `npm run bench:llm`: node-llama-cpp as an application would use it, with the same file, threads, number of sequences and sampling as the server. Reads a line of JSON for each measurement
 * ({ streams, tokens, prompt }), answers with one ({ seconds, tokens }). Arguments: the GGUF file, sequences, context size of a sequence, threads.
 */

import { createInterface } from 'node:readline';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const [file, sequences, contextSize, threads] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: Number(threads) });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({
  sequences: Number(sequences),
  contextSize: Number(contextSize),
  batchSize: 512,
  threads: Number(threads),
});
const free = Array.from({ length: Number(sequences) }, () => context.getSequence());

async function stream(sequence, prompt, wanted, seed) {
  await sequence.clearHistory();
  let count = 0;
  let text = 0;
  for await (const token of sequence.evaluate(prompt, { temperature: 0.8, topK: 40, topP: 0.95, seed, yieldEogToken: true })) {
    text += model.detokenize([token]).length;
    if (++count === wanted) break;
  }
  return count + 0 * text;
}

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const { streams, tokens, prompt } = JSON.parse(line);
  const started = performance.now();
  const counts = await Promise.all(free.slice(0, streams).map((sequence, at) => stream(sequence, prompt, tokens, at + 1)));
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ seconds, tokens: counts.reduce((sum, count) => sum + count, 0) }));
}
process.exit(0);
