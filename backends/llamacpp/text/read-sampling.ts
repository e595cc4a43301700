import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { SamplerSettings } from '../engine/generation-job.ts';
import * as read from './sampling-values.ts';
import { textMetadata } from './text-metadata.ts';

/** What a request asks of the generation; ranges have been checked. */
export interface TextSampling {
  readonly maxTokens: number;
  readonly minTokens: number;
  readonly settings: SamplerSettings;
  readonly stops: readonly string[];
  readonly showsStop: boolean;
  readonly stopTokens: ReadonlySet<number>;
  readonly ignoresEnd: boolean;
  /** Alternatives beside each token; -1: no log probabilities. */
  readonly logprobs: number;
  /** A JSON value; undefined: any text. */
  readonly jsonSchema: unknown;
  /** GBNF. */
  readonly grammar: string | null;
  readonly isJsonObject: boolean;
  readonly parallelToolCalls: boolean;
}

export interface SamplingLimits {
  /** Of the vocabulary. */
  readonly vocabularySize: number;
  /** Where a request says nothing. */
  readonly defaultMaxTokens: number;
  /** A request may not ask for more; what doesn't fit the context is cut later. */
  readonly maxOutputTokens: number;
}

export type RequestParameters = Readonly<Record<string, string | number | boolean>>;

/** Text of `sampling_parameters`, and of any schema or grammar in a request parameter. */
const MAX_TEXT_BYTES = 1024 * 1024;
const MAX_STOP_TOKENS = 256;
/** Logits are divided by both: by less, they would leave the range of 32-bit floats. Below it a temperature is 0, the likeliest token. */
const MIN_TEMPERATURE = 1e-4;
const MIN_REPETITION_PENALTY = 0.01;

const NAMES = [
  'max_tokens',
  'min_tokens',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'seed',
  'stop',
  'include_stop_str_in_output',
  'stop_token_ids',
  'ignore_eos',
  'repetition_penalty',
  'frequency_penalty',
  'presence_penalty',
  'logit_bias',
  'logprobs',
  'json_schema',
  'grammar',
  'json_object',
  'parallel_tool_calls',
] as const;

type SamplingName = (typeof NAMES)[number];
type Given = Partial<Record<SamplingName, unknown>>;

export const SAMPLING_NAMES: readonly string[] = NAMES;
const known: ReadonlySet<string> = new Set(NAMES);

/**
 * Reads the JSON text of the input `sampling_parameters` (null: none came) and the request parameters, which win. Names as Triton's vLLM backend
 * takes them, with llama.cpp's and OpenAI's beside them. In a request parameter, which is no list or object, JSON text stands for one. Throws
 * INVALID_ARGUMENT that begins with the parameter's name.
 */
export function readSampling(json: string | null, parameters: RequestParameters, limits: SamplingLimits): TextSampling {
  const given: Given = {};
  if (json !== null) collect(given, parseObject(json));
  collect(given, parameters);
  if (typeof parameters['stop'] === 'string') given.stop = read.listedStops(parameters['stop']);
  const logprobs = read.integer('logprobs', given.logprobs, 0, 20) ?? -1;
  const maxTokens = readMaxTokens(given.max_tokens, limits);
  const minTokens = read.integer('min_tokens', given.min_tokens, 0, read.MAX_COUNT) ?? 0;
  if (minTokens > maxTokens) throw invalidArgument(`min_tokens: expected at most max_tokens, which is ${maxTokens}, got ${minTokens}`);
  const jsonSchema = readSchema(given.json_schema);
  const grammar = read.text('grammar', given.grammar, MAX_TEXT_BYTES) ?? null;
  const isJsonObject = read.flag('json_object', given.json_object) ?? false;
  if (Number(jsonSchema !== undefined) + Number(grammar !== null) + Number(isJsonObject) > 1) {
    throw invalidArgument(
      `${grammar === null ? 'json_object' : 'grammar'}: expected one of json_schema, grammar and json_object, got more than one`,
    );
  }
  return {
    maxTokens,
    minTokens,
    settings: readSettings(given, limits.vocabularySize),
    stops: read.stops('stop', given.stop),
    showsStop: read.flag('include_stop_str_in_output', given.include_stop_str_in_output) ?? false,
    stopTokens: new Set(read.tokens('stop_token_ids', given.stop_token_ids, limits.vocabularySize, MAX_STOP_TOKENS)),
    ignoresEnd: read.flag('ignore_eos', given.ignore_eos) ?? false,
    logprobs,
    jsonSchema,
    grammar,
    isJsonObject,
    parallelToolCalls: read.flag('parallel_tool_calls', given.parallel_tool_calls) ?? true,
  };
}

function readSettings(given: Given, vocabularySize: number): SamplerSettings {
  const topP = read.number('top_p', given.top_p, 0, 1);
  if (topP === 0) throw invalidArgument('top_p: expected a number above 0, up to 1, got 0');
  const topK = read.integer('top_k', given.top_k, -1, read.MAX_COUNT);
  const minP = read.number('min_p', given.min_p, 0, 1);
  const repetitionPenalty = read.number('repetition_penalty', given.repetition_penalty, MIN_REPETITION_PENALTY, 2);
  const temperature = read.number('temperature', given.temperature, 0, 2) ?? 1;
  const frequencyPenalty = read.number('frequency_penalty', given.frequency_penalty, -2, 2);
  const presencePenalty = read.number('presence_penalty', given.presence_penalty, -2, 2);
  const logitBias = read.logitBias('logit_bias', given.logit_bias, vocabularySize);
  const seed = read.seed('seed', given.seed);
  const hasPenalty = (repetitionPenalty ?? 1) !== 1 || (frequencyPenalty ?? 0) !== 0 || (presencePenalty ?? 0) !== 0;
  return {
    temperature: temperature < MIN_TEMPERATURE ? 0 : temperature,
    ...(topP !== undefined && topP < 1 && { topP }),
    ...(topK !== undefined && topK > 0 && { topK }),
    ...(minP !== undefined && minP > 0 && { minP }),
    ...(repetitionPenalty !== undefined && repetitionPenalty !== 1 && { repetitionPenalty }),
    ...(frequencyPenalty !== undefined && frequencyPenalty !== 0 && { frequencyPenalty }),
    ...(presencePenalty !== undefined && presencePenalty !== 0 && { presencePenalty }),
    ...(hasPenalty && { penaltyLastTokens: -1 }),
    ...(logitBias !== undefined && { logitBias }),
    ...(seed !== undefined && { seed }),
  };
}

function readMaxTokens(value: unknown, { defaultMaxTokens, maxOutputTokens }: SamplingLimits): number {
  const given = read.integer('max_tokens', value, 1, read.MAX_COUNT);
  if (given === undefined) return Math.min(defaultMaxTokens, maxOutputTokens);
  if (given > maxOutputTokens)
    throw invalidArgument(`max_tokens: expected at most ${maxOutputTokens}, the model's max_output_tokens, got ${given}`);
  return given;
}

function readSchema(value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  const schema = typeof value === 'string' ? read.json('json_schema', value, MAX_TEXT_BYTES) : value;
  if (typeof schema !== 'boolean' && (typeof schema !== 'object' || schema === null || Array.isArray(schema))) {
    throw invalidArgument(`json_schema: expected a JSON schema, an object or its text, got ${read.shown(value)}`);
  }
  return schema;
}

function parseObject(json: string): Readonly<Record<string, unknown>> {
  const value = read.json('sampling_parameters', json, MAX_TEXT_BYTES);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalidArgument(`sampling_parameters: expected a JSON object, got ${read.shown(value)}`);
}

function collect(given: Given, values: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(values)) {
    if (!known.has(name)) throw unknownName(name);
    given[name as SamplingName] = values[name];
  }
}

function unknownName(name: string): Error {
  const shown = name.length > 80 ? `${name.slice(0, 80)}...` : name;
  if (textMetadata.inputs.some((input) => input.name === name)) {
    return invalidArgument(`${name}: no sampling parameter but an input of this model; send it as an input tensor`);
  }
  if (name === 'max_completion_tokens') return invalidArgument(`${shown}: no sampling parameter of this model; use max_tokens`);
  return invalidArgument(
    `${shown}: no sampling parameter of this model${didYouMean(name, SAMPLING_NAMES) || `; it has ${SAMPLING_NAMES.join(', ')}`}`,
  );
}
