import { invalidArgument } from '../../../proto/inference-error.ts';
import { ATTENTION_ARCHITECTURES } from './attention-architectures.ts';
import type { GgufMetadata } from './gguf-metadata.ts';

/** llama.cpp's own bounds: past them, it ends the process. */
const MAX_LAYERS = 512;
const MAX_EXPERTS = 1024;
const MAX_LENGTH = 1_048_576;
const MAX_CONTEXT = 0x7fff_ffff;
const MAX_HEADS = 16_384;

const SCALINGS: ReadonlySet<string> = new Set(['none', 'linear', 'yarn', 'longrope']);

/** Holds the sizes and divisors of a model to what llama.cpp takes for granted. Throws INVALID_ARGUMENT: the key, what is expected and what is there. */
export function checkHyperparameters(metadata: GgufMetadata, architecture: string): void {
  const at = (key: string): string => `${architecture}.${key}`;
  const isAttention = ATTENTION_ARCHITECTURES.has(architecture);
  const number = (key: string, least: number, most: number): number | null => {
    // Architectures to come may have one a layer of anything.
    if (!isAttention && typeof metadata.get(at(key)) === 'object') return null;
    return wholeNumber(metadata, at(key), least, most);
  };
  const required = (key: string, least: number, most: number): number => {
    const value = number(key, least, most);
    if (value === null && isAttention) throw invalidArgument(`metadata '${at(key)}': expected a number, got none`);
    return value ?? 0;
  };
  const layers = required('block_count', 1, MAX_LAYERS);
  required('context_length', 1, MAX_CONTEXT);
  const width = required('embedding_length', 1, MAX_LENGTH);
  number('nextn_predict_layers', 0, layers);
  for (const key of ['attention.key_length', 'attention.value_length', 'rope.dimension_count']) number(key, isAttention ? 1 : 0, 65_536);
  for (const key of ['attention.sliding_window', 'leading_dense_block_count', 'embedding_length_out']) number(key, 0, MAX_CONTEXT);
  const experts = number('expert_count', 0, MAX_EXPERTS) ?? 0;
  perLayer(metadata, at('expert_used_count'), layers, 0, experts);
  if (experts > 0 && !metadata.has(at('expert_used_count'))) {
    throw invalidArgument(`metadata '${at('expert_used_count')}': expected how many of ${experts} experts are used, got none`);
  }
  if (experts > 0 && metadata.get(at('expert_used_count')) === 0) number('expert_used_count', 1, experts);
  perLayer(metadata, at('feed_forward_length'), layers, 0, 16 * MAX_LENGTH);
  checkHeads(metadata, architecture, layers, width, isAttention);
  for (const key of ['attention.layer_norm_rms_epsilon', 'attention.layer_norm_epsilon']) decimal(metadata, at(key), 0, 1);
  for (const key of ['rope.freq_base', 'rope.freq_base_swa']) decimal(metadata, at(key), Number.MIN_VALUE, 1e30);
  for (const key of ['rope.scaling.factor', 'rope.scale_linear', 'rope.scaling.attn_factor']) decimal(metadata, at(key), 0, 1e9);
  const scaling = metadata.get(at('rope.scaling.type'));
  if (scaling !== undefined && (typeof scaling !== 'string' || !SCALINGS.has(scaling))) {
    throw invalidArgument(`metadata '${at('rope.scaling.type')}': expected one of ${[...SCALINGS].join(', ')}, got another`);
  }
}

function checkHeads(metadata: GgufMetadata, architecture: string, layers: number, width: number, isAttention: boolean): void {
  const key = `${architecture}.attention.head_count`;
  const heads = perLayer(metadata, key, layers, 0, MAX_HEADS);
  const kvHeads = perLayer(metadata, `${key}_kv`, layers, 0, MAX_HEADS) ?? heads;
  if (!isAttention) return;
  if (heads === null) throw invalidArgument(`metadata '${key}': expected a number, got none`);
  // An array is of a model whose layers differ: some may have no attention.
  if (heads.length > 1 || kvHeads!.length > 1) return;
  const [head, kvHead] = [heads[0]!, kvHeads![0]!];
  if (head < 1) throw invalidArgument(`metadata '${key}': expected 1 or more, got ${head}`);
  if (kvHead < 1 || head % kvHead !== 0) throw invalidArgument(`metadata '${key}_kv': expected a divisor of ${head} heads, got ${kvHead}`);
  if (!metadata.has(`${architecture}.attention.key_length`) && width % head !== 0) {
    throw invalidArgument(`metadata '${key}': expected a divisor of the embedding length ${width}, got ${head}`);
  }
}

/** One number for all layers, or one a layer; null: not there. */
function perLayer(metadata: GgufMetadata, key: string, layers: number, least: number, most: number): readonly number[] | null {
  const value = metadata.get(key);
  if (typeof value !== 'object') {
    const number = wholeNumber(metadata, key, least, most);
    return number === null ? null : [number];
  }
  if (value.numbers === null || value.length < layers || value.length === 0) {
    throw invalidArgument(`metadata '${key}': expected a number, or one for each of ${layers} layers, got an array of ${value.length}`);
  }
  for (const [layer, number] of value.numbers.entries()) {
    if (!Number.isSafeInteger(number) || number < least || number > most) {
      throw invalidArgument(`metadata '${key}[${layer}]': expected a whole number from ${least} to ${most}, got ${number}`);
    }
  }
  return value.numbers;
}

/** Null: the file has no such key. */
export function wholeNumber(metadata: GgufMetadata, key: string, least: number, most: number): number | null {
  const value = metadata.get(key);
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw invalidArgument(`metadata '${key}': expected a whole number from ${least} to ${most}, got ${describe(value)}`);
}

function decimal(metadata: GgufMetadata, key: string, least: number, most: number): void {
  const value = metadata.get(key);
  if (value === undefined || (typeof value === 'number' && value >= least && value <= most)) return;
  throw invalidArgument(`metadata '${key}': expected a number from ${least} to ${most}, got ${describe(value)}`);
}

function describe(value: NonNullable<ReturnType<GgufMetadata['get']>>): string {
  if (typeof value === 'string') return 'a text';
  return typeof value === 'object' ? `an array of ${value.length}` : String(value);
}
