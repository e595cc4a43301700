/** OpenAI's API over llama.cpp: a GGUF of random weights, driven by the official client. What it says is nonsense, and always the same. */

import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyLlama } from '../../bench/models/gguf/small-models.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const repository = makeRepository({
  'tiny/1/model.gguf': tinyLlama({ context: 1024 }),
  'tiny/config.yaml':
    'parameters: { sequences: { string_value: "2" }, threads: { string_value: "1" }, allow_grammar: { string_value: "true" } }\n',
  'short/1/model.gguf': tinyLlama({ context: 512 }),
  'short/config.yaml':
    'parameters: { sequences: { string_value: "1" }, threads: { string_value: "1" }, context_size: { string_value: "128" }, max_output_tokens: { string_value: "10" } }\n',
});
let server: ServerProcess;
let client: OpenAI;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
  client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
}, 60_000);
afterAll(async () => {
  await server.kill();
  repository.remove();
});

const messages = (content: string): OpenAI.ChatCompletionMessageParam[] => [{ role: 'user', content }];
type Params = Omit<Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>, 'stream'> & Record<string, unknown>;
type StreamParams = Parameters<typeof client.chat.completions.stream>[0];
const chat = (content: string, more: Params = {}): Promise<OpenAI.ChatCompletion> =>
  client.chat.completions.create({ model: 'tiny', messages: messages(content), max_completion_tokens: 12, seed: 1, ...more });

describe('a model that generates', () => {
  it('answers the same whole and streamed, by its seed', async () => {
    const whole = await chat('hello');
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'length', message: { role: 'assistant' } });
    const { content } = whole.choices[0]!.message;
    expect(content!.length).toBeGreaterThan(0);
    expect(whole.usage).toMatchObject({ completion_tokens: 12 });
    const stream = client.chat.completions.stream({
      ...{ model: 'tiny', messages: messages('hello'), max_completion_tokens: 12, seed: 1, stream_options: { include_usage: true } },
    });
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]!.message.content).toBe(content);
    expect(final.usage).toMatchObject({ prompt_tokens: whole.usage!.prompt_tokens, completion_tokens: 12 });
    expect((await chat('hello')).choices[0]!.message.content).toBe(content);
    expect((await chat('hello', { seed: 2 })).choices[0]!.message.content).not.toBe(content);
  });

  it('uses what it evaluated before', async () => {
    const content = 'the same beginning, many times over, so that it is worth keeping';
    await chat(content);
    const { prompt_tokens_details: details, prompt_tokens: tokens } = (await chat(content)).usage!;
    expect(details!.cached_tokens).toBeGreaterThan(tokens / 2);
  });

  it('goes on to the end of its context where no bound is given', async () => {
    const answer = await client.chat.completions.create({ model: 'short', messages: messages('hi') });
    expect(answer.choices[0]!.finish_reason).toBe('length');
    expect(answer.usage!.completion_tokens).toBe(10);
    const all = await client.chat.completions.create({ model: 'tiny', messages: messages('hi'), temperature: 0 });
    expect(all.usage!.total_tokens).toBeGreaterThan(1_000);
    expect((await client.completions.create({ model: 'tiny', prompt: 'hi' })).usage!.completion_tokens).toBe(16);
  });

  it('gives n answers that are not the same', async () => {
    const { choices, usage } = await chat('hello', { n: 3 });
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3);
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(usage!.completion_tokens).toBe(36);
    expect(choices[0]!.message.content).toBe((await chat('hello')).choices[0]!.message.content);
  });

  it('gives log probabilities, whose text is that of the answer', async () => {
    const { choices } = await chat('hello', { logprobs: true, top_logprobs: 2 });
    const { content } = choices[0]!.logprobs!;
    expect(content!.length).toBe(12);
    expect(Buffer.from(content!.flatMap(({ bytes }) => bytes!)).toString()).toBe(choices[0]!.message.content);
    for (const { logprob, top_logprobs: top } of content!) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top.length).toBe(2);
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob);
    }
    const completion = await client.completions.create({ model: 'tiny', prompt: 'hello', logprobs: 1, max_tokens: 5, temperature: 0 });
    const { tokens, token_logprobs: logprobs, text_offset: offsets, top_logprobs: best } = completion.choices[0]!.logprobs!;
    expect(tokens!.join('')).toBe(completion.choices[0]!.text);
    expect([logprobs!.length, offsets![0], best!.length]).toEqual([5, 0, 5]);
    for (const [i, token] of tokens!.entries()) expect(best![i]![token]).toBe(logprobs![i]);
  });

  it('ends at a stop string, which is not shown', async () => {
    const text = (await chat('hello')).choices[0]!.message.content!;
    const stop = text.slice(4, 6);
    const answer = (await chat('hello', { stop })).choices[0]!;
    expect(answer).toMatchObject({ finish_reason: 'stop', message: { content: text.slice(0, text.indexOf(stop)) } });
  });

  it('gives JSON of a schema', async () => {
    const schema = {
      type: 'object',
      properties: { a: { type: 'integer', minimum: 0, maximum: 9 }, b: { enum: ['x', 'y'] } },
      required: ['a', 'b'],
      additionalProperties: false,
    };
    const format = { type: 'json_schema' as const, json_schema: { name: 'ab', strict: true, schema } };
    const { message, finish_reason: reason } = (await chat('hello', { response_format: format, max_completion_tokens: 200 })).choices[0]!;
    expect([reason, JSON.parse(message.content!)]).toEqual(['stop', { a: expect.any(Number), b: expect.stringMatching(/^[xy]$/) }]);
  });

  it('calls the tool that it has to', async () => {
    const parameters = {
      type: 'object',
      properties: { city: { enum: ['Paris', 'Rome'] } },
      required: ['city'],
      additionalProperties: false,
    };
    const tools: OpenAI.ChatCompletionTool[] = ['weather', 'time'].map((name) => ({ type: 'function', function: { name, parameters } }));
    const params: Params = {
      tools,
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
      max_completion_tokens: 300,
    };
    const { message } = (await chat('hello', params)).choices[0]!;
    expect(message.tool_calls!.length).toBe(1);
    const [call] = message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
    expect([call!.type, call!.function.name, call!.id.length > 0]).toEqual(['function', 'weather', true]);
    expect(JSON.parse(call!.function.arguments)).toEqual({ city: expect.stringMatching(/^(Paris|Rome)$/) });
    const { max_completion_tokens: most, ...rest } = params;
    const stream = client.chat.completions.stream({
      model: 'tiny',
      messages: messages('hello'),
      seed: 1,
      max_completion_tokens: most!,
      ...rest,
    } as StreamParams);
    const streamed = (await stream.finalChatCompletion()).choices[0]!.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
    expect(streamed.map(({ function: { name, arguments: text } }) => [name, text])).toEqual([['weather', call!.function.arguments]]);
  });
});

describe('bad input is named', () => {
  const cases: [string, Params, string][] = [
    ['a wrong role', { messages: [{ role: 'boss', content: 'x' }] as unknown as OpenAI.ChatCompletionMessageParam[] }, 'messages[0].role'],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,' } }] }] },
      'messages[0].content[0]',
    ],
    ['a message that is none', { messages: [5] as unknown as OpenAI.ChatCompletionMessageParam[] }, 'messages[0]'],
    [
      'a schema that cannot be',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'thing' } } } },
      'response_format',
    ],
    ['a grammar that is none', { grammar: 'root ::= (' }, 'grammar'],
    ['a temperature', { temperature: 2.5 }, 'temperature'],
    ['a top_p', { top_p: 1.5 }, 'top_p'],
    ['a penalty', { frequency_penalty: 3 }, 'frequency_penalty'],
    ['a bias', { logit_bias: { '99999999': 1 } }, 'logit_bias'],
    ['stop strings', { stop: [''] }, 'stop'],
    [
      'a tool without a name',
      { tools: [{ type: 'function', function: {} }] as unknown as OpenAI.ChatCompletionTool[] },
      'tools[0].function.name',
    ],
    [
      'a tool_choice that is no tool',
      { tools: [{ type: 'function', function: { name: 'a' } }], tool_choice: { type: 'function', function: { name: 'b' } } },
      'tool_choice',
    ],
    ['a prompt that does not fit', { messages: messages('word '.repeat(2_000)) }, 'messages'],
    ['a prompt of a megabyte', { messages: messages('word '.repeat(200_000)) }, 'messages'],
  ];
  it.each(cases)('%s', async (_, params, param) => {
    const error = await chat('x', params).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    const { param: named, type, message } = error as InstanceType<typeof OpenAI.APIError>;
    expect([named?.startsWith(param), type, message]).toEqual([
      true,
      'invalid_request_error',
      expect.stringContaining(param.split('[')[0]!),
    ]);
  });

  it('a prompt that does not fit has the code that clients look for', async () => {
    await expect(chat('word '.repeat(2_000))).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });

  it('a grammar, where the owner of the model does not allow it', async () => {
    const asked = client.chat.completions.create({
      ...{ model: 'short', messages: messages('hi'), grammar: 'root ::= "a"' },
    } as OpenAI.ChatCompletionCreateParamsNonStreaming);
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'grammar', message: expect.stringContaining('allow_grammar') });
    expect((await chat('hi', { grammar: 'root ::= "a"' })).choices[0]!.message.content).toBe('a');
  });

  it('more than a model may give', async () => {
    const asked = client.chat.completions.create({ model: 'short', messages: messages('hi'), max_completion_tokens: 11 });
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'max_completion_tokens' });
  });
});
