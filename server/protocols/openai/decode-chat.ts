import { invalidArgument } from '../../../proto/inference-error.ts';
import { OPEN_BRACE, QUOTE } from '../oip-json/json-reader.ts';
import { BodyFields, isEmptyContainer, MAX_PROMPT_BYTES } from './body-fields.ts';
import type { GenerationSpec } from './generation-spec.ts';
import { readResponseFormat } from './response-format.ts';
import { checkOtherFields, checkSamplingSize, readSampling, unsupported } from './sampling-fields.ts';

/** Answers of one call, over all its prompts: each is a request of its own. */
export const MAX_CHOICES = 128;
/** Likeliest tokens beside each one. */
export const MAX_TOP_LOGPROBS = 20;
/** As models count tokens. */
export const MAX_COUNT: number = 2 ** 31 - 1;

const OWN: ReadonlySet<string> = new Set([
  ...['model', 'messages', 'max_completion_tokens', 'max_tokens', 'n', 'stream', 'stream_options', 'logprobs', 'top_logprobs'],
  ...['tools', 'tool_choice', 'response_format', 'modalities', 'add_generation_prompt'],
]);

const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['prompt', "use 'messages', or /v1/completions"],
  ['input', "use 'messages'"],
  ['echo', 'an answer never repeats its messages'],
  ['max_output_tokens', "use 'max_completion_tokens'"],
]);

/** A body of `POST /v1/chat/completions`; reference section 6.2. Messages, tools and schemas are for the model's host to read. Throws INVALID_ARGUMENT. */
export function decodeChat(body: Uint8Array): GenerationSpec {
  const fields = new BodyFields(body, MAX_PROMPT_BYTES);
  const model = readModel(fields);
  const paramNames = new Map([
    ['prompt', 'messages'],
    ['text_input', 'messages'],
    ['input_ids', 'messages'],
  ]);
  const messages = fields.container('messages', 'array');
  if (messages === null) throw invalidArgument('messages: missing; expected an array of at least one message');
  if (isEmptyContainer(messages)) throw invalidArgument('messages: expected at least one message, got an empty array');
  const ignored = checkOtherFields(fields, OWN, ELSEWHERE);
  const sampling = readSampling(fields);
  const { members } = sampling;
  const say = (name: string, member: string, asked: string): void => {
    members.push(`"${name}":${member}`);
    if (asked !== name) paramNames.set(name, asked);
    if (sampling.first === '') sampling.first = asked;
  };

  const maxTokensName = fields.has('max_completion_tokens') ? 'max_completion_tokens' : 'max_tokens';
  const maxTokens = fields.integer(maxTokensName, 1, MAX_COUNT);
  if (maxTokens !== null) say('max_tokens', String(maxTokens), maxTokensName);

  const wantsLogprobs = fields.flag('logprobs') ?? false;
  const topLogprobs = fields.integer('top_logprobs', 0, MAX_TOP_LOGPROBS);
  if (topLogprobs !== null && topLogprobs > 0 && !wantsLogprobs) throw invalidArgument("top_logprobs: needs 'logprobs' to be true");
  if (wantsLogprobs) say('logprobs', String(topLogprobs ?? 0), 'logprobs');
  readResponseFormat(fields, say);
  checkSamplingSize(members, paramNames);
  if (fields.has('modalities') && !/^\[\s*"text"\s*\]$/.test(fields.rawText('modalities')!)) {
    throw unsupported('modalities', 'models here give text only: ["text"]');
  }
  if (fields.flag('add_generation_prompt') === false) throw unsupported('add_generation_prompt', 'an answer always begins a message');

  const isStream = fields.flag('stream') ?? false;
  return {
    kind: 'chat',
    model,
    prompts: [{ kind: 'messages', json: messages }],
    n: fields.integer('n', 1, MAX_CHOICES) ?? 1,
    isStream,
    includesUsage: readStreamOptions(fields, isStream),
    echoes: false,
    wantsLogprobs,
    wantsAllThatFits: maxTokens === null,
    sampling: members,
    seed: sampling.seed,
    firstSamplingField: sampling.first,
    tools: readTools(fields),
    toolChoice: readToolChoice(fields),
    paramNames,
    ignored,
  };
}

export function readModel(fields: BodyFields): string {
  const model = fields.text('model');
  if (model === null || model === '') throw invalidArgument('model: missing; expected the name of a model, as GET /v1/models lists them');
  return model;
}

/** Whether a last chunk with the usage is wanted. */
export function readStreamOptions(fields: BodyFields, isStream: boolean): boolean {
  if (fields.container('stream_options', 'object') === null) return false;
  if (!isStream) throw invalidArgument("stream_options: only allowed where 'stream' is true");
  return fields.walk('stream_options', (reader) => {
    let includesUsage = false;
    reader.enter(OPEN_BRACE);
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (!reader.stringIs('include_usage')) {
        reader.skipValue();
        continue;
      }
      const value = reader.readBoolean();
      if (value === undefined) throw invalidArgument('stream_options.include_usage: expected true or false');
      includesUsage = value;
    }
    return includesUsage;
  });
}

function readTools(fields: BodyFields): Uint8Array | null {
  const tools = fields.container('tools', 'array');
  return tools === null || isEmptyContainer(tools) ? null : tools;
}

function readToolChoice(fields: BodyFields): Uint8Array | null {
  const choice = fields.raw('tool_choice');
  if (choice === null) return null;
  const c = choice[0];
  if (c !== QUOTE && c !== OPEN_BRACE) throw fields.wrong('tool_choice', 'a string or an object');
  // Without tools there is nothing to choose among; only the two that mean "no call is due" can be met.
  if (readTools(fields) === null) {
    const text = fields.rawText('tool_choice');
    if (text !== '"none"' && text !== '"auto"') throw invalidArgument("tool_choice: only allowed where 'tools' has some");
    return null;
  }
  return choice;
}
