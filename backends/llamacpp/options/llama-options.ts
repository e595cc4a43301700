import { availableParallelism } from 'node:os';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { ModelConfig } from '../../api/model-config.ts';

export type LlamaTask = 'generate' | 'embed' | 'rerank';
export type Pooling = 'mean' | 'cls' | 'last' | 'rank';
export type ToolCallFormat = 'hermes' | 'llama3-json' | 'mistral' | 'none';

/** What a configuration's `parameters` say of a model. */
export interface LlamaOptions {
  /** Tokens of one sequence; null: what the model was trained with, but no more than 4096. */
  readonly contextSize: number | null;
  readonly sequences: number;
  readonly threads: number;
  /** `auto`: as many as fit into the GPU's memory. */
  readonly gpuLayers: number | 'auto';
  readonly flashAttention: boolean | 'auto';
  /** GGML types. */
  readonly kvKeyType: number;
  readonly kvValueType: number;
  /** Tokens of a step at most. */
  readonly batchSize: number;
  /** Prompt tokens of a step while others generate. */
  readonly prefillChunk: number;
  readonly loras: readonly LoraOption[];
  /** Jinja text; null: the file's own. */
  readonly chatTemplate: string | null;
  /** Of such a text, beside the model's file. */
  readonly chatTemplateFile: string | null;
  /** How the model writes tool calls; null: told from its template. */
  readonly toolCallFormat: ToolCallFormat | null;
  /** Null: what the file is for. */
  readonly task: LlamaTask | null;
  /** How tokens' vectors become one; null: as the file says. */
  readonly pooling: Pooling | null;
  /** Null: what the context holds. */
  readonly maxInputTokens: number | null;
  readonly maxOutputTokens: number | null;
  /** Where a request does not say. */
  readonly defaultMaxTokens: number;
  /** GBNF of clients. One that is ambiguous and recursive takes a step of any length, which no check tells beforehand. */
  readonly allowsGrammar: boolean;
  readonly usesMmap: boolean;
  readonly usesMlock: boolean;
}

export interface LoraOption {
  /** Beside the model's file, or below that directory. */
  readonly file: string;
  readonly scale: number;
}

export const DEFAULT_CONTEXT_SIZE = 4096;
const MAX_CONTEXT_SIZE = 1 << 24;
const MAX_SEQUENCES = 256;
const MAX_THREADS = 1024;
const MAX_LAYERS = 100_000;
const MAX_BATCH_SIZE = 65_536;
const MAX_LORAS = 16;
const MAX_LORA_SCALE = 100;
const MAX_TEMPLATE_LENGTH = 1 << 20;

const kvTypes: Readonly<Record<string, number>> = { f32: 0, f16: 1, bf16: 30, q8_0: 8, q5_1: 7, q5_0: 6, q4_1: 3, q4_0: 2, iq4_nl: 20 };
/** Of the KV cache: not quantized. */
export const PLAIN_TYPES: readonly number[] = [0, 1, 30];

const NAMES = [
  'context_size',
  'sequences',
  'threads',
  'gpu_layers',
  'flash_attention',
  'kv_cache_type',
  'kv_cache_type_k',
  'kv_cache_type_v',
  'batch_size',
  'prefill_chunk',
  'lora',
  'chat_template',
  'tool_call_format',
  'task',
  'pooling',
  'max_input_tokens',
  'max_output_tokens',
  'default_max_tokens',
  'allow_grammar',
  'use_mmap',
  'use_mlock',
] as const;

type Name = (typeof NAMES)[number];

/** Throws INVALID_ARGUMENT for a name that is none, or a value that its name cannot have. */
export function readLlamaOptions(config: ModelConfig): LlamaOptions {
  const given = new Values(config);
  const sequences = given.whole('sequences', 1, MAX_SEQUENCES) ?? 4;
  // A step has a token of each sequence that generates, and prompt tokens of one that does not.
  const batchSize =
    given.whole('batch_size', sequences, MAX_BATCH_SIZE, ', one for each of the sequences at least') ?? Math.max(512, sequences);
  const kvType = given.oneOf('kv_cache_type', Object.keys(kvTypes)) ?? 'f16';
  const kvKeyType = kvTypes[given.oneOf('kv_cache_type_k', Object.keys(kvTypes)) ?? kvType]!;
  const kvValueType = kvTypes[given.oneOf('kv_cache_type_v', Object.keys(kvTypes)) ?? kvType]!;
  const flashAttention = given.autoOr('flash_attention', (name) => given.flag(name)) ?? 'auto';
  if (flashAttention === false && !PLAIN_TYPES.includes(kvValueType)) {
    throw invalidArgument(
      "parameters['flash_attention']: expected 'true' or 'auto' with quantized values in the KV cache, got 'false'; or set kv_cache_type_v to f16",
    );
  }
  const template = given.text('chat_template');
  const isFile = template?.startsWith('file:') ?? false;
  const contextSize = given.whole('context_size', 8, MAX_CONTEXT_SIZE);
  const mostTokens = contextSize ?? MAX_CONTEXT_SIZE;
  const maxOutputTokens = given.whole('max_output_tokens', 1, mostTokens);
  return {
    contextSize,
    sequences,
    threads: given.whole('threads', 1, MAX_THREADS) ?? Math.max(1, availableParallelism() - 1),
    gpuLayers: given.autoOr('gpu_layers', (name) => given.whole(name, 0, MAX_LAYERS)) ?? 'auto',
    flashAttention,
    kvKeyType,
    kvValueType,
    batchSize,
    prefillChunk: given.whole('prefill_chunk', 1, batchSize, ', no more than batch_size') ?? Math.min(128, batchSize),
    loras: readLoras(given.text('lora')),
    chatTemplate: isFile ? null : template,
    chatTemplateFile: isFile ? template!.slice('file:'.length) : null,
    toolCallFormat: given.oneOf('tool_call_format', ['hermes', 'llama3-json', 'mistral', 'none'] as const),
    task: given.oneOf('task', ['generate', 'embed', 'rerank'] as const),
    pooling: given.oneOf('pooling', ['mean', 'cls', 'last', 'rank'] as const),
    maxInputTokens: given.whole('max_input_tokens', 1, mostTokens),
    maxOutputTokens,
    defaultMaxTokens:
      given.whole('default_max_tokens', 1, maxOutputTokens ?? mostTokens, ', no more than max_output_tokens and context_size') ??
      Math.min(16, maxOutputTokens ?? mostTokens),
    allowsGrammar: given.flag('allow_grammar') ?? false,
    usesMmap: given.flag('use_mmap') ?? true,
    usesMlock: given.flag('use_mlock') ?? false,
  };
}

/** What a sequence's context is. Throws INVALID_ARGUMENT where more is asked for than the model can tell apart. `trained`: 0 where the file does not say. */
export function resolveContextSize(asked: number | null, trained: number): number {
  if (asked === null) return trained > 0 ? Math.min(trained, DEFAULT_CONTEXT_SIZE) : DEFAULT_CONTEXT_SIZE;
  if (trained > 0 && asked > trained) {
    throw invalidArgument(`parameters['context_size']: expected at most ${trained}, which the model was trained with, got ${asked}`);
  }
  return asked;
}

function readLoras(text: string | null): readonly LoraOption[] {
  if (text === null) return [];
  const parts = text.split(',').map((part) => part.trim());
  if (parts.length > MAX_LORAS) throw invalidArgument(`parameters['lora']: expected at most ${MAX_LORAS} files, got ${parts.length}`);
  return parts.map((part) => {
    const at = part.lastIndexOf('=');
    const file = at < 0 ? part : part.slice(0, at).trim();
    const scaleText = at < 0 ? '1' : part.slice(at + 1).trim();
    const scale = /^-?\d{1,3}(?:\.\d{1,9})?$/.test(scaleText) ? Number(scaleText) : Number.NaN;
    if (file === '' || !(Math.abs(scale) <= MAX_LORA_SCALE)) {
      throw invalidArgument(
        `parameters['lora']: expected "file.gguf" or "file.gguf=0.5" (a scale from -${MAX_LORA_SCALE} to ${MAX_LORA_SCALE}), several with commas between, got ${shown(part)}`,
      );
    }
    return { file, scale };
  });
}

class Values {
  readonly #values: ReadonlyMap<string, string>;

  constructor({ parameters }: ModelConfig) {
    for (const name of Object.keys(parameters)) {
      if (!(NAMES as readonly string[]).includes(name)) {
        throw invalidArgument(
          `parameters['${name.slice(0, 100)}']: no parameter of the llamacpp backend; it has ${NAMES.join(', ')}${didYouMean(name, NAMES)}`,
        );
      }
    }
    this.#values = new Map(Object.entries(parameters).map(([name, { stringValue }]) => [name, stringValue]));
  }

  /** Null: not given. */
  text(name: Name): string | null {
    const value = this.#values.get(name);
    if (value === undefined) return null;
    if (value.trim() === '') throw invalidArgument(`parameters['${name}']: expected a value, got ''; leave it out for the default`);
    if (value.length > MAX_TEMPLATE_LENGTH)
      throw invalidArgument(`parameters['${name}']: expected at most ${MAX_TEMPLATE_LENGTH} characters, got ${value.length}`);
    return value;
  }

  whole(name: Name, min: number, max: number, why = ''): number | null {
    const text = this.text(name)?.trim() ?? null;
    if (text === null) return null;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : -1;
    if (value < min || value > max) {
      throw invalidArgument(`parameters['${name}']: expected a whole number from ${min} to ${max}${why}, got ${shown(text)}`);
    }
    return value;
  }

  flag(name: Name): boolean | null {
    const text = this.text(name)?.trim().toLowerCase() ?? null;
    if (text === null) return null;
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
    throw invalidArgument(`parameters['${name}']: expected true or false, got ${shown(text)}`);
  }

  oneOf<T extends string>(name: Name, choices: readonly T[]): T | null {
    const text = this.text(name)?.trim().toLowerCase() ?? null;
    if (text === null) return null;
    const found = choices.find((choice) => choice === text);
    if (found === undefined)
      throw invalidArgument(`parameters['${name}']: expected ${choices.join(', ')}, got ${shown(text)}${didYouMean(text, choices)}`);
    return found;
  }

  autoOr<T>(name: Name, read: (name: Name) => T | null): T | 'auto' | null {
    if (this.text(name)?.trim().toLowerCase() === 'auto') return 'auto';
    try {
      return read(name);
    } catch (error) {
      throw invalidArgument((error as Error).message.replace(': expected ', ": expected 'auto' or "));
    }
  }
}

function shown(text: string): string {
  return `'${text.length > 60 ? `${text.slice(0, 60)}...` : text}'`;
}
