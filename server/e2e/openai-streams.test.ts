/** Streamed answers of OpenAI's API: every event, on both HTTP engines; clients that go away, that do not read, that come when there is no room. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadUws } from '../transports/uws/uws-module.ts';
import { openAiModels } from './openai-models.case.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

type Engine = 'uws' | 'node';
const engines: readonly Engine[] = 'module' in (await loadUws()) ? ['uws', 'node'] : ['node'];

const repository = makeRepository(openAiModels());
const servers = new Map<Engine, ServerProcess>();
beforeAll(async () => {
  for (const engine of engines) {
    servers.set(engine, await ServerProcess.start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]));
  }
});
afterAll(async () => {
  await Promise.all([...servers.values()].map((server) => server.kill()));
  repository.remove();
});

const messages = (content: string): OpenAI.ChatCompletionMessageParam[] => [{ role: 'user', content }];

/** The data of each event, parsed where it is JSON. Checks the framing itself. */
async function events(server: ServerProcess, path: string, body: object): Promise<{ response: Response; data: unknown[] }> {
  const response = await fetch(server.http + path, { method: 'POST', body: JSON.stringify({ model: 'talker', stream: true, ...body }) });
  const text = await response.text();
  expect(text.endsWith('\n\n')).toBe(true);
  const data = text
    .slice(0, -2)
    .split('\n\n')
    .map((event) => {
      expect(event).toMatch(/^data: [^\n\r]*$/);
      return event === 'data: [DONE]' ? '[DONE]' : (JSON.parse(event.slice(6)) as unknown);
    });
  return { response, data };
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

describe.each(engines)('over %s', (engine) => {
  let server: ServerProcess;
  let client: OpenAI;
  beforeAll(() => {
    server = servers.get(engine)!;
    client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
  });

  it('streams a chat', async () => {
    const { response, data } = await events(server, '/v1/chat/completions', { messages: messages('one "two"') });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    const { id, created } = data[0] as { id: string; created: number };
    expect(response.headers.get('x-request-id')).toBe(id);
    const chunk = (delta: object, reason: string | null = null): object => ({
      ...{ id, object: 'chat.completion.chunk', created, model: 'talker', system_fingerprint: 'talker@1' },
      choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }],
    });
    expect(data).toEqual([
      chunk({ role: 'assistant', content: '' }),
      chunk({ content: 'one ' }),
      chunk({ content: '"two"' }),
      chunk({}, 'stop'),
      '[DONE]',
    ]);
    expect(id).toMatch(/^chatcmpl-/);
  });

  it('streams usage when it is asked for, and null before', async () => {
    const { data } = await events(server, '/v1/chat/completions', { messages: messages('a b'), stream_options: { include_usage: true } });
    const chunks = data.slice(0, -1) as { choices: unknown[]; usage: unknown }[];
    const last = chunks.pop()!;
    expect(chunks.map(({ usage }) => usage)).toEqual(chunks.map(() => null));
    expect(last.choices).toEqual([]);
    expect(last.usage).toEqual({ prompt_tokens: 2, completion_tokens: 2, total_tokens: 4, prompt_tokens_details: { cached_tokens: 1 } });
  });

  it('streams completions', async () => {
    const { data } = await events(server, '/v1/completions', { prompt: ['a b', 'c'], echo: true, stream_options: { include_usage: true } });
    const chunks = data.slice(0, -2) as {
      id: string;
      object: string;
      choices: { index: number; text: string; finish_reason: string | null }[];
    }[];
    for (const { id, object } of chunks) expect([id.slice(0, 5), object]).toEqual(['cmpl-', 'text_completion']);
    const texts = [0, 1].map((index) =>
      chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index).map(({ text }) => text)),
    );
    expect(texts).toEqual([
      ['a b', 'a ', 'b', ''],
      ['c', 'c', ''],
    ]);
    expect(chunks.flatMap(({ choices }) => choices).filter(({ finish_reason: reason }) => reason === 'stop').length).toBe(2);
    expect(data.at(-2)).toMatchObject({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 3 } });
  });

  it('streams what needs escapes', async () => {
    const { data } = await events(server, '/v1/completions', { prompt: 'bytes' });
    const text = (data.slice(0, -1) as { choices: { text: string }[] }[]).map(({ choices }) => choices[0]!.text).join('');
    expect(text).toBe('a\u0000b \u2028 "q" \\ \n\n \u{1F600} é ');
  });

  it('streams n answers, put together by the client', async () => {
    const runner = client.chat.completions.stream({ model: 'talker', messages: messages('seed'), n: 3, seed: 5 });
    const final = await runner.finalChatCompletion();
    expect(final.choices.map(({ index, message, finish_reason: reason }) => [index, message.content, reason])).toEqual([
      [0, '5', 'stop'],
      [1, '6', 'stop'],
      [2, '7', 'stop'],
    ]);
  });

  it('streams tool calls, put together by the client', async () => {
    const tools = ['weather', 'time'].map((name): OpenAI.ChatCompletionTool => ({ type: 'function', function: { name, parameters: {} } }));
    const runner = client.chat.completions.stream({ model: 'talker', messages: messages('?'), tools });
    const { message, finish_reason: reason } = (await runner.finalChatCompletion()).choices[0]!;
    expect(reason).toBe('tool_calls');
    expect(message.tool_calls).toMatchObject([
      { id: 'call_0', type: 'function', function: { name: 'weather', arguments: '{"city":"Pa\\nris"}' } },
      { id: 'call_1', type: 'function', function: { name: 'time', arguments: '{"city":"Pa\\nris"}' } },
    ]);
    const { data } = await events(server, '/v1/chat/completions', { messages: messages('?'), tools: tools.slice(0, 1) });
    expect(data.slice(1, 3)).toMatchObject([
      {
        choices: [{ delta: { tool_calls: [{ index: 0, id: 'call_0', type: 'function', function: { name: 'weather', arguments: '' } }] } }],
      },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] } }] },
    ]);
  });

  it('streams log probabilities', async () => {
    const chat = await events(server, '/v1/chat/completions', { messages: messages('be é'), logprobs: true });
    expect(chat.data[1]).toMatchObject({
      choices: [{ delta: { content: 'be ' }, logprobs: { content: [{ token: 'be ', logprob: -0.75 }], refusal: null } }],
    });
    const completion = await events(server, '/v1/completions', { prompt: 'be é', logprobs: 0 });
    expect(completion.data.slice(0, 2)).toMatchObject([
      { choices: [{ text: 'be ', logprobs: { tokens: ['be '], text_offset: [0], top_logprobs: [{}] } }] },
      { choices: [{ text: 'é', logprobs: { tokens: ['é'], token_logprobs: [-0.25], text_offset: [3] } }] },
    ]);
  });

  it('answers what fails at once with a status', async () => {
    const stream = client.chat.completions.create({ model: 'talker', messages: messages('a'), temperature: 3, stream: true });
    await expect(stream).rejects.toMatchObject({ status: 400, param: 'temperature' });
  });

  it('ends what fails later with an error', async () => {
    const { response, data } = await events(server, '/v1/chat/completions', { messages: messages('fail a b c') });
    expect(response.status).toBe(200);
    expect(data.slice(-2)).toEqual([
      { error: { message: expect.stringContaining('the model broke'), type: 'server_error', param: null, code: null } },
      '[DONE]',
    ]);
    const stream = await client.chat.completions.create({ model: 'talker', messages: messages('fail a b c'), stream: true });
    const read = async (): Promise<void> => {
      for await (const _ of stream);
    };
    await expect(read()).rejects.toThrow('the model broke');
  });

  it('lets nothing into the stream that is no log probability', async () => {
    const { data } = await events(server, '/v1/chat/completions', { messages: messages('wrong logprobs'), logprobs: true });
    expect(data).toEqual([
      expect.objectContaining({ object: 'chat.completion.chunk' }),
      { error: expect.objectContaining({ type: 'server_error' }) },
      '[DONE]',
    ]);
  });

  it.each([1, 3])('cancels all %i answers of a client that goes away', async (n) => {
    const before = count(server.stderr, 'talker was cancelled');
    const stream = await client.chat.completions.create({ model: 'talker', messages: messages('forever'), stream: true, n });
    const seen = new Set<number>();
    for await (const { choices } of stream) {
      seen.add(choices[0]!.index);
      if (seen.size === n) break;
    }
    await until(() => count(server.stderr, 'talker was cancelled') === before + n);
  });

  it('cancels an answer that is not streamed', async () => {
    const before = count(server.stderr, 'talker was cancelled');
    const began = count(server.stderr, 'talker began');
    const controller = new AbortController();
    const answer = client.chat.completions.create({ model: 'talker', messages: messages('late') }, { signal: controller.signal });
    await until(() => count(server.stderr, 'talker began') === began + 1);
    controller.abort();
    await expect(answer).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    await until(() => count(server.stderr, 'talker was cancelled') === before + 1);
  });

  it('bounds an answer that is not streamed', async () => {
    const before = count(server.stderr, 'talker was cancelled');
    const answer = client.chat.completions.create({ model: 'talker', messages: messages('flood') });
    await expect(answer).rejects.toMatchObject({ status: 413, code: 'too_large' });
    await until(() => count(server.stderr, 'talker was cancelled') === before + 1);
  });

  it('keeps to a deadline', async () => {
    const headers = { 'Inference-Timeout-Ms': '50' };
    await expect(client.chat.completions.create({ model: 'talker', messages: messages('late') }, { headers })).rejects.toMatchObject({
      ...{ status: 504, code: 'deadline_exceeded', type: 'server_error' },
    });
    const stream = await client.chat.completions.create({ model: 'talker', messages: messages('forever'), stream: true }, { headers });
    const read = async (): Promise<void> => {
      for await (const _ of stream);
    };
    await expect(read()).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('stops the model of a client that does not read', async () => {
    const socket: Socket = connect(Number(new URL(server.http).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.pause();
    const body = JSON.stringify({ model: 'talker', stream: true, messages: messages('forever') });
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    const responses = async (): Promise<number> => {
      const { json } = await server.get('/v2/models/talker/stats');
      return Object.values(json.model_stats[0].response_stats as Record<string, { success: { count: number } }>).reduce(
        (sum, { success }) => sum + success.count,
        0,
      );
    };
    // It runs until the socket is full, and then no further.
    let last = -1;
    await until(async () => {
      const now = await responses();
      const hasStopped = now === last;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return hasStopped;
    });
    const before = count(server.stderr, 'talker was cancelled');
    socket.destroy();
    await until(() => count(server.stderr, 'talker was cancelled') === before + 1);
  });

  it('answers 429 where the queue is full', async () => {
    const began = count(server.stderr, 'talker began');
    const gone = count(server.stderr, 'talker was cancelled');
    const controller = new AbortController();
    const ask = (n: number): Promise<unknown> =>
      client.chat.completions
        .create({ model: 'talker', messages: messages('late'), n }, { signal: controller.signal, timeout: 20_000 })
        .catch((error: unknown) => error);
    const filling = ask(4);
    await until(() => count(server.stderr, 'talker began') === began + 4);
    const error = await ask(9);
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error).toMatchObject({ status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded' });
    expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get('retry-after')).toBe('1');
    controller.abort();
    await filling;
    await until(() => count(server.stderr, 'talker was cancelled') === gone + 4);
  });
});
