import type { FileHandle } from 'node:fs/promises';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { checkHyperparameters, wholeNumber } from './check-hyperparameters.ts';
import { checkTensorTypes } from './check-tensor-types.ts';
import { GgufCursor, TruncatedGguf } from './gguf-cursor.ts';
import { type GgufMetadata, readMetadata } from './gguf-metadata.ts';
import type { GgufSummary, PoolingKind } from './gguf-summary.ts';
import { readTensors } from './gguf-tensors.ts';

/** The largest vocabularies take some 20 MB, with their merges. */
const MAX_HEADER_BYTES = 256 * 1024 * 1024;
/** Fewer hold no model: magic, version and two counts. */
const FIXED_BYTES = 24;
/** Tokens, where the file has no list of them. */
const MAX_VOCABULARY = 1_048_576;
const DEFAULT_ALIGNMENT = 32;
/** Tensor data begins at a multiple of it, so it pads as much. */
const MAX_ALIGNMENT = 65_536;

const POOLING_KINDS: readonly PoolingKind[] = ['none', 'mean', 'cls', 'last', 'rank'];
const TEXT_KEYS: ReadonlySet<string> = new Set([
  'general.architecture',
  'general.name',
  'general.type',
  'tokenizer.ggml.model',
  'tokenizer.ggml.pre',
  'tokenizer.chat_template',
]);
const NO_TOKENIZER: ReadonlySet<string> = new Set(['', 'none', 'no_vocab']);
const TEMPLATE_PREFIX = 'tokenizer.chat_template.';
const SPECIAL_TOKEN = /^tokenizer\.ggml\.([a-z_]{1,32})_token_id$/;

/**
 * Reads the header of a GGUF file (version 2 or 3, little-endian) without its tensors, and holds it to what llama.cpp takes for granted: so that no size or divisor of the
 * file is used unseen. `byteLength` is the file's size. A few milliseconds at a time.
 *
 * @throws TruncatedGguf (an InferenceError): the file ends too early. InferenceError INVALID_ARGUMENT: the field, what is expected and what is there. Besides: the file system's error.
 */
export async function readGguf(file: FileHandle, byteLength: number): Promise<GgufSummary> {
  const cursor = new GgufCursor(file, byteLength, MAX_HEADER_BYTES);
  await checkMagic(cursor);
  await cursor.fill(FIXED_BYTES - 4, 'its header');
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) throw invalidArgument(`version: ${versionFault(version)}`);
  const tensorCount = cursor.uint64();
  const metadata = await readMetadata(
    cursor,
    cursor.uint64(),
    (key) => TEXT_KEYS.has(key) || key.startsWith(TEMPLATE_PREFIX) || key.endsWith('.rope.scaling.type'),
  );
  const alignment = alignmentOf(metadata);
  checkSplit(metadata);
  const tensors = await readTensors(cursor, tensorCount, alignment);
  const architecture = textOf(metadata, 'general.architecture');
  if (architecture === '') throw invalidArgument(`metadata 'general.architecture': expected the model's architecture, got none`);
  const kind = textOf(metadata, 'general.type') || 'model';
  const vocabularyLength = vocabularyOf(metadata, architecture);
  if (kind === 'model') {
    checkHyperparameters(metadata, architecture);
    checkTensorTypes(tensors.byName, architecture);
    // Without one, llama.cpp ends the process at the first text.
    if (NO_TOKENIZER.has(textOf(metadata, 'tokenizer.ggml.model')))
      throw invalidArgument(
        "metadata 'tokenizer.ggml.model': expected how texts become tokens, got none; convert the model with its tokenizer",
      );
  }
  // One a layer, of some architectures: what is meant is not one number.
  const number = (key: string): number => {
    const name = `${architecture}.${key}`;
    return typeof metadata.get(name) === 'object' ? 0 : (wholeNumber(metadata, name, 0, Number.MAX_SAFE_INTEGER) ?? 0);
  };
  return {
    version,
    architecture,
    kind,
    name: textOf(metadata, 'general.name'),
    contextLength: number('context_length'),
    embeddingLength: number('embedding_length'),
    blockCount: number('block_count'),
    headSize:
      number('attention.key_length') ||
      Math.floor(number('embedding_length') / (number('attention.head_count') || Number.POSITIVE_INFINITY)),
    slidingWindow: number('attention.sliding_window'),
    pooling: poolingOf(metadata, architecture),
    isCausal: metadata.get(`${architecture}.attention.causal`) !== false,
    hasClassifier: tensors.byName.has('cls.weight') || tensors.byName.has('cls.output.weight'),
    tokenizer: textOf(metadata, 'tokenizer.ggml.model'),
    vocabularyLength,
    specialTokens: specialTokensOf(metadata, vocabularyLength),
    chatTemplate: textOf(metadata, 'tokenizer.chat_template') || null,
    namedChatTemplates: namedTemplates(metadata),
    tensorCount,
    tensorBytes: tensors.byteLength,
    dataOffset: tensors.dataOffset,
  };
}

async function checkMagic(cursor: GgufCursor): Promise<void> {
  if (cursor.byteLength === 0) throw new TruncatedGguf('is empty');
  await cursor.fill(4, 'its magic bytes');
  const magic = cursor.uint32();
  if (magic === 0) throw new TruncatedGguf('holds zeros where its magic bytes should be: space that was set aside and is not written yet');
  // "GGUF"
  if (magic !== 0x46554747) {
    const bytes = [magic & 255, (magic >> 8) & 255, (magic >> 16) & 255, magic >>> 24];
    const got = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw invalidArgument(`magic bytes: expected 47 47 55 46 ("GGUF"), got ${got}${textInstead(bytes)}`);
  }
}

/** What a download often leaves in place of the file. */
function textInstead(bytes: readonly number[]): string {
  if (!bytes.every((byte) => byte >= 32 && byte < 127)) return '';
  const text = String.fromCharCode(...bytes);
  if (text === 'vers') return ' ("vers", as a Git LFS pointer begins: fetch the file itself with git lfs pull)';
  if (/^<(!do|htm|\?xm)/i.test(text)) return ` ("${text}", as a web page begins: download the file itself)`;
  return ` ("${text}")`;
}

function versionFault(version: number): string {
  // The bytes of a small number, the other way round.
  if (version !== 0 && (version & 0xffff) === 0) return 'expected a little-endian file, got a big-endian one; convert it';
  if (version === 1) return 'expected 2 or 3, got 1, which is no longer read; convert it';
  return `expected 2 or 3, got ${version}`;
}

function alignmentOf(metadata: GgufMetadata): number {
  const given = wholeNumber(metadata, 'general.alignment', 1, MAX_ALIGNMENT) ?? DEFAULT_ALIGNMENT;
  if ((given & (given - 1)) !== 0) throw invalidArgument(`metadata 'general.alignment': expected a power of two, got ${given}`);
  return given;
}

function checkSplit(metadata: GgufMetadata): void {
  const pieces = wholeNumber(metadata, 'split.count', 0, 65_535) ?? 0;
  if (pieces <= 1) return;
  const piece = (wholeNumber(metadata, 'split.no', 0, 65_535) ?? 0) + 1;
  throw invalidArgument(
    `metadata 'split.count': expected a model in one file, got piece ${piece} of ${pieces}; join them with llama-gguf-split --merge`,
  );
}

function vocabularyOf(metadata: GgufMetadata, architecture: string): number {
  const declared = wholeNumber(metadata, `${architecture}.vocab_size`, 0, MAX_VOCABULARY) ?? 0;
  const tokens = metadata.get('tokenizer.ggml.tokens');
  if (tokens === undefined) return declared;
  if (typeof tokens !== 'object' || tokens.type !== 'STRING')
    throw invalidArgument(`metadata 'tokenizer.ggml.tokens': expected an array of texts`);
  for (const name of ['scores', 'token_type']) {
    const beside = metadata.get(`tokenizer.ggml.${name}`);
    if (beside === undefined) continue;
    if (typeof beside !== 'object' || beside.length !== tokens.length) {
      const got = typeof beside === 'object' ? beside.length : 'no array';
      throw invalidArgument(`metadata 'tokenizer.ggml.${name}': expected an array of ${tokens.length} values, one a token, got ${got}`);
    }
  }
  return tokens.length;
}

function specialTokensOf(metadata: GgufMetadata, vocabularyLength: number): Map<string, number> {
  const found = new Map<string, number>();
  for (const key of metadata.keys()) {
    const name = SPECIAL_TOKEN.exec(key)?.[1];
    if (name === undefined) continue;
    // Some files give -1 for none, or the same as an unsigned number. llama.cpp passes over what is no token, too.
    const id = wholeNumber(metadata, key, -1, 0xffff_ffff)!;
    if (id >= 0 && id < vocabularyLength) found.set(name, id);
  }
  return found;
}

function poolingOf(metadata: GgufMetadata, architecture: string): PoolingKind | null {
  const given = wholeNumber(metadata, `${architecture}.pooling_type`, -1, 0xffff_ffff);
  if (given === null || given === -1 || given === 0xffff_ffff) return null;
  const kind = POOLING_KINDS[given];
  if (kind !== undefined) return kind;
  throw invalidArgument(
    `metadata '${architecture}.pooling_type': expected a number from 0 to 4 (${POOLING_KINDS.join(', ')}), got ${given}`,
  );
}

function namedTemplates(metadata: GgufMetadata): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of metadata) {
    if (key.startsWith(TEMPLATE_PREFIX) && typeof value === 'string') found.set(key.slice(TEMPLATE_PREFIX.length), value);
  }
  return found;
}

/** '' where there is none. */
function textOf(metadata: GgufMetadata, key: string): string {
  const value = metadata.get(key);
  if (value === undefined) return '';
  if (typeof value !== 'string') throw invalidArgument(`metadata '${key}': expected a text`);
  return value;
}
