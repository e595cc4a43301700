import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LlamaEngine } from '../engine/llama-engine.ts';
import { TextInstance } from './text-instance.ts';
import { answer, CONTEXT, closeEngines, engineOf, type InputValue, instanceOf, limits, refusal } from './text-requests.case.ts';

describe('refusals of TextInstance', () => {
  let engine: LlamaEngine;
  let instance: TextInstance;

  beforeAll(async () => {
    engine = await engineOf({});
    instance = instanceOf(engine);
  });
  afterAll(closeEngines);

  it('refuses grammars and schemas that do not compile', async () => {
    expect(await refusal(instance, { text_input: 'a' }, { grammar: 'root ::= "a' })).toMatch(/^grammar: /);
    expect(await refusal(instance, { text_input: 'a' }, { json_schema: '{"type":"nothing"}' })).toMatch(/^json_schema: /);
  });

  it('takes no grammars of clients unless the owner says so', async () => {
    const careful = instanceOf(engine, { allowsGrammar: false });
    expect(await refusal(careful, { text_input: 'a' }, { grammar: 'root ::= "a"' })).toBe(
      'grammar: this model takes no grammars of clients; its owner allows them with parameters allow_grammar',
    );
    const { text_output: json } = await answer(careful, { text_input: 'a', exclude_input_in_output: true }, { json_schema: '{"const":1}' });
    expect(json).toBe('1');
  });

  it.each<[string, Readonly<Record<string, InputValue>>, RegExp]>([
    ['no prompt', {}, /^text_input: expected exactly one of text_input, input_ids, messages, got none of them$/],
    ['two prompts', { text_input: 'a', input_ids: [1] }, /^input_ids: expected exactly one of .*, got text_input and input_ids$/],
    ['messages', { messages: '[]' }, /^messages: this model takes none/],
    ['tools without messages', { text_input: 'a', tools: '[]' }, /^tools: expected with messages only/],
    ['text that is no UTF-8', { text_input: Uint8Array.of(0x61, 0x62, 0xff) }, /^text_input: expected UTF-8 text, .* near byte 2 of 3$/],
    [
      'sampling parameters that are no UTF-8',
      { text_input: 'a', sampling_parameters: Uint8Array.of(0x7b, 0xc3) },
      /^sampling_parameters: expected UTF-8/,
    ],
    ['a token that is none', { input_ids: [1, 384] }, /^input_ids: expected tokens from 0 to 383, got 384 at position 1$/],
    ['a negative token', { input_ids: [-1] }, /^input_ids: .* got -1 at position 0$/],
    ['no tokens', { input_ids: [] }, /^input_ids: expected at least one token, got none$/],
    [
      'a prompt in a stream',
      { text_input: 'a', stream: true, exclude_input_in_output: false },
      /^exclude_input_in_output: expected true, got false/,
    ],
    ['an unknown input', { text_input: 'a', other: 'b' }, /^other: no input of this model$/],
    ['a wrong type', { text_input: [1] }, /^text_input: expected BYTES, got INT32$/],
    [
      'a long prompt',
      { input_ids: new Array(CONTEXT).fill(1) },
      /^prompt: 256 tokens and 1 token to come do not fit the context of 256 tokens: /,
    ],
    [
      'a very long text',
      { text_input: 'the quick brown fox '.repeat(50_000) },
      /^prompt: at least \d+ tokens and 1 token to come do not fit the context of 256 tokens: /,
    ],
  ])('refuses %s', async (_, values, message) => {
    expect(await refusal(instance, values)).toMatch(message);
  });

  it('refuses sampling parameters that it does not know, from either side', async () => {
    expect(await refusal(instance, { text_input: 'a' }, { temprature: 1 })).toMatch(/^temprature: .*'temperature'/);
    expect(await refusal(instance, { text_input: 'a', sampling_parameters: '{"temperature":9}' })).toMatch(/^temperature: /);
    expect(await refusal(instance, { text_input: 'a' }, { logit_bias: '{"384":1}' })).toMatch(/^logit_bias: .*383/);
  });

  it('takes the longest prompt that fits, and answers with one token', async () => {
    const ids = new Array(CONTEXT - 1).fill(100);
    expect(await answer(instance, { input_ids: ids, return_num_output_tokens: true })).toMatchObject({ num_output_tokens: 1 });
  });

  it('keeps to the limits of the model', async () => {
    const limited = instanceOf(engine, { maxInputTokens: 10, maxOutputTokens: 8, defaultMaxTokens: 4 });
    expect(await answer(limited, { text_input: 'the', return_num_output_tokens: true })).toMatchObject({ num_output_tokens: 4 });
    expect(await refusal(limited, { text_input: 'a' }, { max_tokens: 9 })).toMatch(/^max_tokens: expected at most 8, .*got 9$/);
    expect(await refusal(limited, { input_ids: new Array(11).fill(1) })).toBe(
      "prompt: expected at most 10 tokens, the model's max_input_tokens, got 11 tokens",
    );
  });

  it('takes an empty text where there is a token to begin with', async () => {
    expect(await answer(instance, { text_input: '', return_num_input_tokens: true })).toMatchObject({ num_input_tokens: 1 });
    const { tokens } = engine;
    const without = { size: tokens.size, vocabularyType: tokens.vocabularyType, bos: null, addsBos: false };
    const vocabulary = {
      tokens: { ...without, text: (id: number) => tokens.text(id), attributes: (id: number) => tokens.attributes(id) },
      tokenize: (text: string, special: boolean) => engine.tokenize(text, special),
    };
    const blind = new TextInstance({
      engine,
      vocabulary,
      chat: null,
      compileGrammar: () => {},
      limits,
      sequences: 2,
      dispose: async () => {},
    });
    expect(await refusal(blind, { text_input: '' })).toMatch(/^text_input: .*no BOS token/);
  });
});
