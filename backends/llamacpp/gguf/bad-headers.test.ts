import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tinyLlama, tinyLlamaModel } from '../../../bench/models/gguf/small-models.ts';
import type { GgufTensorType } from '../../../bench/models/gguf/tensor-types.ts';
import { type GgufModel, type GgufValue, writeGguf } from '../../../bench/models/gguf/write-gguf.ts';
import { SeededRandom } from '../../../bench/statistics/seeded-random.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { changed, folder, Raw, read, uint32 } from './gguf-file.case.ts';
import { readGguf } from './read-gguf.ts';

const entry = (key: string, type: number): Raw => Raw.begin(1, 1).text(key).u32(type);
const llama = (key: string, value: GgufValue | null): Uint8Array => changed({ [`llama.${key}`]: value });

const bad: [string, Uint8Array, string][] = [
  ['another magic', Buffer.from('GGML0000000000000000000000000'), 'magic bytes: expected 47 47 55 46 ("GGUF"), got 47 47 4d 4c ("GGML")'],
  ['no text', Buffer.from('0001020300000000000000000000000000000000000000000000000000', 'hex'), 'got 00 01 02 03'],
  ['a pointer of Git LFS', Buffer.from('version https://git-lfs.github.com/spec/v1'), 'git lfs pull'],
  ['a web page', Buffer.from('<!DOCTYPE html><html><head>'), 'as a web page begins: download the file itself'],
  ['a zip', Buffer.from('PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaa'), 'magic bytes'],
  ['version 0', Raw.begin(1, 1, 0).bytes(), 'version: expected 2 or 3, got 0'],
  ['version 1', Raw.begin(1, 1, 1).bytes(), 'no longer read'],
  ['version 4', Raw.begin(1, 1, 4).bytes(), 'version: expected 2 or 3, got 4'],
  ['big-endian', Raw.begin(1, 1, 0x0300_0000).bytes(), 'big-endian'],
  ['2^63 entries', Raw.begin(1, 2n ** 63n).bytes(), 'metadata: expected at most 16384 entries'],
  ['more entries than bytes', Raw.begin(1, 10_000).bytes(), 'ends at byte'],
  ['2^64-1 tensors', Raw.begin(2n ** 64n - 1n, 0).bytes(), 'tensors: expected at most 65536'],
  ['no tensors', Raw.begin(0, 0).bytes(), 'tensors: expected some, got none'],
  ['more tensors than bytes', Raw.begin(60_000, 0).bytes(), 'ends at byte'],
  [
    'a key of 2^40 bytes',
    Raw.begin(1, 1)
      .u64(2n ** 40n)
      .bytes(),
    'the key of metadata entry 0: expected at most 65535 bytes',
  ],
  [
    'a key of 2^64-1 bytes',
    Raw.begin(1, 1)
      .u64(2n ** 64n - 1n)
      .bytes(),
    'expected at most 65535 bytes',
  ],
  ['an empty key', Raw.begin(1, 1).text('').u32(4).u32(1).bytes(), 'expected a key, got an empty one'],
  ['a key twice', Raw.begin(1, 2).text('a').u32(4).u32(1).text('a').u32(4).u32(2).bytes(), "metadata 'a': expected each key once"],
  ['value type 13', entry('a', 13).bytes(), "metadata 'a': expected a type from 0 to 12, got 13"],
  ['value type 2^32-1', entry('a', 0xffff_ffff).bytes(), 'expected a type from 0 to 12'],
  [
    'a text of 2^60 bytes',
    entry('general.name', 8)
      .u64(2n ** 60n)
      .bytes(),
    'ends at byte',
  ],
  [
    'an array of 2^60 numbers',
    entry('a', 9)
      .u32(4)
      .u64(2n ** 60n)
      .bytes(),
    "metadata 'a', an array of",
  ],
  [
    'an array of 2^62 texts',
    entry('a', 9)
      .u32(8)
      .u64(2n ** 62n)
      .bytes(),
    'ends at byte',
  ],
  [
    'an array whose first text is 2^50 long',
    entry('a', 9)
      .u32(8)
      .u64(1)
      .u64(2n ** 50n)
      .bytes(),
    'ends at byte',
  ],
  ['an array of arrays', entry('a', 9).u32(9).u64(1).bytes(), 'got an array of arrays'],
  ['an array of type 99', entry('a', 9).u32(99).u64(1).bytes(), 'expected a type from 0 to 12, got 99'],
  ['alignment 0', entry('general.alignment', 4).u32(0).bytes(), "metadata 'general.alignment': expected a whole number from 1"],
  ['alignment 48', entry('general.alignment', 4).u32(48).bytes(), 'expected a power of two, got 48'],
  [
    'alignment 2^31',
    entry('general.alignment', 4)
      .u32(2 ** 31)
      .bytes(),
    "metadata 'general.alignment': expected a whole number from 1 to 65536",
  ],
  ['alignment as a text', entry('general.alignment', 8).text('32').bytes(), "metadata 'general.alignment': expected a whole number"],
  ['a tensor name of 64 bytes', Raw.begin(1, 0).text('x'.repeat(64)).bytes(), 'the name of tensor 0: expected at most 63 bytes, got 64'],
  ['an empty tensor name', Raw.begin(1, 0).text('').u32(1).bytes(), 'expected a name, got an empty one'],
  ['a tensor without dimensions', Raw.begin(1, 1).tensor().bytes(), "tensor 'w': expected 1 to 4 dimensions, got 0"],
  ['5 dimensions', Raw.begin(1, 1).tensor(1, 1, 1, 1, 1).bytes(), 'expected 1 to 4 dimensions, got 5'],
  ['a dimension of 0', Raw.begin(1, 1).tensor(0).u32(0).u64(0).bytes(), 'expected dimension 0 to be 1 or more, got 0'],
  [
    'a negative dimension',
    Raw.begin(1, 1)
      .tensor(2n ** 64n - 1n)
      .u32(0)
      .u64(0)
      .bytes(),
    'expected dimension 0 to be 1 or more',
  ],
  [
    'dimensions whose product is 2^64',
    Raw.begin(1, 1)
      .tensor(2n ** 32n, 2n ** 32n)
      .u32(0)
      .u64(0)
      .bytes(),
    'expected fewer than 2^53 elements',
  ],
  ['tensor type 4, which is no more', Raw.begin(1, 1).tensor(32).u32(4).u64(0).bytes(), "tensor 'w': expected a known type, got 4"],
  [
    'tensor type 2^31',
    Raw.begin(1, 1)
      .tensor(32)
      .u32(2 ** 31)
      .u64(0)
      .bytes(),
    'expected a known type',
  ],
  ['a row of half a block', Raw.begin(1, 1).tensor(48).u32(8).u64(0).bytes(), 'expected rows of a multiple of 32 for Q8_0, got 48'],
  [
    'an offset past the file',
    Raw.begin(1, 1)
      .tensor(4)
      .u32(0)
      .u64(2n ** 40n)
      .bytes(),
    'expected its data at offset 0',
  ],
  [
    'data past the file',
    Raw.begin(1, 1)
      .tensor(2n ** 40n)
      .u32(0)
      .u64(0)
      .bytes(),
    'its tensors go on to byte',
  ],
  ['a tensor twice', tensorTwice(), "tensor 'w': expected each name once"],
  ['no architecture', changed({ 'general.architecture': null }), "'general.architecture': expected the model's architecture"],
  ['0 layers', llama('block_count', uint32(0)), "'llama.block_count': expected a whole number from 1 to 512, got 0"],
  ['2^32-1 layers', llama('block_count', uint32(0xffff_ffff)), 'expected a whole number from 1 to 512'],
  ['no layer count', llama('block_count', null), "'llama.block_count': expected a number, got none"],
  ['an embedding of length 0', llama('embedding_length', uint32(0)), "'llama.embedding_length'"],
  [
    'a length as a text',
    llama('embedding_length', { type: 'string', value: '64' }),
    "'llama.embedding_length': expected a whole number from 1 to 1048576, got a text",
  ],
  ['0 heads', llama('attention.head_count', uint32(0)), "'llama.attention.head_count': expected 1 or more, got 0"],
  ['0 heads of keys', llama('attention.head_count_kv', uint32(0)), "_kv': expected a divisor of 4 heads, got 0"],
  ['3 heads of keys for 4', llama('attention.head_count_kv', uint32(3)), "_kv': expected a divisor of 4 heads, got 3"],
  ['heads that do not divide', llama('attention.head_count', uint32(10)), 'got 10'],
  ['heads of too few layers', llama('attention.head_count', { type: 'array', of: 'uint32', values: [4] }), 'one for each of 2 layers'],
  ['a context of 0', llama('context_length', uint32(0)), "'llama.context_length'"],
  ['a rotation of 0', llama('rope.dimension_count', uint32(0)), "'llama.rope.dimension_count'"],
  ['an epsilon that is no number', llama('attention.layer_norm_rms_epsilon', { type: 'float32', value: Number.NaN }), 'got NaN'],
  ['an unknown scaling', llama('rope.scaling.type', { type: 'string', value: 'boom' }), "'llama.rope.scaling.type'"],
  ['5000 experts', llama('expert_count', uint32(5000)), "'llama.expert_count'"],
  ['more experts used than there are', llama('expert_used_count', uint32(2)), "'llama.expert_used_count'"],
  ['experts of which none is used', llama('expert_count', uint32(8)), 'expected how many of 8 experts are used'],
  ['no tokenizer', changed({ 'tokenizer.ggml.model': { type: 'string', value: 'none' } }), "metadata 'tokenizer.ggml.model'"],
  [
    'a norm in Q8_0',
    retyped('blk.0.attn_norm.weight', 'Q8_0'),
    "tensor 'blk.0.attn_norm.weight': expected F32, as every norm has, got Q8_0",
  ],
  ['weights that are integers', retyped('blk.1.ffn_up.weight', 'F32', 26), 'expected a type of weights, such as F16 or Q8_0, got I32'],
  ['2^31 tokens', llama('vocab_size', uint32(2 ** 31)), "'llama.vocab_size'"],
  ['an unknown pooling', llama('pooling_type', uint32(9)), "'llama.pooling_type': expected a number from 0 to 4"],
  ['fewer types than tokens', changed({ 'tokenizer.ggml.token_type': { type: 'array', of: 'int32', values: [1] } }), 'one a token, got 1'],
  [
    'tokens that are numbers',
    changed({ 'tokenizer.ggml.tokens': { type: 'array', of: 'int32', values: [1] } }),
    'expected an array of texts',
  ],
  ['a piece of three', changed({ 'split.count': { type: 'uint16', value: 3 } }), 'got piece 1 of 3; join them'],
  [
    'a template of 2 MB',
    changed({ 'tokenizer.chat_template': { type: 'string', value: 'x'.repeat(2_000_000) } }),
    'expected a text of at most',
  ],
];

/** `id`: the number that is written over the type's. */
function retyped(name: string, type: GgufTensorType, id = -1): Uint8Array {
  const model = tinyLlamaModel();
  const bytes = Buffer.from(writeGguf({ ...model, tensors: model.tensors.map((one) => (one.name === name ? { ...one, type } : one)) }));
  const { dims } = model.tensors.find((one) => one.name === name)!;
  if (id >= 0) bytes.writeUInt32LE(id, bytes.indexOf(name) + name.length + 4 + 8 * dims.length);
  return bytes;
}

function tensorTwice(): Uint8Array {
  const tensor = { name: 'w', dims: [8], type: 'F32', values: new Float32Array(8) } as const;
  const model: GgufModel = { metadata: { 'general.architecture': { type: 'string', value: 'llama' } }, tensors: [tensor, tensor] };
  return writeGguf(model);
}

test.each(bad)('%s is refused, with a text', async (_, bytes, words) => {
  const error = await read(bytes).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(InferenceError);
  expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
  expect((error as InferenceError).message).toContain(words);
  expect((error as InferenceError).message.length).toBeLessThan(300);
});

test('a few thousand mutations: each is read or refused, none takes long', async () => {
  const original = tinyLlama({ layers: 1, dim: 32, heads: 2, vocabularyLength: 270, chatTemplate: null });
  const { dataOffset } = await read(original);
  const random = new SeededRandom(11);
  const path = join(folder, 'mutated.gguf');
  let refused = 0;
  let slowest = 0;
  const file = await open(path, 'w+');
  try {
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(original);
      for (let change = 1 + random.below(3); change > 0; change--) mutate(bytes, dataOffset, random);
      await file.write(bytes, 0, bytes.length, 0);
      const begun = performance.now();
      try {
        await readGguf(file, bytes.length);
      } catch (error) {
        if (!(error instanceof InferenceError) || error.code !== 'INVALID_ARGUMENT') throw error;
        refused++;
      }
      slowest = Math.max(slowest, performance.now() - begun);
    }
  } finally {
    await file.close();
  }
  expect(refused).toBeGreaterThan(500);
  expect(slowest).toBeLessThan(1000);
});

/** A byte, a bit, a number at its limits, or some bytes from elsewhere: in the header. */
function mutate(bytes: Buffer, dataOffset: number, random: SeededRandom): void {
  const at = random.below(dataOffset - 8);
  const kind = random.below(5);
  if (kind === 0) bytes[at] = random.below(256);
  else if (kind === 1) bytes[at]! ^= 1 << random.below(8);
  else if (kind === 2) bytes.writeUInt32LE([0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff][random.below(5)]!, at);
  else if (kind === 3) bytes.writeBigUInt64LE([0n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n][random.below(5)]!, at);
  else bytes.copy(bytes, at, random.below(dataOffset - 64), random.below(dataOffset - 64) + random.below(64));
}
