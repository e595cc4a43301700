import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyBert, tinyLlama, tinyReranker } from '../../bench/models/gguf/small-models.ts';
import { writeGguf } from '../../bench/models/gguf/write-gguf.ts';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { failureOf, modelSpec } from '../api/backend.case.ts';
import type { DecoupledModelInstance, Model, ModelSpec } from '../api/backend.ts';
import { createBackend } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'llamacpp-'));
const file = join(folder, 'model.gguf');
writeFileSync(file, tinyLlama());
writeFileSync(join(folder, 'embedding.gguf'), tinyBert());
writeFileSync(join(folder, 'reranker.gguf'), tinyReranker());
mkdirSync(join(folder, 'lora'));
writeFileSync(join(folder, 'lora', 'style.gguf'), adapter());
afterAll(() => rmSync(folder, { recursive: true }));

const logged: string[] = [];
const services = {
  log: (level: string, text: string) => logged.push(`${level} ${text}`),
  call: () => {
    throw new Error('no model is called');
  },
};
const backend = await createBackend({ settings: {}, services });

/** A LoRA of rank 4 for the tiny llama's first layer. */
function adapter(): Uint8Array {
  const values = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i * 1.7));
  return writeGguf({
    metadata: {
      'general.type': { type: 'string', value: 'adapter' },
      'general.architecture': { type: 'string', value: 'llama' },
      'adapter.type': { type: 'string', value: 'lora' },
      'adapter.lora.alpha': { type: 'float32', value: 8 },
    },
    tensors: [
      { name: 'blk.0.attn_q.weight.lora_a', dims: [64, 4], type: 'F32', values },
      { name: 'blk.0.attn_q.weight.lora_b', dims: [4, 64], type: 'F32', values },
      { name: 'blk.1.attn_output.weight.lora_a', dims: [64, 4], type: 'F32', values },
      { name: 'blk.1.attn_output.weight.lora_b', dims: [4, 64], type: 'F32', values },
    ],
  });
}

function spec(parameters: Record<string, string> = {}, path: string = file): ModelSpec {
  const all = { threads: '1', ...parameters };
  return modelSpec('tiny', path, {
    parameters: Object.fromEntries(Object.entries(all).map(([name, stringValue]) => [name, { stringValue }])),
  });
}

async function withModel<T>(given: ModelSpec, use: (model: Model) => Promise<T>): Promise<T> {
  const model = await backend.load(given);
  try {
    return await use(model);
  } finally {
    await model.unload();
  }
}

function texts(name: string, ...values: string[]): Tensor {
  return { name, datatype: 'BYTES', shape: [values.length], data: encodeBytes(values) };
}

const flag = (name: string): Tensor => ({ name, datatype: 'BOOL', shape: [1], data: Uint8Array.of(1) });

async function responses(
  instance: DecoupledModelInstance,
  inputs: readonly Tensor[],
  parameters: Record<string, string | number | boolean> = {},
): Promise<(readonly Tensor[])[]> {
  const given: (readonly Tensor[])[] = [];
  for await (const outputs of instance.infer({ inputs, parameters, signal: new AbortController().signal })) {
    given.push(outputs.map((output) => ({ ...output, data: new Uint8Array(output.data) })));
  }
  return given;
}

function textOf(outputs: readonly (readonly Tensor[])[]): string {
  return outputs
    .map((response) => Buffer.from(decodeBytes(response.find(({ name }) => name === 'text_output')!.data, 'text')[0]!).toString())
    .join('');
}

async function say(instance: DecoupledModelInstance): Promise<string> {
  return textOf(
    await responses(instance, [texts('text_input', 'the quick brown'), flag('exclude_input_in_output')], {
      max_tokens: 12,
      temperature: 0,
    }),
  );
}

describe('the llamacpp backend', () => {
  it('generates text, whole or token by token', async () => {
    await withModel(spec(), async (model) => {
      expect(model.metadata.maxBatchSize).toBe(0);
      expect(model.metadata.inputs.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['text_input', 'input_ids', 'messages', 'stream']),
      );
      const instance = await model.createDecoupledInstance!();
      expect(instance.maxRequests).toBe(4);
      const whole = await say(instance);
      expect(whole.length).toBeGreaterThanOrEqual(12);
      const streamed = await responses(instance, [texts('text_input', 'the quick brown'), flag('stream')], {
        max_tokens: 12,
        temperature: 0,
      });
      expect(streamed.length).toBeGreaterThan(5);
      expect(textOf(streamed)).toBe(whole);
    });
  });

  it('answers messages, with the chat template of the file, of the configuration, or of a file beside', async () => {
    const messages = JSON.stringify([{ role: 'user', content: 'the fox' }]);
    const tokens = async (given: ModelSpec): Promise<number> =>
      withModel(given, async (model) => {
        const instance = await model.createDecoupledInstance!();
        const [response] = await responses(instance, [texts('messages', messages), flag('return_num_input_tokens')], { max_tokens: 1 });
        const { data } = response!.find(({ name }) => name === 'num_input_tokens')!;
        return new DataView(data.buffer, data.byteOffset).getUint32(0, true);
      });
    writeFileSync(join(folder, 'chat.jinja'), '123{% for message in messages %}{{ message.content }}{% endfor %}');
    const [own, other, beside] = [
      await tokens(spec()),
      await tokens(spec({ chat_template: '{% for message in messages %}{{ message.content }}{% endfor %}' })),
      await tokens(spec({ chat_template: 'file:chat.jinja' })),
    ];
    expect(own).toBeGreaterThan(beside);
    expect(beside).toBeGreaterThan(other);
    await failureOf('INVALID_ARGUMENT', () => backend.load(spec({ chat_template: 'file:../chat.jinja' })));
  });

  it('embeds texts, and scores documents', async () => {
    await withModel(spec({}, join(folder, 'embedding.gguf')), async (model) => {
      const instance = await model.createDecoupledInstance!();
      const [response] = await responses(instance, [texts('text_input', 'the fox', 'the dog')]);
      expect(response![0]).toMatchObject({ name: 'embedding', shape: [2, 64] });
    });
    await withModel(spec({}, join(folder, 'reranker.gguf')), async (model) => {
      const instance = await model.createDecoupledInstance!();
      const [response] = await responses(instance, [texts('query', 'fox'), texts('documents', 'the fox', 'the dog', 'the sea')]);
      expect(response![0]).toMatchObject({ name: 'relevance_score', shape: [3] });
    });
  });

  it('serves a model for what the configuration says', async () => {
    await withModel(spec({ task: 'embed' }), async (model) => {
      expect(model.metadata.outputs[0]!.name).toBe('embedding');
    });
  });

  it('adapts a model with LoRA files, by their scale', async () => {
    const plain = await withModel(spec(), async (model) => say(await model.createDecoupledInstance!()));
    const adapted = await withModel(spec({ lora: 'lora/style.gguf' }), async (model) => say(await model.createDecoupledInstance!()));
    const zero = await withModel(spec({ lora: 'lora/style.gguf=0' }), async (model) => say(await model.createDecoupledInstance!()));
    expect(adapted).not.toBe(plain);
    expect(zero).toBe(plain);
  });

  it.each([
    [{ lora: 'model.gguf' }, /lora'\]: model.gguf: expected general.type 'adapter', got 'model'/],
    [{ lora: 'none.gguf' }, /lora'\]: expected a file that can be read/],
    [{ sequenses: '3' }, /did you mean 'sequences'/],
    [{ context_size: '513' }, /expected at most 512, which the model was trained with/],
  ])('refuses %j', async (parameters, message) => {
    const error = await failureOf('INVALID_ARGUMENT', async () => {
      const model = await backend.load(spec(parameters));
      try {
        await model.createDecoupledInstance!();
      } finally {
        await model.unload();
      }
    });
    expect(error.message).toMatch(message);
  });

  it('refuses an adapter for another model, and files that are none', async () => {
    const wrong = writeGguf({
      metadata: {
        'general.type': { type: 'string', value: 'adapter' },
        'general.architecture': { type: 'string', value: 'qwen2' },
        'adapter.type': { type: 'string', value: 'lora' },
        'adapter.lora.alpha': { type: 'float32', value: 8 },
      },
      tensors: [],
    });
    writeFileSync(join(folder, 'lora', 'wrong.gguf'), wrong);
    const error = await failureOf('INVALID_ARGUMENT', () => backend.load(spec({ lora: 'lora/wrong.gguf' })));
    expect(error.message).toMatch(/wrong\.gguf/);
    expect(error.message).not.toContain(folder);
    for (const content of [new Uint8Array(0), new Uint8Array(1000).fill(7), tinyLlama().subarray(0, 5000)]) {
      const path = join(folder, 'broken.gguf');
      writeFileSync(path, content);
      const refused = await failureOf('INVALID_ARGUMENT', () => backend.load(spec({}, path)));
      expect(refused.message).toMatch(/^the model's file: /);
    }
    await failureOf('INVALID_ARGUMENT', () => backend.load(spec({}, join(folder, 'lora', 'style.gguf'))));
  });

  it('says that it is to be served decoupled, and batches by itself', async () => {
    await withModel(spec(), async (model) => {
      const error = await failureOf('INVALID_ARGUMENT', () => model.createInstance());
      expect(error.message).toContain('model_transaction_policy { decoupled: true }');
    });
    const batching = spec();
    const error = await failureOf('INVALID_ARGUMENT', () => backend.load({ ...batching, config: { ...batching.config, maxBatchSize: 8 } }));
    expect(error.message).toContain('max_batch_size: expected 0');
  });

  it('runs several instances of one model, and ends them with it', async () => {
    const model = await backend.load(spec({ sequences: '2' }));
    const [one, two] = [await model.createDecoupledInstance!(), await model.createDecoupledInstance!()];
    const [first, second] = await Promise.all([say(one), say(two)]);
    expect(first).toBe(second);
    await one.dispose();
    expect(await say(two)).toBe(first);
    await model.unload();
    await failureOf('UNAVAILABLE', () => say(two));
    await failureOf('UNAVAILABLE', () => model.createDecoupledInstance!());
    await model.unload();
  });

  it('logs what llama.cpp says', () => {
    expect(logged.some((line) => line.startsWith('debug llama.cpp: '))).toBe(true);
  });
});
