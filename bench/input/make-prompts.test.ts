import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makePrompts, type PromptOptions } from './make-prompts.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-prompts-'));
afterAll(() => rmSync(folder, { recursive: true }));

function optionsOf(more: Partial<PromptOptions> = {}): PromptOptions {
  return {
    protocol: 'openai',
    model: 'tiny_llm',
    modelVersion: '',
    endpoint: 'completions',
    promptTokens: 128,
    promptSpread: 0,
    sharedPrefix: 0,
    promptsFile: null,
    maxTokens: 64,
    stream: true,
    distinct: 16,
    seed: 1,
    ...more,
  };
}

function file(name: string, ...lines: readonly unknown[]): string {
  const path = join(folder, name);
  writeFileSync(path, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
  return path;
}

async function wordsOf(more: Partial<PromptOptions>): Promise<string[][]> {
  const { requests } = await makePrompts(optionsOf(more));
  return requests.map(({ text }) => (text!.body['prompt'] as string).split(' '));
}

describe('made prompts', () => {
  it('have the length asked for, are different, and the same each time', async () => {
    const prompts = await wordsOf({});
    expect(prompts.map((words) => words.length)).toEqual(Array.from({ length: 16 }, () => 128));
    expect(new Set(prompts.map(String)).size).toBe(16);
    expect(await wordsOf({})).toEqual(prompts);
    expect(await wordsOf({ seed: 2 })).not.toEqual(prompts);
  });

  it('have lengths around the mean', async () => {
    const lengths = (await wordsOf({ promptSpread: 40, distinct: 400 })).map((words) => words.length);
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
    const deviation = Math.sqrt(lengths.reduce((sum, length) => sum + (length - mean) ** 2, 0) / lengths.length);
    expect(Math.abs(mean - 128)).toBeLessThan(8);
    expect(Math.abs(deviation - 40)).toBeLessThan(8);
    expect(Math.min(...(await wordsOf({ promptTokens: 2, promptSpread: 50, distinct: 200 })).map((words) => words.length))).toBe(1);
  });

  it('begin alike as far as asked for', async () => {
    const prompts = await wordsOf({ sharedPrefix: 100 });
    expect(new Set(prompts.map((words) => String(words.slice(0, 100)))).size).toBe(1);
    expect(new Set(prompts.map((words) => String(words.slice(100)))).size).toBe(16);
    expect(prompts[0]).toHaveLength(128);
    await expect(makePrompts(optionsOf({ sharedPrefix: 128 }))).rejects.toThrow('shared-prefix: expected less than the 128');
  });

  it('are fewer when they are long', async () => {
    expect((await makePrompts(optionsOf({ promptTokens: 1_000_000 }))).requests).toHaveLength(8);
  });
});

describe('bodies', () => {
  const path = file('two.txt', 'In the beginning', '', '  And God said  ');

  it('of chat', async () => {
    const { requests, words } = await makePrompts(
      optionsOf({ endpoint: 'chat', promptsFile: path, parameters: { temperature: 0, ignore_eos: true } }),
    );
    expect(words).toBe(`${path}, 2 prompts, streamed answers of at most 64 tokens`);
    expect(requests[1]).toEqual({
      infer: null,
      text: {
        path: '/v1/chat/completions',
        body: {
          model: 'tiny_llm',
          messages: [{ role: 'user', content: 'And God said' }],
          max_tokens: 64,
          stream: true,
          temperature: 0,
          ignore_eos: true,
        },
        stream: true,
      },
      expected: null,
    });
  });

  it('of completions and embeddings', async () => {
    const { requests } = await makePrompts(optionsOf({ promptsFile: path, stream: false, modelVersion: '2' }));
    expect(requests[0]!.text).toEqual({
      path: '/v1/completions',
      body: { model: 'tiny_llm@2', prompt: 'In the beginning', max_tokens: 64, stream: false },
      stream: false,
    });
    const embedded = await makePrompts(optionsOf({ endpoint: 'embeddings' }));
    expect(embedded.words).toBe('made, 16 prompts of about 128 tokens, embedded');
    expect(Object.keys(embedded.requests[0]!.text!.body)).toEqual(['model', 'input']);
    expect(embedded.requests[0]!.text).toMatchObject({ path: '/v1/embeddings', stream: false });
  });

  it('of the generate extension', async () => {
    const parameters = { ignore_eos: true };
    const { requests } = await makePrompts(optionsOf({ protocol: 'generate-stream', promptsFile: path, modelVersion: '2', parameters }));
    expect(requests[0]!.text).toEqual({
      path: '/v2/models/tiny_llm/versions/2/generate_stream',
      body: { text_input: 'In the beginning', stream: true, parameters: { max_tokens: 64, ignore_eos: true } },
      stream: true,
    });
    const { requests: whole, words } = await makePrompts(
      optionsOf({ protocol: 'generate', sharedPrefix: 7, promptSpread: 3, distinct: 1 }),
    );
    expect(whole[0]!.text).toMatchObject({ path: '/v2/models/tiny_llm/generate', body: { stream: false }, stream: false });
    expect(words).toBe('made, 1 prompt of about 128 +- 3 tokens (the first 7 shared), answers of at most 64 tokens');
  });
});

describe('files of prompts', () => {
  it('have prompts, messages and lengths of answers', async () => {
    const messages = [
      { role: 'system', content: 'Be brief' },
      { role: 'user', content: 'Hi' },
    ];
    const path = file('lines.jsonl', { prompt: 'Hello', max_tokens: 3 }, { messages });
    const { requests } = await makePrompts(optionsOf({ endpoint: 'chat', promptsFile: path }));
    expect(requests.map(({ text }) => text!.body)).toMatchObject([
      { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 3 },
      { messages, max_tokens: 64 },
    ]);
    for (const more of [{ endpoint: 'completions' }, { endpoint: 'embeddings' }, { protocol: 'generate' }] as const) {
      await expect(makePrompts(optionsOf({ ...more, promptsFile: path }))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/lines\.jsonl:2: expected a prompt for .*--endpoint chat/),
      });
    }
  });

  it.each([
    ['nothing', [''], 'expected a prompt on each line'],
    ['a line that is no JSON', [{ prompt: 'a' }, 'b'], ':2: expected JSON'],
    ['a line that is no object', [{ prompt: 'a' }, '3'], ':2: expected an object'],
    ['neither', [{ text: 'a' }], ':1: expected either prompt or messages'],
    ['both', [{ prompt: 'a', messages: [{}] }], ':1: expected either prompt or messages'],
    ['a prompt that is none', [{ prompt: 3 }], ':1.prompt: expected a string'],
    ['no messages', [{ messages: [] }], ':1.messages: expected a list of messages'],
    ['a length that is none', [{ prompt: 'a', max_tokens: 0 }], ':1.max_tokens: expected a whole number'],
    ['too many', Array.from({ length: 10_001 }, () => 'a'), 'at most 10000 prompts, got 10001'],
  ])('are refused with %s', async (name, lines, message) => {
    await expect(makePrompts(optionsOf({ promptsFile: file(name, ...lines) }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });
});
