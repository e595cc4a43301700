/** A repository with a good GGUF model and bad ones, against a real server: each bad one is one failed load with a text, and everything else serves on. */

import { linkSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bertModel } from '../../bench/models/gguf/bert-model.ts';
import { tinyLlama, tinyLlamaModel } from '../../bench/models/gguf/small-models.ts';
import { type GgufModel, type GgufValue, writeGguf } from '../../bench/models/gguf/write-gguf.ts';
import { addSub } from '../../bench/models/test-models.ts';
import { type Answer, isAlive, makeRepository, ServerProcess, until } from './serve.ts';

const good = tinyLlama();

function changed(entries: Readonly<Record<string, GgufValue>>, change: (model: GgufModel) => GgufModel = (model) => model): Uint8Array {
  const model = tinyLlamaModel();
  return writeGguf(change({ ...model, metadata: { ...model.metadata, ...entries } }));
}

/** Another architecture's name, with its own keys. */
function renamed(architecture: string, change: (model: GgufModel) => GgufModel = (model) => model): Uint8Array {
  const model = tinyLlamaModel();
  const metadata: Record<string, GgufValue> = {};
  for (const [key, value] of Object.entries(model.metadata)) metadata[key.replace(/^llama\./, `${architecture}.`)] = value;
  metadata['general.architecture'] = { type: 'string', value: architecture };
  return writeGguf(change({ ...model, metadata }));
}

const without =
  (name: string) =>
  (model: GgufModel): GgufModel => ({ ...model, tensors: model.tensors.filter((tensor) => tensor.name !== name) });
const narrower =
  (name: string) =>
  (model: GgufModel): GgufModel => ({
    ...model,
    tensors: model.tensors.map((one) => (one.name === name ? { ...one, dims: [32, one.dims[1]!] } : one)),
  });

/** Refused before anything opens them. */
const refusedHere: Readonly<Record<string, [Uint8Array, RegExp]>> = {
  cut: [good.subarray(0, good.length - 1000), /ends at byte \d+; its tensors go on to byte \d+/],
  'cut-in-its-header': [good.subarray(0, 3000), /ends at byte 3000/],
  zeros: [new Uint8Array(5000), /not written yet/],
  'no-gguf': [
    Buffer.from('PK\x03\x04 this is an archive, not a model'),
    /is no GGUF file that can be served: magic bytes: expected 47 47 55 46/,
  ],
  'no-layers': [
    changed({ 'llama.block_count': { type: 'uint32', value: 0 } }),
    /'llama.block_count': expected a whole number from 1 to 512, got 0/,
  ],
  'twice-a-token': [changed({ 'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: ['a', 'a'] } }), /expected each token once/],
  'a-piece': [changed({ 'split.count': { type: 'uint16', value: 2 } }), /join them with llama-gguf-split/],
  'an-adapter': [changed({ 'general.type': { type: 'string', value: 'adapter' } }), /expected a model: give the model that it adapts/],
};

/** Sound files as such; llama.cpp takes none of them. */
const refusedThere: Readonly<Record<string, Uint8Array>> = {
  'unknown-architecture': renamed('no-such-model'),
  'no-output-norm': changed({}, without('output_norm.weight')),
  'no-embedding': changed({}, without('token_embd.weight')),
  'narrow-queries': changed({}, narrower('blk.0.attn_q.weight')),
  'unknown-tokenizer': changed({ 'tokenizer.ggml.model': { type: 'string', value: 'no-such-tokenizer' } }),
};

const withoutBytes = changed({ 'tokenizer.ggml.model': { type: 'string', value: 'llama' } });
const normOfHalves = renamed('arcee', (model) => ({
  ...model,
  tensors: model.tensors
    .map((one) => (one.name.endsWith('_norm.weight') ? { ...one, type: 'F16' as const } : one))
    .filter((one) => !one.name.includes('ffn_gate')),
}));
const ranker = bertModel({ name: 'ranker', dim: 64, layers: 2, heads: 4, context: 64, seed: 3, pooling: 'rank' });
const rankerWithoutBytes = writeGguf({
  ...ranker,
  metadata: { ...ranker.metadata, 'tokenizer.ggml.model': { type: 'string', value: 'llama' } },
});

/** llama.cpp ends its process over them: at some text, or at the first step. */
const fatal: Readonly<Record<string, readonly [task: string, bytes: Uint8Array]>> = {
  'no-byte-tokens': ['generate', withoutBytes],
  'no-byte-tokens-embed': ['embed', withoutBytes],
  'no-byte-tokens-rerank': ['rerank', rankerWithoutBytes],
  'norm-of-halves': ['generate', normOfHalves],
  'norm-of-halves-embed': ['embed', normOfHalves],
};

const temporary = mkdtempSync(join(tmpdir(), 'nereid-gguf-'));
let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;

beforeAll(async () => {
  const files: Record<string, Uint8Array> = { 'good/1/some-name.gguf': good, 'sum/1/model.onnx': addSub('INT32') };
  for (const [name, [bytes]] of Object.entries(refusedHere)) files[`${name}/1/model.gguf`] = bytes;
  for (const [name, bytes] of Object.entries(refusedThere)) files[`${name}/1/model.gguf`] = bytes;
  for (const [name, [, bytes]] of Object.entries(fatal)) files[`${name}/1/model.gguf`] = bytes;
  repository = makeRepository(files);
  server = await ServerProcess.start(
    [`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=good', '--load-model=sum'],
    { TMPDIR: temporary },
  );
});

afterAll(async () => {
  await server.stop();
  repository.remove();
  rmSync(temporary, { recursive: true, force: true });
});

const load = (name: string, parameters?: Readonly<Record<string, string>>): Promise<Answer> =>
  server.post(`/v2/repository/models/${name}/load`, parameters === undefined ? '' : { parameters });

function generate(name: string, text = 'the quick'): Promise<Answer> {
  const sampling = JSON.stringify({ temperature: 0, max_tokens: 8 });
  return server.post(`/v2/models/${name}/infer`, {
    inputs: [
      { name: 'text_input', datatype: 'BYTES', shape: [1], data: [text] },
      { name: 'sampling_parameters', datatype: 'BYTES', shape: [1], data: [sampling] },
    ],
  });
}

/** What a bad model must not touch: the process, its models, and their hosts. */
async function servesOn(hosts: readonly number[]): Promise<void> {
  expect((await server.get('/v2/health/live')).status).toBe(200);
  expect(await generate('good')).toMatchObject({ status: 200, json: { outputs: [{ name: 'text_output', data: [firstText] }] } });
  expect(hosts.filter((pid) => !isAlive(pid))).toEqual([]);
}

let firstText: string;

test('a GGUF of any name is served: the same text each time', async () => {
  const answer = await generate('good');
  expect(answer.json).toMatchObject({ model_name: 'good', outputs: [{ name: 'text_output', datatype: 'BYTES', shape: [1] }] });
  firstText = answer.json.outputs[0].data[0];
  expect(firstText).toMatch(/^the quick.{3,}/s);
  await servesOn(server.hosts());
  expect((await server.get('/v2/models/good/config')).json).toMatchObject({
    backend: 'llamacpp',
    default_model_filename: 'some-name.gguf',
    model_transaction_policy: { decoupled: true },
  });
});

test.each(Object.entries(refusedHere))('%s is refused before a host opens it', async (name, [, words]) => {
  const hosts = server.hosts();
  const answer = await load(name);
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.json.error).toMatch(words);
  expect(answer.json.error).not.toContain(repository.path);
  await servesOn(hosts);
});

test.each(Object.keys(refusedThere))('%s is one failed load', async (name) => {
  const hosts = server.hosts();
  const answer = await load(name);
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.json.error).toContain(name);
  expect(answer.json.error.length).toBeGreaterThan(40);
  expect(answer.json.error).not.toContain(repository.path);
  await servesOn(hosts);
  expect((await server.get(`/v2/models/${name}/ready`)).status).not.toBe(200);
});

test.each(Object.entries(fatal))('%s ends its own host while it loads', async (name, [task]) => {
  const hosts = server.hosts();
  const config = { backend: 'llamacpp', parameters: { task: { string_value: task } } };
  const loaded = await load(name, { config: JSON.stringify(config) });
  expect(loaded.status).toBeGreaterThanOrEqual(400);
  expect(loaded.json.error).toContain(name);
  expect(loaded.json.error).toMatch(/the execution host ended by SIGABRT while it loaded/);
  expect(loaded.json.error).not.toContain(repository.path);
  expect((await server.get(`/v2/models/${name}/ready`)).status).not.toBe(200);
  await servesOn(hosts);
  await until(() => server.hosts().every((pid) => hosts.includes(pid)));
});

test('a GGUF comes with a load request, too: it is data', async () => {
  const config = JSON.stringify({ backend: 'llamacpp' });
  const send = (bytes: Uint8Array): Promise<Answer> => load('sent', { config, 'file:1/model.gguf': Buffer.from(bytes).toString('base64') });
  expect((await send(tinyLlama({ seed: 2 }))).status).toBe(200);
  const other = (await generate('sent')).json.outputs[0].data[0];
  expect(other).toMatch(/^the quick/);
  expect(other).not.toBe(firstText);
  const [bytes, words] = refusedHere['no-layers']!;
  expect((await send(bytes)).json.error).toMatch(words);
  // The one before serves on.
  expect((await generate('sent')).json.outputs[0].data[0]).toBe(other);
  expect((await server.post('/v2/repository/models/sent/unload', '')).status).toBe(200);
  await servesOn([]);
});

test("a client's mistake that the host finds is the client's to hear, not the log's", async () => {
  const sampling = JSON.stringify({ temperature: 3 });
  const inputs = [
    { name: 'text_input', datatype: 'BYTES', shape: [1], data: ['hi'] },
    { name: 'sampling_parameters', datatype: 'BYTES', shape: [1], data: [sampling] },
  ];
  const before = server.stderr.length;
  const log = (): string => server.stderr.slice(before);
  const answer = await server.post('/v2/models/good/infer', { inputs });
  expect([answer.status, answer.json.error]).toEqual([400, expect.stringMatching(/temperature: expected/)]);
  expect((await server.post('/v1/completions', { model: 'good', prompt: 'x'.repeat(100_000) })).status).toBe(400);
  // Behind whatever those would have written.
  await load('zeros');
  await until(() => log().includes('zeros'));
  expect(log()).not.toContain('a model failed a request');
  expect(log()).not.toContain('temperature');
});

test('instances have a process each, and the queue before them its own bound', async () => {
  const hosts = server.hosts();
  const config = {
    backend: 'llamacpp',
    instance_group: [{ count: 2 }],
    dynamic_batching: { default_queue_policy: { max_queue_size: 3 } },
    parameters: { sequences: { string_value: '1' }, context_size: { string_value: '512' } },
  };
  const loaded = await load('pair', { config: JSON.stringify(config), 'file:1/m.gguf': Buffer.from(good).toString('base64') });
  expect(loaded.status).toBe(200);
  expect(server.hosts().filter((pid) => !hosts.includes(pid)).length).toBe(2);
  const text_input = 'the quick brown fox';
  const answers = await Promise.all(
    Array.from({ length: 60 }, () => server.post('/v2/models/pair/generate', { text_input, max_tokens: 200, temperature: 0 })),
  );
  const refused = answers.filter(({ status }) => status !== 200);
  expect(refused.length).toBeGreaterThan(0);
  for (const { status, json } of refused) expect([status, json.error]).toEqual([503, expect.stringMatching(/queue/)]);
  expect(new Set(answers.filter(({ status }) => status === 200).map(({ json }) => json.text_output)).size).toBe(1);
  // Two that run, and those that may wait.
  expect(answers.length - refused.length).toBeGreaterThanOrEqual(5);
  expect((await server.post('/v2/repository/models/pair/unload', '')).status).toBe(200);
});

test('what a configuration names beside the model is held to the same rules', async () => {
  const load = (parameters: Readonly<Record<string, string>>, files: Readonly<Record<string, string>>): Promise<Answer> => {
    const config = {
      backend: 'llamacpp',
      parameters: Object.fromEntries(Object.entries(parameters).map(([key, string_value]) => [key, { string_value }])),
    };
    const sent = Object.entries(files).map(([path, text]) => [`file:1/${path}`, Buffer.from(text).toString('base64')]);
    return server.post('/v2/repository/models/beside/load', {
      parameters: {
        config: JSON.stringify(config),
        'file:1/model.gguf': Buffer.from(good).toString('base64'),
        ...Object.fromEntries(sent),
      },
    });
  };
  const refused: [Readonly<Record<string, string>>, Readonly<Record<string, string>>, RegExp][] = [
    [{ lora: '../../other/1/model.gguf' }, {}, /parameters\['lora'\]/],
    [{ lora: 'missing.gguf' }, {}, /parameters\['lora'\]: .*missing.gguf/],
    [{ lora: 'style.gguf' }, { 'style.gguf': 'no adapter' }, /parameters\['lora'\]: .*magic bytes/],
    [{ chat_template: 'file:/etc/passwd' }, {}, /parameters\['chat_template'\]/],
    [{ chat_template: 'file:missing.jinja' }, {}, /parameters\['chat_template'\]: .*missing.jinja/],
    [{ context_sise: '5' }, {}, /context_size/],
  ];
  for (const [parameters, files, words] of refused) {
    const answer = await load(parameters, files);
    expect(answer.status).toBe(400);
    expect(answer.json.error).toMatch(words);
  }
  await servesOn([]);
});

test('a link out of the repository is no model', async () => {
  const outside = join(temporary, 'outside.gguf');
  writeFileSync(outside, good);
  const linked = makeLinked(outside);
  const answer = await load(linked);
  expect(answer.status).toBe(400);
  expect(answer.json.error).toContain('hard link');
});

function makeLinked(outside: string): string {
  const path = join(repository.path, 'no-layers', '2');
  rmSync(path, { recursive: true, force: true });
  rmSync(join(repository.path, 'no-layers', '1', 'model.gguf'));
  linkSync(outside, join(repository.path, 'no-layers', '1', 'model.gguf'));
  return 'no-layers';
}
