import { invalidArgument } from '../../proto/inference-error.ts';
import type { PlannedRequest, WireProtocol } from '../load/load-plan.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { modelPath } from '../target/model-path.ts';
import { type Prompt, readPrompts } from './read-prompts.ts';
import { synthesizePrompts } from './synthesize-prompts.ts';

export interface PromptOptions {
  readonly protocol: WireProtocol;
  readonly model: string;
  /** '': as the server chooses. */
  readonly modelVersion: string;
  /** Of OpenAI's API; the generate extension has one form. */
  readonly endpoint: 'chat' | 'completions' | 'embeddings';
  /** Mean length of a made prompt, about; the shared prefix is part of it. */
  readonly promptTokens: number;
  /** Standard deviation of it. */
  readonly promptSpread: number;
  /** Tokens that all made prompts begin with, about. */
  readonly sharedPrefix: number;
  /** null: made. */
  readonly promptsFile: string | null;
  /** Of an answer. */
  readonly maxTokens: number;
  /** Whether the answer comes in parts. */
  readonly stream: boolean;
  /** Made prompts; of a file all are taken. */
  readonly distinct: number;
  readonly seed: number;
  /** Members of the body beside those above: temperature, ignore_eos, ... */
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
}

export interface MadePrompts {
  readonly requests: readonly PlannedRequest[];
  /** 'made, 16 prompts of about 128 tokens (the first 32 shared), streamed answers of at most 64'. */
  readonly words: string;
}

/** The requests of a run, for the protocols that carry text. Throws INVALID_ARGUMENT, or the system's error for a file that cannot be read. */
export async function makePrompts(options: PromptOptions): Promise<MadePrompts> {
  const { promptsFile, seed } = options;
  const prompts = promptsFile === null ? synthesizePrompts(options, new SeededRandom(seed)) : await readPrompts(promptsFile);
  const place = placeOf(options);
  const requests = prompts.map((prompt): PlannedRequest => {
    const text = { path: place.path, body: place.body(prompt, options), stream: place.isStream };
    return { infer: null, text, expected: null };
  });
  return { requests, words: describe(options, prompts.length, place) };
}

interface Place {
  readonly path: string;
  readonly isStream: boolean;
  readonly hasAnswerTokens: boolean;
  body(prompt: Prompt, options: PromptOptions): Readonly<Record<string, unknown>>;
}

function placeOf({ protocol, model, modelVersion, endpoint, stream }: PromptOptions): Place {
  if (protocol !== 'openai') {
    const isStream = protocol === 'generate-stream';
    const path = `${modelPath(model, modelVersion)}/${isStream ? 'generate_stream' : 'generate'}`;
    return { path, isStream, hasAnswerTokens: true, body: (prompt, options) => generateBody(prompt, options, isStream) };
  }
  switch (endpoint) {
    case 'chat':
      return { path: '/v1/chat/completions', isStream: stream, hasAnswerTokens: true, body: chatBody };
    case 'completions':
      return { path: '/v1/completions', isStream: stream, hasAnswerTokens: true, body: completionsBody };
    case 'embeddings':
      return { path: '/v1/embeddings', isStream: false, hasAnswerTokens: false, body: embeddingsBody };
  }
}

/** Triton's generate extension; the tensors' names are those of its vLLM backend, which Nereid's language models have too. */
function generateBody(prompt: Prompt, { maxTokens, parameters }: PromptOptions, stream: boolean): Record<string, unknown> {
  return { text_input: textOf(prompt, 'generate'), stream, parameters: { max_tokens: prompt.maxTokens ?? maxTokens, ...parameters } };
}

function chatBody(
  { text, messages, maxTokens: own, what }: Prompt,
  { model, modelVersion, maxTokens, stream, parameters }: PromptOptions,
): Record<string, unknown> {
  if (messages === null && text === null) throw invalidArgument(`${what}: expected prompt or messages`);
  const said = messages ?? [{ role: 'user', content: text }];
  return { model: versioned(model, modelVersion), messages: said, max_tokens: own ?? maxTokens, stream, ...parameters };
}

function completionsBody(prompt: Prompt, { model, modelVersion, maxTokens, stream, parameters }: PromptOptions): Record<string, unknown> {
  const text = textOf(prompt, 'completions');
  return { model: versioned(model, modelVersion), prompt: text, max_tokens: prompt.maxTokens ?? maxTokens, stream, ...parameters };
}

function embeddingsBody(prompt: Prompt, { model, modelVersion, parameters }: PromptOptions): Record<string, unknown> {
  return { model: versioned(model, modelVersion), input: textOf(prompt, 'embeddings'), ...parameters };
}

function textOf({ text, what }: Prompt, endpoint: string): string {
  if (text === null)
    throw invalidArgument(`${what}: expected a prompt for ${endpoint}, got messages, which are for --protocol openai --endpoint chat`);
  return text;
}

/** As Nereid has it; OpenAI's API has no versions. */
function versioned(model: string, version: string): string {
  return version === '' ? model : `${model}@${version}`;
}

function describe(options: PromptOptions, count: number, { isStream, hasAnswerTokens }: Place): string {
  const { promptsFile, promptTokens, promptSpread, sharedPrefix, maxTokens } = options;
  const spread = promptSpread > 0 ? ` +- ${promptSpread}` : '';
  const shared = sharedPrefix > 0 ? ` (the first ${sharedPrefix} shared)` : '';
  const made = `made, ${count} ${count === 1 ? 'prompt' : 'prompts'} of about ${promptTokens}${spread} tokens${shared}`;
  const prompts = promptsFile === null ? made : `${promptsFile}, ${count} ${count === 1 ? 'prompt' : 'prompts'}`;
  if (!hasAnswerTokens) return `${prompts}, embedded`;
  return `${prompts}, ${isStream ? 'streamed answers' : 'answers'} of at most ${maxTokens} tokens`;
}
