import { isUtf8 } from 'node:buffer';
import { decodeBytes } from '../../../proto/bytes.ts';
import { elementCount } from '../../../proto/datatype.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { textMetadata } from './text-metadata.ts';

/** What the inputs of a request say. */
export interface TextRequest {
  readonly prompt: PromptInput;
  readonly isStream: boolean;
  /** JSON text; null: left out. */
  readonly sampling: string | null;
  /** The answer begins with the prompt's text. */
  readonly repeatsPrompt: boolean;
  readonly asked: AskedOutputs;
}

export type PromptInput =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'tokens'; readonly tokens: Uint32Array }
  /** JSON texts; null: left out. */
  | { readonly kind: 'messages'; readonly messages: string; readonly tools: string | null; readonly toolChoice: string | null };

/** Optional outputs that are to come with each response. */
export interface AskedOutputs {
  readonly finishReason: boolean;
  readonly cumulativeLogprob: boolean;
  readonly logprobs: boolean;
  readonly inputTokens: boolean;
  readonly outputTokens: boolean;
  readonly cachedTokens: boolean;
}

const SOURCES = ['text_input', 'input_ids', 'messages'] as const;
const expectedInputs = new Map(textMetadata.inputs.map((input) => [input.name, input]));

/**
 * Holds the inputs against the metadata and each other. `outputs`: those that the request names; an optional one is asked for by its name or by its
 * `return_` input. Throws INVALID_ARGUMENT that begins with the input's name.
 */
export function readTextRequest(inputs: readonly Tensor[], outputs: readonly string[], vocabularySize: number): TextRequest {
  const given = new Map<string, Tensor>();
  for (const input of inputs) {
    checkInput(input);
    if (given.has(input.name)) throw invalidArgument(`${input.name}: expected once, got twice`);
    given.set(input.name, input);
  }
  const prompt = readPrompt(given, vocabularySize);
  const isStream = flag(given, 'stream') ?? false;
  return {
    prompt,
    isStream,
    sampling: textOf(given, 'sampling_parameters'),
    repeatsPrompt: repeatsPrompt(flag(given, 'exclude_input_in_output'), isStream, prompt.kind === 'messages'),
    asked: {
      finishReason: isAsked(given, outputs, 'finish_reason'),
      cumulativeLogprob: isAsked(given, outputs, 'cumulative_logprob'),
      logprobs: isAsked(given, outputs, 'logprobs'),
      inputTokens: isAsked(given, outputs, 'num_input_tokens'),
      outputTokens: isAsked(given, outputs, 'num_output_tokens'),
      cachedTokens: isAsked(given, outputs, 'num_cached_tokens'),
    },
  };
}

function checkInput({ name, datatype, shape, data }: Tensor): void {
  const expected = expectedInputs.get(name);
  if (expected === undefined) throw invalidArgument(`${name}: no input of this model`);
  if (datatype !== expected.datatype) throw invalidArgument(`${name}: expected ${expected.datatype}, got ${datatype}`);
  const count = elementCount(shape);
  const isRightShape = shape.length === 1 && (expected.shape[0] === -1 || count === 1);
  const bytes = datatype === 'BYTES' ? data.length : datatype === 'BOOL' ? count : count * 4;
  if (!isRightShape || data.length !== bytes) {
    throw invalidArgument(`${name}: expected shape [${expected.shape.join(',')}], got [${shape.join(',')}] and ${data.length} bytes`);
  }
}

function readPrompt(given: ReadonlyMap<string, Tensor>, vocabularySize: number): PromptInput {
  const sources = SOURCES.filter((name) => given.has(name));
  if (sources.length !== 1) {
    const got = sources.length === 0 ? 'none of them' : sources.join(' and ');
    throw invalidArgument(`${sources[1] ?? SOURCES[0]}: expected exactly one of ${SOURCES.join(', ')}, got ${got}`);
  }
  const messages = textOf(given, 'messages');
  if (messages === null) {
    for (const name of ['tools', 'tool_choice']) {
      if (given.has(name)) throw invalidArgument(`${name}: expected with messages only, got ${sources[0]}`);
    }
    const text = textOf(given, 'text_input');
    return text !== null ? { kind: 'text', text } : { kind: 'tokens', tokens: tokensOf(given.get('input_ids')!, vocabularySize) };
  }
  return { kind: 'messages', messages, tools: textOf(given, 'tools'), toolChoice: textOf(given, 'tool_choice') };
}

function repeatsPrompt(excludesInput: boolean | undefined, isStream: boolean, hasMessages: boolean): boolean {
  if (!isStream && !hasMessages) return excludesInput !== true;
  if (excludesInput !== false) return false;
  throw invalidArgument(
    `exclude_input_in_output: expected true, got false: the answer to ${isStream ? 'a request with stream=true' : 'messages'} never repeats its input`,
  );
}

function isAsked(given: ReadonlyMap<string, Tensor>, outputs: readonly string[], name: string): boolean {
  return (flag(given, `return_${name}`) ?? false) || outputs.includes(name);
}

function flag(given: ReadonlyMap<string, Tensor>, name: string): boolean | undefined {
  const input = given.get(name);
  return input === undefined ? undefined : input.data[0] !== 0;
}

function textOf(given: ReadonlyMap<string, Tensor>, name: string): string | null {
  const input = given.get(name);
  if (input === undefined) return null;
  const elements = decodeBytes(input.data, name);
  if (elements.length !== 1) throw invalidArgument(`${name}: expected one element, got ${elements.length}`);
  const bytes = elements[0]!;
  if (!isUtf8(bytes)) throw notUtf8(name, bytes);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

function notUtf8(name: string, bytes: Uint8Array): InferenceError {
  // All in front of the first error comes back as it was.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const repaired = Buffer.from(text.toString('utf8'), 'utf8');
  let at = 0;
  while (text[at] === repaired[at]) at++;
  return invalidArgument(`${name}: expected UTF-8 text, got a character that is none, near byte ${at} of ${bytes.length}`);
}

/** A copy, held against the vocabulary: the native library ends the process where a token is not of it. */
function tokensOf({ name, shape, data }: Tensor, vocabularySize: number): Uint32Array {
  const count = elementCount(shape);
  if (count === 0) throw invalidArgument(`${name}: expected at least one token, got none`);
  const tokens = new Uint32Array(count);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let i = 0; i < count; i++) {
    const token = view.getInt32(4 * i, true);
    if (token < 0 || token >= vocabularySize) {
      throw invalidArgument(`${name}: expected tokens from 0 to ${vocabularySize - 1}, got ${token} at position ${i}`);
    }
    tokens[i] = token;
  }
  return tokens;
}
