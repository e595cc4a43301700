import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { OPEN_BRACE, OPEN_BRACKET, QUOTE } from '../oip-json/json-reader.ts';
import type { BodyFields } from './body-fields.ts';
import { unknownFields } from './unknown-fields.ts';

/** Kinds of JSON, by what a value's first byte can be. */
type Kind = 'number' | 'flag' | 'text' | 'object' | 'list' | 'text or list';

const EXPECTED: Readonly<Record<Kind, string>> = {
  number: 'a number',
  flag: 'true or false',
  text: 'a string',
  object: 'an object',
  list: 'an array',
  'text or list': 'a string or an array of strings',
};

/** Carried to the model as they are: it knows the ranges. Names are the same on both sides. OpenAI's first, then those of vLLM and llama-server. */
const PASSED: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['temperature', 'number'],
  ['top_p', 'number'],
  ['frequency_penalty', 'number'],
  ['presence_penalty', 'number'],
  ['stop', 'text or list'],
  ['logit_bias', 'object'],
  ['parallel_tool_calls', 'flag'],
  ['top_k', 'number'],
  ['min_p', 'number'],
  ['repetition_penalty', 'number'],
  ['min_tokens', 'number'],
  ['ignore_eos', 'flag'],
  ['stop_token_ids', 'list'],
  ['include_stop_str_in_output', 'flag'],
  ['grammar', 'text'],
]);

/** What this server does not do: an answer that left it out would not be what was asked for. */
const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ['audio', 'models here give text only'],
  ['prediction', 'predicted outputs are not supported; leave it out'],
  ['web_search_options', 'there is no web search here'],
  ['functions', "the old form of tools is not supported: use 'tools'"],
  ['function_call', "the old form of tool_choice is not supported: use 'tool_choice'"],
  ['guided_json', "use 'response_format' of type json_schema"],
  ['guided_regex', "use 'response_format' of type json_schema with a pattern, or 'grammar' (GBNF) where the model allows it"],
  ['guided_choice', "use 'response_format' of type json_schema with an enum, or 'grammar' (GBNF) where the model allows it"],
  ['guided_grammar', "use 'grammar' (GBNF), where the model allows it"],
  ['structured_outputs', "use 'response_format' of type json_schema"],
  ['json_schema', "use 'response_format' of type json_schema"],
  ['chat_template', "the model's own is used"],
  ['chat_template_kwargs', "the model's own template is used as it is"],
  ['documents', 'put them into the messages'],
  ['continue_final_message', 'an answer always begins a message of its own'],
  ['prompt_logprobs', 'only tokens of answers have log probabilities'],
  ['use_beam_search', 'beam search is not supported'],
  ['best_of', "answers are not ranked: use 'n'"],
  ['suffix', 'text between two others is not supported'],
  ['max_new_tokens', "use 'max_tokens'"],
  ['n_predict', "use 'max_tokens'"],
  ['stop_sequences', "use 'stop'"],
  ['repeat_penalty', "use 'repetition_penalty'"],
]);

/** Schema and grammar included: each answer of a call has its own copy, for its seed. */
const MAX_SAMPLING_CHARS = 256 * 1024;

/** What the sampling parameters of a call are made of. */
export interface SamplingFields {
  readonly members: string[];
  readonly seed: number | null;
  /** The first one that was there; '' for none. */
  first: string;
}

/** Those that have the same name on both sides. */
export function readSampling(fields: BodyFields): SamplingFields {
  const members: string[] = [];
  let first = '';
  for (const [name, kind] of PASSED) {
    if (!fields.has(name)) continue;
    const c = fields.firstByte(name);
    if (!isOfKind(c, kind)) throw fields.wrong(name, EXPECTED[kind]);
    members.push(`"${name}":${fields.rawText(name)}`);
    if (first === '') first = name;
  }
  // What a double counts exactly, with room for one seed an answer.
  const seed = fields.integer('seed', Number.MIN_SAFE_INTEGER + 128, Number.MAX_SAFE_INTEGER - 128);
  if (seed !== null && first === '') first = 'seed';
  return { members, seed, first };
}

function isOfKind(c: number, kind: Kind): boolean {
  switch (kind) {
    case 'number':
      return c === 0x2d || (c >= 0x30 && c <= 0x39);
    case 'flag':
      return c === 0x74 || c === 0x66;
    case 'text':
      return c === QUOTE;
    case 'object':
      return c === OPEN_BRACE;
    case 'list':
      return c === OPEN_BRACKET;
    case 'text or list':
      return c === QUOTE || c === OPEN_BRACKET;
  }
}

/**
 * Looks at every member that the call itself (`own`) does not read: those that it would have to follow (`elsewhere`: this call alone; name to what to do) are refused; the rest is as
 * unknownFields says.
 */
export function checkOtherFields(fields: BodyFields, own: ReadonlySet<string>, elsewhere: ReadonlyMap<string, string>): string[] {
  const others: string[] = [];
  for (const name of fields.names()) {
    if (own.has(name) || PASSED.has(name) || name === 'seed' || !fields.has(name)) continue;
    const why = elsewhere.get(name) ?? UNSUPPORTED.get(name);
    if (why !== undefined) throw unsupported(name, why);
    if (name === 'store') {
      if (fields.flag(name) === true) throw unsupported(name, 'answers are not kept here; leave it out or say false');
      continue;
    }
    others.push(name);
  }
  return others.length === 0 ? others : unknownFields(others, [...own, ...PASSED.keys(), 'seed']);
}

/** Throws INVALID_ARGUMENT for what is too long together; the longest is named, as the client calls it. */
export function checkSamplingSize(members: readonly string[], paramNames: ReadonlyMap<string, string>): void {
  let total = 0;
  let longest = '';
  for (const member of members) {
    total += member.length;
    if (member.length > longest.length) longest = member;
  }
  if (total <= MAX_SAMPLING_CHARS) return;
  const name = longest.slice(1, longest.indexOf('"', 1));
  throw invalidArgument(
    `${paramNames.get(name) ?? name}: expected at most ${MAX_SAMPLING_CHARS} characters of all sampling parameters together, got ${total}`,
  );
}

export function unsupported(name: string, why: string): InferenceError {
  return invalidArgument(`${name}: not supported: ${why}`);
}
