/** OpenAI's API, driven by its official client, over models that are code in a real server. */

import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openAiModels } from './openai-models.case.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const repository = makeRepository(openAiModels());
let server: ServerProcess;
let client: OpenAI;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
  client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  await server.kill();
  repository.remove();
});

type ChatParams = Omit<OpenAI.ChatCompletionCreateParamsNonStreaming, 'model' | 'messages'>;
const messages = (content: string): OpenAI.ChatCompletionMessageParam[] => [{ role: 'user', content }];
const chat = (content: string, more: ChatParams & Record<string, unknown> = {}): Promise<OpenAI.ChatCompletion> =>
  client.chat.completions.create({ model: 'talker', messages: messages(content), ...more });
const complete = (prompt: OpenAI.CompletionCreateParams['prompt'], more: Record<string, unknown> = {}): Promise<OpenAI.Completion> =>
  client.completions.create({ model: 'talker', prompt, ...more } as OpenAI.CompletionCreateParamsNonStreaming);

describe('models', () => {
  it('are listed where they make text', async () => {
    const list = await client.models.list();
    expect(list.data.map(({ id }) => id).sort()).toEqual(['plain', 'talker']);
    const nowSeconds = Date.now() / 1000;
    for (const { created } of list.data) expect(Math.abs(nowSeconds - created)).toBeLessThan(60);
    expect(await client.models.retrieve('talker')).toEqual({
      id: 'talker',
      object: 'model',
      created: list.data.find(({ id }) => id === 'talker')!.created,
      owned_by: 'nereid',
      max_model_len: 64,
    });
  });

  it.each([
    ['talkre', "did you mean 'talker'"],
    ['numbers', '/v2/models/numbers'],
  ])('%s is not found', async (name, hint) => {
    const error = await client.models.retrieve(name).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({ status: 404, code: 'model_not_found', param: 'model', type: 'invalid_request_error' });
    expect((error as Error).message).toContain(hint);
  });
});

describe('chat completions', () => {
  it('answers whole', async () => {
    const answer = await chat('one two three');
    expect(answer).toEqual({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'talker',
      system_fingerprint: 'talker@1',
      choices: [
        { index: 0, message: { role: 'assistant', content: 'one two three', refusal: null }, logprobs: null, finish_reason: 'stop' },
      ],
      usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, prompt_tokens_details: { cached_tokens: 1 } },
    });
  });

  it('gives the client its request id', async () => {
    const { data, request_id: requestId } = await client.chat.completions
      .create({ model: 'talker', messages: messages('hello') })
      .withResponse();
    expect(requestId).toBe(data.id);
  });

  it('carries its parameters to the model', async () => {
    const answer = await chat('parameters', {
      ...{ temperature: 0.5, top_p: 0.9, frequency_penalty: 1, presence_penalty: -1, seed: 7, stop: ['a', 'b'], logit_bias: { '5': -100 } },
      ...{ max_completion_tokens: 40, top_k: 3, min_p: 0.1, repetition_penalty: 1.1, min_tokens: 2, ignore_eos: true, stop_token_ids: [4] },
      ...{ grammar: 'root ::= "a"', parallel_tool_calls: false, user: 'me', metadata: { a: 'b' }, store: false, service_tier: 'auto' },
    });
    expect(JSON.parse(answer.choices[0]!.message.content!)).toEqual({
      ...{ temperature: 0.5, top_p: 0.9, frequency_penalty: 1, presence_penalty: -1, seed: 7, stop: ['a', 'b'], logit_bias: { '5': -100 } },
      ...{ max_tokens: 40, top_k: 3, min_p: 0.1, repetition_penalty: 1.1, min_tokens: 2, ignore_eos: true, stop_token_ids: [4] },
      ...{ grammar: 'root ::= "a"', parallel_tool_calls: false },
    });
  });

  it('asks the model for no more than is wanted', async () => {
    const { choices } = await chat('inputs');
    expect(choices[0]!.message.content).toBe(
      'messages return_finish_reason return_num_cached_tokens return_num_input_tokens return_num_output_tokens sampling_parameters stream',
    );
    let streamed = '';
    for await (const chunk of await client.chat.completions.create({ model: 'talker', messages: messages('inputs'), stream: true })) {
      streamed += chunk.choices[0]?.delta.content ?? '';
    }
    expect(streamed).toBe('messages return_finish_reason sampling_parameters stream');
  });

  it('cuts at max_completion_tokens, and at nothing else', async () => {
    const long = 'w '.repeat(60);
    expect((await chat(long)).choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: long } });
    expect((await chat(long, { max_tokens: 3 })).choices[0]).toMatchObject({ finish_reason: 'length', message: { content: 'w w w ' } });
    expect((await chat(long, { max_completion_tokens: 2 })).choices[0]!.finish_reason).toBe('length');
  });

  it('gives n answers, each with its seed', async () => {
    const answer = await chat('seed', { n: 3, seed: 41 });
    expect(answer.choices.map(({ index, message }) => [index, message.content])).toEqual([
      [0, '41'],
      [1, '42'],
      [2, '43'],
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 });
  });

  it('gives log probabilities', async () => {
    const answer = await chat('be good', { logprobs: true, top_logprobs: 2 });
    expect(answer.choices[0]!.logprobs).toEqual({
      content: [
        {
          token: 'be ',
          logprob: -0.75,
          bytes: [98, 101, 32],
          top_logprobs: [
            { token: 'be ', logprob: -0.75, bytes: [98, 101, 32] },
            { token: 'e ', logprob: -0.5, bytes: [101, 32] },
          ],
        },
        {
          token: 'good',
          logprob: -1,
          bytes: [103, 111, 111, 100],
          top_logprobs: [
            { token: 'good', logprob: -1, bytes: [103, 111, 111, 100] },
            { token: 'ood', logprob: -0.75, bytes: [111, 111, 100] },
          ],
        },
      ],
      refusal: null,
    });
    expect((await chat('be', { logprobs: true })).choices[0]!.logprobs!.content![0]!.top_logprobs).toEqual([]);
  });

  const tool = (name: string): OpenAI.ChatCompletionTool => ({ type: 'function', function: { name, parameters: { type: 'object' } } });

  it('calls tools', async () => {
    const answer = await chat('weather?', { tools: [tool('weather'), tool('time')] });
    expect(answer.choices[0]).toEqual({
      index: 0,
      logprobs: null,
      finish_reason: 'tool_calls',
      message: {
        role: 'assistant',
        content: null,
        refusal: null,
        tool_calls: [
          { id: 'call_0', type: 'function', function: { name: 'weather', arguments: '{"city":"Pa\\nris"}' } },
          { id: 'call_1', type: 'function', function: { name: 'time', arguments: '{"city":"Pa\\nris"}' } },
        ],
      },
    });
    expect((await chat('weather?', { tools: [tool('weather')], tool_choice: 'none' })).choices[0]!.message.content).toBe('weather?');
  });

  it('takes a schema', async () => {
    const schema = { type: 'object', properties: { a: { type: 'integer' } } };
    const answer = await chat('parameters', {
      response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } },
    });
    expect(answer.choices[0]!.message.content).toBe('{"a": 1}');
    expect((await chat('x', { response_format: { type: 'json_object' } })).choices[0]!.message.content).toBe('{"a": 1}');
    expect((await chat('x', { response_format: { type: 'text' } })).choices[0]!.message.content).toBe('x');
  });

  it('answers by version', async () => {
    expect(await client.chat.completions.create({ model: 'talker@1', messages: messages('a') })).toMatchObject({ model: 'talker@1' });
    await expect(client.chat.completions.create({ model: 'talker@2', messages: messages('a') })).rejects.toMatchObject({ status: 404 });
  });

  it('lets members pass that it does not know, and says so', async () => {
    const response = await server.post('/v1/chat/completions', { model: 'talker', messages: messages('a'), brand_new: 1, 'x\r\ny': 2 });
    expect(response.status).toBe(200);
    expect(response.headers.get('nereid-ignored-fields')).toBe('brand_new');
  });
});

describe('completions', () => {
  it('answers whole', async () => {
    expect(await complete('one two three')).toEqual({
      id: expect.stringMatching(/^cmpl-[0-9a-f]{32}$/),
      object: 'text_completion',
      created: expect.any(Number),
      model: 'talker',
      system_fingerprint: 'talker@1',
      choices: [{ index: 0, text: 'one two three', logprobs: null, finish_reason: 'stop' }],
      usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, prompt_tokens_details: { cached_tokens: 1 } },
    });
  });

  it('cuts at 16 tokens where nothing else is said', async () => {
    expect((await complete('w '.repeat(20))).choices[0]).toMatchObject({ text: 'w '.repeat(16), finish_reason: 'length' });
  });

  it('takes several prompts, and n answers to each', async () => {
    const answer = await complete(['a b', 'c'], { n: 2 });
    expect(answer.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, 'a b'],
      [1, 'a b'],
      [2, 'c'],
      [3, 'c'],
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 6 });
  });

  it('takes token ids', async () => {
    expect((await complete([5, 6])).choices.map(({ text }) => text)).toEqual(['t5 t6 ']);
    expect((await complete([[5], [6, 7]])).choices.map(({ text }) => text)).toEqual(['t5 ', 't6 t7 ']);
  });

  it('repeats the prompt when asked', async () => {
    expect((await complete('a "b" ', { echo: true })).choices[0]!.text).toBe('a "b" a "b" ');
  });

  it('gives log probabilities in the form of completions', async () => {
    expect((await complete('é be', { logprobs: 1 })).choices[0]!.logprobs).toEqual({
      tokens: ['é ', 'be'],
      token_logprobs: [-0.5, -0.5],
      top_logprobs: [{ 'é ': -0.5 }, { be: -0.5 }],
      text_offset: [0, 2],
    });
  });

  it('serves a model that takes text and gives text, and nothing else', async () => {
    const answer = await client.completions.create({ model: 'plain', prompt: 'hello' });
    expect(answer.choices).toEqual([{ index: 0, text: 'HELLO', logprobs: null, finish_reason: 'stop' }]);
    expect(answer.usage).toBeUndefined();
    await expect(client.completions.create({ model: 'plain', prompt: 'hello', temperature: 0 })).rejects.toMatchObject({
      status: 400,
      param: 'temperature',
    });
    await expect(client.chat.completions.create({ model: 'plain', messages: messages('a') })).rejects.toMatchObject({
      status: 400,
      param: 'messages',
    });
  });
});
