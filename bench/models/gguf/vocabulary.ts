import type { GgufValue } from './write-gguf.ts';

export interface Vocabulary {
  readonly metadata: Readonly<Record<string, GgufValue>>;
  /** As in the file. */
  readonly tokens: readonly string[];
  /** Tokens that stand for no text: beginnings, ends, roles. */
  readonly control: readonly number[];
  readonly beginning: number;
  readonly end: number;
  /** Tokens whose text alone is printable ASCII (a line break too). */
  readonly readable: ReadonlySet<number>;
}

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

/** What pairs are learned from. */
const SAMPLE =
  'the quick brown fox jumps over the lazy dog and then the other one said that this is what there was to hear in the end of the matter ' +
  'she sells sea shells at the shore where the wind and the water are never quite still for long when it rains it pours ' +
  'to be or not to be that is the question whether it is better in the mind to suffer the strings and arrows of some great thing';

/** Byte-level pairs as GPT-2 has them: every text can be written. `length`: tokens in all, at least 261. */
export function bytePairVocabulary(length: number, chatTemplate: string | null): Vocabulary {
  const names = byteNames();
  const words = SAMPLE.split(' ').map((word) => [...Buffer.from(` ${word}`)].map((byte) => names[byte]!));
  const special = ['<|begin|>', '<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  const pairs = learnPairs(words, length - 256 - special.length);
  const tokens = [...names, ...pairs.map(([left, right]) => left + right)];
  // What the sample does not yield is filled up, so that a vocabulary has the length that was asked for.
  for (let i = 0; tokens.length < length - special.length; i++) tokens.push(`${names[0x20]}word${i}`);
  const firstSpecial = tokens.length;
  tokens.push(...special);
  const control = special.map((_, index) => firstSpecial + index);
  const readable = new Set<number>();
  for (let id = 0; id < firstSpecial; id++) {
    if ([...tokens[id]!].every((name) => isReadable(names.indexOf(name)))) readable.add(id);
  }
  return {
    tokens,
    control,
    beginning: firstSpecial,
    end: firstSpecial + 1,
    readable,
    metadata: {
      'tokenizer.ggml.model': text('gpt2'),
      'tokenizer.ggml.pre': text('gpt-2'),
      'tokenizer.ggml.tokens': texts(tokens),
      'tokenizer.ggml.token_type': int32s(tokens.map((_, id) => (id < firstSpecial ? NORMAL : CONTROL))),
      'tokenizer.ggml.merges': texts(pairs.map(([left, right]) => `${left} ${right}`)),
      'tokenizer.ggml.bos_token_id': uint32(firstSpecial),
      'tokenizer.ggml.eos_token_id': uint32(firstSpecial + 1),
      'tokenizer.ggml.eot_token_id': uint32(firstSpecial + 3),
      'tokenizer.ggml.add_bos_token': { type: 'bool', value: false },
      ...(chatTemplate === null ? {} : { 'tokenizer.chat_template': text(chatTemplate) }),
    },
  };
}

/** Pieces with scores as SentencePiece has them; what no piece has is written in byte tokens. */
export function sentencePieceVocabulary(length: number, chatTemplate: string | null): Vocabulary {
  const words = SAMPLE.split(' ').map((word) => [...`▁${word}`]);
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const letters = ['▁', ...Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index))];
  const special = ['<|im_start|>', '<|im_end|>'];
  const head = ['<unk>', '<s>', '</s>', ...bytes, ...letters];
  const pairs = learnPairs(words, length - head.length - special.length);
  const tokens = [...head, ...pairs.map(([left, right]) => left + right)];
  for (let i = 0; tokens.length < length - special.length; i++) tokens.push(`▁word${i}`);
  const firstSpecial = tokens.length;
  tokens.push(...special);
  const readable = new Set<number>([3 + 0x0a]);
  for (let id = 259; id < firstSpecial; id++) readable.add(id);
  const types = tokens.map((_, id) => (id === 0 ? UNKNOWN : id < 3 || id >= firstSpecial ? CONTROL : id < 259 ? BYTE : NORMAL));
  return {
    tokens,
    control: [0, 1, 2, firstSpecial, firstSpecial + 1],
    beginning: 1,
    end: 2,
    readable,
    metadata: {
      'tokenizer.ggml.model': text('llama'),
      'tokenizer.ggml.pre': text('default'),
      'tokenizer.ggml.tokens': texts(tokens),
      'tokenizer.ggml.scores': {
        type: 'array',
        of: 'float32',
        values: tokens.map((_, id) => (id < 259 ? 0 : 259 + letters.length - 1 - id)),
      },
      'tokenizer.ggml.token_type': int32s(types),
      'tokenizer.ggml.bos_token_id': uint32(1),
      'tokenizer.ggml.eos_token_id': uint32(2),
      'tokenizer.ggml.unknown_token_id': uint32(0),
      'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
      'tokenizer.ggml.add_eos_token': { type: 'bool', value: false },
      ...(chatTemplate === null ? {} : { 'tokenizer.chat_template': text(chatTemplate) }),
    },
  };
}

/** Word pieces as BERT has them: the words of the sample, and every letter alone and inside a word. */
export function wordPieceVocabulary(): Vocabulary {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const characters = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).filter((letter) => !/[A-Z]/.test(letter));
  const words = new Set(SAMPLE.split(' ').filter((word) => word.length > 1));
  // The beginning of a word is marked in GGUF, where BERT's own files mark what goes on.
  const tokens = [...special, ...characters.map((letter) => `▁${letter}`), ...characters, ...[...words].map((word) => `▁${word}`)];
  return {
    tokens,
    control: [0, 1, 2, 3, 4],
    beginning: 2,
    end: 3,
    readable: new Set(tokens.keys()),
    metadata: {
      'tokenizer.ggml.model': text('bert'),
      'tokenizer.ggml.pre': text('default'),
      'tokenizer.ggml.tokens': texts(tokens),
      'tokenizer.ggml.token_type': int32s(tokens.map((_, id) => (id === 1 ? UNKNOWN : id < 5 ? CONTROL : NORMAL))),
      'tokenizer.ggml.token_type_count': uint32(2),
      'tokenizer.ggml.bos_token_id': uint32(2),
      'tokenizer.ggml.cls_token_id': uint32(2),
      'tokenizer.ggml.eos_token_id': uint32(3),
      'tokenizer.ggml.seperator_token_id': uint32(3),
      'tokenizer.ggml.unknown_token_id': uint32(1),
      'tokenizer.ggml.padding_token_id': uint32(0),
      'tokenizer.ggml.mask_token_id': uint32(4),
    },
  };
}

/** The most frequent neighbours are joined, again and again. */
function learnPairs(words: string[][], count: number): [string, string][] {
  const pairs: [string, string][] = [];
  const made = new Set<string>();
  while (pairs.length < count) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    let best: string | null = null;
    for (const [pair, times] of counts) {
      if (!made.has(pair.replace(' ', '')) && (best === null || times > counts.get(best)!)) best = pair;
    }
    if (best === null) break;
    const [left, right] = best.split(' ') as [string, string];
    pairs.push([left, right]);
    made.add(left + right);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
    }
  }
  return pairs;
}

/** The printable character that stands for each byte: itself where it is one, else the next of those from U+0100 on. */
function byteNames(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
}

function isReadable(byte: number): boolean {
  return byte === 0x0a || (byte >= 0x20 && byte < 0x7f);
}

function text(value: string): GgufValue {
  return { type: 'string', value };
}

function uint32(value: number): GgufValue {
  return { type: 'uint32', value };
}

function texts(values: readonly string[]): GgufValue {
  return { type: 'array', of: 'string', values };
}

function int32s(values: readonly number[]): GgufValue {
  return { type: 'array', of: 'int32', values };
}
