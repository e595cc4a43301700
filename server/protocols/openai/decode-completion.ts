import { invalidArgument } from '../../../proto/inference-error.ts';
import { CLOSE_BRACKET, COMMA, describeJson, type JsonReader, OPEN_BRACKET, QUOTE, skipWhitespace } from '../oip-json/json-reader.ts';
import { BodyFields, MAX_PROMPT_BYTES, unescaped } from './body-fields.ts';
import { MAX_CHOICES, MAX_COUNT, MAX_TOP_LOGPROBS, readModel, readStreamOptions } from './decode-chat.ts';
import type { GenerationSpec, PromptSpec } from './generation-spec.ts';
import { readResponseFormat } from './response-format.ts';
import { checkOtherFields, checkSamplingSize, readSampling, unsupported } from './sampling-fields.ts';

/** Of all prompts that come as token ids; text has its bound in bytes. */
const MAX_PROMPT_TOKENS = 262_144;
const MAX_TOKEN = 0x7fffffff;

const OWN: ReadonlySet<string> = new Set([
  ...['model', 'prompt', 'max_tokens', 'n', 'stream', 'stream_options', 'logprobs', 'echo', 'best_of', 'suffix', 'response_format'],
]);

const CHAT = 'only /v1/chat/completions takes it';
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['messages', CHAT],
  ['tools', CHAT],
  ['tool_choice', CHAT],
  ['top_logprobs', "'logprobs' is the number here"],
  ['max_completion_tokens', "use 'max_tokens'"],
  ['max_output_tokens', "use 'max_tokens'"],
]);

const PROMPTS = 'a string, an array of strings, an array of token ids, or an array of such arrays';

/** A body of `POST /v1/completions`; reference section 6.3. Throws INVALID_ARGUMENT. */
export function decodeCompletion(body: Uint8Array): GenerationSpec {
  const fields = new BodyFields(body, MAX_PROMPT_BYTES);
  const model = readModel(fields);
  const prompts = readPrompts(fields);
  const ignored = checkOtherFields(fields, OWN, ELSEWHERE);
  const sampling = readSampling(fields);
  const { members } = sampling;
  const paramNames = new Map([
    ['text_input', 'prompt'],
    ['input_ids', 'prompt'],
  ]);
  const say = (name: string, member: string, asked = name): void => {
    members.push(`"${name}":${member}`);
    if (asked !== name) paramNames.set(name, asked);
    if (sampling.first === '') sampling.first = asked;
  };

  // Left out, it is the model's own default: 16, as OpenAI's, where its configuration says nothing.
  const maxTokens = fields.integer('max_tokens', 1, MAX_COUNT);
  if (maxTokens !== null) say('max_tokens', String(maxTokens));
  const logprobs = fields.integer('logprobs', 0, MAX_TOP_LOGPROBS);
  if (logprobs !== null) say('logprobs', String(logprobs));
  readResponseFormat(fields, say);
  checkSamplingSize(members, paramNames);

  const n = fields.integer('n', 1, MAX_CHOICES) ?? 1;
  if (n * prompts.length > MAX_CHOICES) {
    throw invalidArgument(`n: ${n} answers to each of ${prompts.length} prompts are more than the ${MAX_CHOICES} that one call may have`);
  }
  const bestOf = fields.integer('best_of', 1, MAX_CHOICES);
  if (bestOf !== null && bestOf !== n) throw unsupported('best_of', "answers are not ranked: leave it out, or use 'n'");
  if (fields.has('suffix') && fields.text('suffix') !== '') throw unsupported('suffix', 'text between two others cannot be asked for here');
  const echoes = fields.flag('echo') ?? false;
  if (echoes && prompts.some(({ kind }) => kind === 'tokens')) throw unsupported('echo', 'only prompts that are text can be repeated');
  if (echoes && logprobs !== null) throw unsupported('echo', "prompts have no log probabilities: leave out 'echo' or 'logprobs'");

  const isStream = fields.flag('stream') ?? false;
  return {
    kind: 'completion',
    model,
    prompts,
    n,
    isStream,
    includesUsage: readStreamOptions(fields, isStream),
    echoes,
    wantsLogprobs: logprobs !== null,
    wantsAllThatFits: false,
    sampling: members,
    seed: sampling.seed,
    firstSamplingField: sampling.first,
    tools: null,
    toolChoice: null,
    paramNames,
    ignored,
  };
}

function readPrompts(fields: BodyFields): PromptSpec[] {
  if (!fields.has('prompt')) throw invalidArgument(`prompt: missing; expected ${PROMPTS}`);
  return fields.walk('prompt', (reader) => {
    const c = reader.peek();
    if (c === QUOTE) return [textPrompt(fields.utf8('prompt'))];
    if (c !== OPEN_BRACKET) throw fields.wrong('prompt', PROMPTS);
    const plain = readPlainTokens(reader, MAX_PROMPT_TOKENS);
    if (plain !== null) return [{ kind: 'tokens', tokens: plain }];
    const prompts: PromptSpec[] = [];
    const tokens: number[] = [];
    let tokenCount = 0;
    reader.enter(OPEN_BRACKET);
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      const first = reader.peek();
      const isTokens = tokens.length > 0;
      if (first === QUOTE && !isTokens && prompts.every(({ kind }) => kind === 'text')) {
        prompts.push(readTextPrompt(reader));
      } else if (first === OPEN_BRACKET && !isTokens && prompts.every(({ kind }) => kind === 'tokens')) {
        const list = readTokens(reader, `prompt[${prompts.length}]`, MAX_PROMPT_TOKENS - tokenCount);
        tokenCount += list.length;
        prompts.push({ kind: 'tokens', tokens: list });
      } else if (prompts.length === 0) {
        const token = readToken(reader);
        if (token < 0) throw wrongToken(reader, `prompt[${tokens.length}]`);
        tokens.push(token);
        if (tokens.length > MAX_PROMPT_TOKENS) throw tooManyTokens();
      } else {
        throw invalidArgument(`prompt[${prompts.length}]: expected ${PROMPTS}, got ${describeJson(reader.bytes, reader.at)}`);
      }
      if (prompts.length > MAX_CHOICES) throw invalidArgument(`prompt: expected at most ${MAX_CHOICES} prompts in one call`);
    }
    if (tokens.length > 0) return [{ kind: 'tokens', tokens: Int32Array.from(tokens) }];
    if (prompts.length === 0) throw invalidArgument('prompt: expected at least one prompt, got an empty array');
    return prompts;
  });
}

function readTextPrompt(reader: JsonReader): PromptSpec {
  reader.scanString();
  return textPrompt(unescaped(reader.bytes.subarray(reader.stringStart, reader.stringEnd)));
}

function textPrompt(text: Uint8Array): PromptSpec {
  if (text.length === 0) throw invalidArgument('prompt: expected some text, got an empty string');
  return { kind: 'text', text };
}

function readTokens(reader: JsonReader, where: string, room: number): Int32Array {
  const plain = readPlainTokens(reader, room);
  if (plain !== null) return plain;
  const tokens: number[] = [];
  reader.enter(OPEN_BRACKET);
  for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
    const token = readToken(reader);
    if (token < 0) throw wrongToken(reader, where);
    tokens.push(token);
    if (tokens.length > room) throw tooManyTokens();
  }
  if (tokens.length === 0) throw invalidArgument(`${where}: expected at least one token id, got an empty array`);
  return Int32Array.from(tokens);
}

/** The array at the cursor, where it holds token ids alone, up to `room`: there may be many, so in one plain loop. Null: something is not as it should be, and the cursor stays. */
function readPlainTokens(reader: JsonReader, room: number): Int32Array | null {
  const { bytes } = reader;
  let at = skipWhitespace(bytes, reader.at);
  const tokens = new Int32Array(Math.max(0, bytes.indexOf(CLOSE_BRACKET, at) - at) >> 1);
  let count = 0;
  do {
    const start = skipWhitespace(bytes, at + 1);
    let token = 0;
    at = start;
    for (let digit = bytes[at]! - 0x30; digit >= 0 && digit <= 9 && token <= MAX_TOKEN; digit = bytes[++at]! - 0x30)
      token = token * 10 + digit;
    const isNumber = at === start + 1 || (at > start && bytes[start] !== 0x30);
    if (!isNumber || token > MAX_TOKEN || count === room) return null;
    tokens[count++] = token;
    at = skipWhitespace(bytes, at);
  } while (bytes[at] === COMMA);
  if (bytes[at] !== CLOSE_BRACKET) return null;
  reader.at = at + 1;
  return tokens.slice(0, count);
}

/** -1: there is none at the cursor. */
function readToken(reader: JsonReader): number {
  const start = skipWhitespace(reader.bytes, reader.at);
  const token = reader.readInteger();
  if (token !== undefined && token >= 0 && token <= MAX_TOKEN) return token;
  reader.at = start;
  return -1;
}

function wrongToken(reader: JsonReader, where: string): Error {
  return invalidArgument(`${where}: expected a token id, got ${describeJson(reader.bytes, reader.at)}`);
}

function tooManyTokens(): Error {
  return invalidArgument(`prompt: expected at most ${MAX_PROMPT_TOKENS} token ids in one call`);
}
