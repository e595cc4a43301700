import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatFormat, type ChatPrompt } from '../chat/chat-format.ts';
import type { ParsedPiece, ToolCallDelta, ToolCallParser } from '../chat/tool-call-parser.ts';
import { chatNativeOf } from '../engine/chat-native-of.ts';
import type { LlamaEngine } from '../engine/llama-engine.ts';
import { TextInstance } from './text-instance.ts';
import {
  answer,
  answers,
  closeEngines,
  engineOf,
  instanceOf,
  type Logprob,
  limits,
  refusal,
  requestOf,
  textOf,
} from './text-requests.case.ts';

describe('answers of TextInstance to messages', () => {
  let engine: LlamaEngine;
  let instance: TextInstance;
  let roomy: LlamaEngine;

  beforeAll(async () => {
    engine = await engineOf({});
    instance = instanceOf(engine);
    roomy = await engineOf({ context: 2048 }, 1024);
  });
  afterAll(closeEngines);

  /** Splits a text as a parser of tool calls does: what stands between `<` and `>` is a call. */
  class BracketParser implements ToolCallParser {
    callCount = 0;
    isDone = false;
    #isInside = false;

    push(piece: string): ParsedPiece {
      let text = '';
      const toolCalls: ToolCallDelta[] = [];
      for (const character of piece) {
        if (character === this.#open) {
          this.#isInside = true;
          toolCalls.push({ index: this.callCount++, id: `call-${this.callCount}`, type: 'function', name: 'f', arguments: '' });
        } else if (character === this.#close) {
          this.isDone ||= this.#isInside && this.#wantsOne;
          this.#isInside = false;
        } else if (this.#isInside) toolCalls.push({ index: this.callCount - 1, arguments: character });
        else text += character;
      }
      return { text, toolCalls };
    }

    finish(): ParsedPiece {
      return { text: '', toolCalls: [] };
    }

    readonly #open: string;
    readonly #close: string;
    readonly #wantsOne: boolean;

    constructor(open: string, close: string, wantsOne = false) {
      this.#open = open;
      this.#close = close;
      this.#wantsOne = wantsOne;
    }
  }

  function chatOf(given: Partial<ChatPrompt>): TextInstance {
    const prompt = (): ChatPrompt => ({
      tokens: engine.tokenize('the quick', false),
      text: 'the quick',
      grammar: null,
      shownTokens: new Set(),
      newToolParser: () => null,
      stops: [],
      ...given,
    });
    return new TextInstance({
      engine,
      vocabulary: engine,
      chat: { prompt },
      compileGrammar: (text) => new engine.model.native.addon.AddonGrammar(text),
      limits,
      sequences: 2,
      dispose: async () => {},
    });
  }

  it('answers without the prompt, and ends at the stop strings of the template too', async () => {
    const { text_output: full } = await answer(instance, { text_input: 'the quick', exclude_input_in_output: true }, { max_tokens: 40 });
    expect(await answer(chatOf({}), { messages: '[]' }, { max_tokens: 40 })).toEqual({ text_output: full });
    const stop = String(full).slice(9, 12);
    const values = { messages: '[]', return_finish_reason: true };
    expect(await answer(chatOf({ stops: [stop] }), values, { max_tokens: 40 })).toEqual({
      text_output: String(full).slice(0, String(full).indexOf(stop)),
      finish_reason: 'stop',
    });
    expect(await refusal(chatOf({}), { messages: '[]', exclude_input_in_output: false })).toMatch(/^exclude_input_in_output: .*messages/);
    expect(await refusal(chatOf({ grammar: 'root ::= "a"' }), { messages: '[]' }, { grammar: 'root ::= "b"' })).toMatch(/^tool_choice: /);
  });

  it('tells tool calls apart from text, whole or in pieces', async () => {
    const { text_output: full } = await answer(instance, { text_input: 'the quick', exclude_input_in_output: true }, { max_tokens: 60 });
    const text = String(full);
    // Two characters of the text stand for the brackets; the answer ends at a third, which a stop string is made of.
    const [open, close] = [text[3]!, [...text.slice(8)].find((character) => character !== text[3])!];
    const parser = (): BracketParser => new BracketParser(open, close);
    const whole = new BracketParser(open, close).push(text);
    const expectedCalls = new Map<number, string>();
    for (const { index, arguments: part } of whole.toolCalls) expectedCalls.set(index, (expectedCalls.get(index) ?? '') + part);
    for (const stream of [false, true]) {
      const values = { messages: '[]', tools: '[]', stream, return_finish_reason: true, return_logprobs: true };
      const responses = await answers(chatOf({ newToolParser: parser }), requestOf(values, { temperature: 0, max_tokens: 60 }));
      expect(textOf(responses)).toBe(whole.text);
      const deltas = responses.flatMap(({ tool_calls: calls }) =>
        calls === undefined ? [] : (JSON.parse(String(calls)) as ToolCallDelta[]),
      );
      const calls = new Map<number, string>();
      for (const { index, arguments: part } of deltas) calls.set(index, (calls.get(index) ?? '') + part);
      expect(calls).toEqual(expectedCalls);
      expect(deltas.filter(({ id }) => id !== undefined)).toHaveLength(expectedCalls.size);
      if (!stream) expect(deltas).toHaveLength(expectedCalls.size);
      expect(responses.every(({ tool_calls: json }) => json !== '[]')).toBe(true);
      // Cut by max_tokens, so it is no answer of tool calls alone.
      expect(responses.at(-1)).toMatchObject({ finish_reason: 'length' });
      const logprobs = responses.flatMap(({ logprobs: json }) => JSON.parse(String(json)) as Logprob[]);
      expect(logprobs.map(({ token }) => token).join('')).toBe(text);
    }
    const stopped = await answer(
      chatOf({ newToolParser: parser }),
      { messages: '[]', return_finish_reason: true },
      { max_tokens: 60, stop: text.slice(20, 23) },
    );
    expect(stopped).toMatchObject({ finish_reason: 'tool_calls' });
  });

  it('ends with the tool call where one was wanted', async () => {
    const { text_output: full } = await answer(instance, { text_input: 'the quick', exclude_input_in_output: true }, { max_tokens: 60 });
    const text = String(full);
    const [open, close] = [text[3]!, [...text.slice(8)].find((character) => character !== text[3])!];
    const one = chatOf({ newToolParser: () => new BracketParser(open, close, true) });
    const values = { messages: '[]', return_finish_reason: true, return_num_output_tokens: true };
    const response = await answer(one, values, { max_tokens: 60 });
    expect(response).toMatchObject({ finish_reason: 'tool_calls' });
    expect(response['num_output_tokens']).toBeLessThan(60);
    expect(JSON.parse(String(response['tool_calls']))).toHaveLength(1);
  });

  it('calls a tool that is required, with arguments as its schema has them', async () => {
    const chat = ChatFormat.create({ template: null, toolTemplate: null, toolCallFormat: null }, chatNativeOf(roomy.model));
    const model = new TextInstance({
      engine: roomy,
      vocabulary: roomy,
      chat,
      compileGrammar: (text) => new roomy.model.native.addon.AddonGrammar(text),
      limits: { ...limits, contextSize: roomy.contextSize },
      sequences: 2,
      dispose: async () => {},
    });
    const parameters = {
      type: 'object',
      properties: { city: { type: 'string', maxLength: 6 }, days: { enum: [1, 2] } },
      required: ['city', 'days'],
      additionalProperties: false,
    };
    const values = {
      messages: JSON.stringify([{ role: 'user', content: 'How warm is it?' }]),
      tools: JSON.stringify([{ type: 'function', function: { name: 'weather', parameters } }]),
      tool_choice: '"required"',
      return_finish_reason: true,
    };
    for (const stream of [false, true]) {
      const responses = await answers(
        model,
        requestOf({ ...values, stream }, { temperature: 0, max_tokens: 400, parallel_tool_calls: false }),
      );
      expect(responses.at(-1)).toMatchObject({ finish_reason: 'tool_calls' });
      expect(textOf(responses)).toBe('');
      const deltas = responses.flatMap(({ tool_calls: json }) => (json === undefined ? [] : (JSON.parse(String(json)) as ToolCallDelta[])));
      expect(deltas[0]).toMatchObject({ index: 0, type: 'function', name: 'weather', id: expect.stringMatching(/./) });
      const given = JSON.parse(deltas.map(({ arguments: part }) => part).join('')) as { city: string; days: number };
      expect([1, 2]).toContain(given.days);
      expect(given.city.length).toBeLessThanOrEqual(6);
    }
  });

  it('renders no messages that cannot fit', async () => {
    const messages = JSON.stringify([{ role: 'user', content: 'x'.repeat(70_000) }]);
    expect(await refusal(chatOf({}), { messages })).toMatch(
      /^prompt: 70\d+ characters of messages and tools and 1 token to come do not fit the context/,
    );
  });

  it('shows control tokens where the parser needs them', async () => {
    const special = engine.tokenize('<|im_start|>', true)[0]!;
    const shown = chatOf({ shownTokens: new Set([special]) });
    const forced = { logit_bias: JSON.stringify({ [special]: 100 }), max_tokens: 2 };
    expect(await answer(shown, { messages: '[]' }, forced)).toEqual({ text_output: '<|im_start|><|im_start|>' });
    expect(await answer(chatOf({}), { messages: '[]' }, forced)).toEqual({ text_output: '' });
  });
});
