/** What OpenAI's API refuses: a status and a body in OpenAI's form, which names the parameter. Every one over raw HTTP. */

import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../bench/statistics/seeded-random.ts';
import { openAiModels } from './openai-models.case.ts';
import { type Answer, makeRepository, ServerProcess } from './serve.ts';

const repository = makeRepository(openAiModels());
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
});
afterAll(async () => {
  // Whatever was sent, it lives and has the processes it began with.
  expect((await server.post('/v1/completions', { model: 'talker', prompt: 'well' })).json.choices[0].text).toBe('well');
  await server.kill();
  repository.remove();
});

const hello = [{ role: 'user', content: 'hello' }];
const chat = (body: object | string | Uint8Array): Promise<Answer> =>
  server.post(
    '/v1/chat/completions',
    typeof body === 'string' || body instanceof Uint8Array ? body : { model: 'talker', messages: hello, ...body },
  );
const complete = (body: object): Promise<Answer> => server.post('/v1/completions', { model: 'talker', prompt: 'hello', ...body });

function expectRefusal(
  { status, json, headers }: Answer,
  param: string | null,
  says: string | RegExp,
  form: { status?: number; code?: string } = {},
): void {
  expect({ status, json }).toEqual({
    status: form.status ?? 400,
    json: { error: { message: expect.stringMatching(says), type: 'invalid_request_error', param, code: form.code ?? null } },
  });
  expect(headers.get('content-type')).toBe('application/json');
}

describe('chat completions refuse', () => {
  const cases: [string, object, string, string | RegExp][] = [
    ['no messages', { messages: null }, 'messages', 'missing'],
    ['empty messages', { messages: [] }, 'messages', 'at least one'],
    ['messages that are text', { messages: 'hello' }, 'messages', 'an array'],
    ['a wrong role', { messages: [{ role: 'boss', content: 'x' }] }, 'messages[0].role', 'boss'],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }] },
      'messages[0].content[0]',
      'text',
    ],
    ['max_tokens 0', { max_tokens: 0 }, 'max_tokens', 'at least|from 1'],
    ['max_completion_tokens below 0', { max_completion_tokens: -1 }, 'max_completion_tokens', 'from 1'],
    ['half a token', { max_tokens: 1.5 }, 'max_tokens', '1.5'],
    ['a temperature of 3', { temperature: 3 }, 'temperature', '0 to 2'],
    ['a temperature in words', { temperature: 'hot' }, 'temperature', 'a number, got "hot"'],
    ['n 0', { n: 0 }, 'n', '1 to 128'],
    ['n 129', { n: 129 }, 'n', '1 to 128'],
    ['a stop that is a number', { stop: 3 }, 'stop', 'a string or an array'],
    ['a logit_bias that is an array', { logit_bias: [] }, 'logit_bias', 'an object'],
    ['21 top_logprobs', { logprobs: true, top_logprobs: 21 }, 'top_logprobs', '0 to 20'],
    ['top_logprobs without logprobs', { top_logprobs: 2 }, 'top_logprobs', 'logprobs'],
    ['stream options without a stream', { stream_options: { include_usage: true } }, 'stream_options', 'stream'],
    ['include_usage 1', { stream: true, stream_options: { include_usage: 1 } }, 'stream_options.include_usage', 'true or false'],
    ['a stream that is "yes"', { stream: 'yes' }, 'stream', 'true or false'],
    ['another response_format', { response_format: { type: 'xml' } }, 'response_format.type', 'json_schema'],
    ['a response_format without its schema object', { response_format: { type: 'json_schema' } }, 'response_format.json_schema', 'missing'],
    [
      'a schema that cannot be',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 5 } } } },
      'response_format',
      '#/type',
    ],
    ['tools that are an object', { tools: {} }, 'tools', 'an array'],
    ['a tool_choice without tools', { tool_choice: 'required' }, 'tool_choice', 'tools'],
    ['the old functions', { functions: [{}] }, 'functions', "'tools'"],
    ['the old function_call', { function_call: 'auto' }, 'function_call', "'tool_choice'"],
    ['audio', { modalities: ['text', 'audio'] }, 'modalities', 'text only'],
    ['audio options', { audio: { voice: 'x' } }, 'audio', 'text only'],
    ['a prediction', { prediction: { type: 'content' } }, 'prediction', 'not supported'],
    ['web search', { web_search_options: {} }, 'web_search_options', 'web search'],
    ['keeping the answer', { store: true }, 'store', 'not kept'],
    ['a name misspelt', { temprature: 1 }, 'temprature', "did you mean 'temperature'"],
    ['a seed that is no integer', { seed: 0.5 }, 'seed', 'an integer'],
    ['no model', { model: null }, 'model', 'missing'],
    ['a model that is a number', { model: 3 }, 'model', 'a string'],
    ['a model that does not make text', { model: 'numbers' }, 'model', 'text_output'],
  ];
  it.each(cases)('%s', async (_, body, param, says) => {
    expectRefusal(await chat(body), param, says);
  });

  it('an unknown model, and names the nearest', async () => {
    expectRefusal(await chat({ model: 'talkr' }), 'model', "did you mean 'talker'", { status: 404, code: 'model_not_found' });
  });

  it('a prompt that does not fit', async () => {
    const content = 'word '.repeat(200_000);
    expectRefusal(await chat({ messages: [{ role: 'user', content }] }), 'messages', '200000 tokens', { code: 'context_length_exceeded' });
  });

  it('a body that is too long', async () => {
    const { status, json } = await chat({ messages: [{ role: 'user', content: 'x'.repeat(9 * 1024 * 1024) }] });
    expect([status, json.error.type, json.error.code]).toEqual([413, 'invalid_request_error', 'too_large']);
  });

  const bodies: [string, string | Uint8Array, string | null][] = [
    ['nothing', '', null],
    ['half a body', '{"model":"talker","messages":[{"role":"user"', 'messages'],
    ['an array', '[]', null],
    ['two documents', '{"model":"talker"}{}', null],
    ['a member twice', '{"model":"talker","model":"plain"}', null],
    ['invalid UTF-8', Buffer.from('{"model":"talker","messages":[{"role":"user","content":"\xff"}]}', 'latin1'), 'messages'],
    ['a lone surrogate', '{"model":"talker","messages":[{"role":"user","content":"\\ud800"}]}', 'messages'],
    ['a control character', '{"model":"talker","messages":[{"role":"user","content":"\n"}]}', 'messages'],
    ['deep nesting', `{"model":"talker","messages":${'['.repeat(100_000)}`, 'messages'],
    ['very many values', `{"model":"talker","messages":[${'{},'.repeat(150_000)}{}]}`, 'messages'],
  ];
  it.each(bodies)('%s', async (_, body, param) => {
    expectRefusal(await chat(body), param, /./);
  });

  it('a wrong deadline', async () => {
    const body = { model: 'talker', messages: hello };
    expectRefusal(await server.post('/v1/chat/completions', body, { 'inference-timeout-ms': 'soon' }), null, 'Inference-Timeout-Ms');
  });
});

describe('completions refuse', () => {
  const cases: [string, object, string, string | RegExp][] = [
    ['no prompt', { prompt: null }, 'prompt', 'missing'],
    ['an empty prompt', { prompt: '' }, 'prompt', 'empty'],
    ['an empty array', { prompt: [] }, 'prompt', 'empty'],
    ['an array of an empty one', { prompt: [[]] }, 'prompt[0]', 'empty'],
    ['a mixed array', { prompt: ['a', 5] }, 'prompt[1]', 'an array of strings'],
    ['mixed arrays', { prompt: [[5], 'a'] }, 'prompt[1]', 'an array of strings'],
    ['ids and then text', { prompt: [5, 'a'] }, 'prompt[1]', 'a token id'],
    ['half an id', { prompt: [1.5] }, 'prompt[0]', 'a token id'],
    ['an id below 0', { prompt: [[1, -1]] }, 'prompt[0]', 'a token id'],
    ['an object', { prompt: {} }, 'prompt', 'a string'],
    ['messages', { messages: hello, prompt: null }, 'prompt', 'missing'],
    ['too many answers', { prompt: ['a', 'b'], n: 65 }, 'n', '128'],
    ['best_of 2', { best_of: 2 }, 'best_of', 'ranked'],
    ['a suffix', { suffix: 'x' }, 'suffix', 'not supported|cannot be asked'],
    ['an echo of ids', { prompt: [5], echo: true }, 'echo', 'text'],
    ['an echo with log probabilities', { echo: true, logprobs: 1 }, 'echo', 'log probabilities'],
    ['logprobs that are true', { logprobs: true }, 'logprobs', '0 to 20'],
    ['max_tokens 0', { max_tokens: 0 }, 'max_tokens', '1'],
  ];
  it.each(cases)('%s', async (_, body, param, says) => {
    expectRefusal(await complete(body), param, says);
  });

  it.each(['[1,,2]', '[1 2]', '[01]', '[[1],[2]', '[1]]', '[,1]'])('a prompt of %s', async (prompt) => {
    const answer = await server.post('/v1/completions', `{"model":"talker","prompt":${prompt}}`);
    expect([answer.status, answer.json.error.type]).toEqual([400, 'invalid_request_error']);
  });

  it('more token ids than one call may have', async () => {
    const answer = await server.post('/v1/completions', `{"model":"talker","prompt":[${'1,'.repeat(300_000)}1]}`);
    expectRefusal(answer, 'prompt', '262144');
  });
});

describe('around the calls', () => {
  it('members that are null count as left out', async () => {
    const nothing = {
      temperature: null,
      stop: null,
      tools: null,
      response_format: null,
      stream_options: null,
      n: null,
      seed: null,
      functions: null,
    };
    expect((await chat(nothing)).json.choices[0].message.content).toBe('hello');
  });

  it('other methods and paths are not there', async () => {
    expect((await server.get('/v1/chat/completions')).status).toBe(405);
    expect((await server.post('/v1/models', {})).status).toBe(405);
  });

  it('takes a body in gzip', async () => {
    const { gzipSync } = await import('node:zlib');
    const body = gzipSync(JSON.stringify({ model: 'talker', messages: hello }));
    expect((await server.post('/v1/chat/completions', body, { 'content-encoding': 'gzip' })).json.choices[0].message.content).toBe('hello');
  });

  it('outlives a client that leaves in the middle of its body', async () => {
    const socket = connect(Number(new URL(server.http).port), '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{"model":');
    socket.destroy();
    expect((await server.get('/v1/models')).status).toBe(200);
  });
});

describe('bodies that are damaged', () => {
  const whole = [
    { model: 'talker', messages: hello, stream: true, n: 2, temperature: 0.5, stop: ['x'], logprobs: true, top_logprobs: 1 },
    { model: 'talker', messages: hello, response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } } },
    {
      model: 'talker',
      messages: hello,
      tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
      tool_choice: 'auto',
      seed: 5,
    },
    { model: 'talker', prompt: ['a', 'b'], max_tokens: 3, echo: true, stream: true, stream_options: { include_usage: true } },
    { model: 'talker', prompt: [[1, 2], [3]], n: 2, logprobs: 2, logit_bias: { '5': 1 } },
  ].map((body) => Buffer.from(JSON.stringify(body)));
  const texts = [
    '0',
    '-1',
    '1e309',
    '9'.repeat(30),
    'null',
    'true',
    '"',
    '[',
    '{',
    '}',
    ']',
    ',',
    '\\u',
    '\\ud800',
    '\n',
    '\u00ff',
    '""',
    '[[]]',
    '{"a":',
  ];

  function damaged(random: SeededRandom): Buffer {
    const body = whole[random.below(whole.length)]!;
    const at = random.below(body.length);
    const cut = random.below(4);
    const text = Buffer.from(texts[random.below(texts.length)]!, 'latin1');
    switch (random.below(4)) {
      case 0:
        return body.subarray(0, at);
      case 1:
        return Buffer.concat([body.subarray(0, at), body.subarray(Math.min(at + cut, body.length))]);
      case 2:
        return Buffer.concat([body.subarray(0, at), text, body.subarray(at)]);
      default:
        return Buffer.concat([body.subarray(0, at), text, body.subarray(Math.min(at + cut, body.length))]);
    }
  }

  it('are answered, or refused by name, and nothing else', async () => {
    const random = new SeededRandom(6);
    const seen = new Set<number>();
    for (let round = 0; round < 40; round++) {
      const bodies = Array.from({ length: 15 }, () => damaged(random));
      const answers = await Promise.all(
        bodies.map((body) => server.post(body.includes('prompt') ? '/v1/completions' : '/v1/chat/completions', body)),
      );
      for (const [i, { status, json, bytes }] of answers.entries()) {
        seen.add(status);
        if (status === 200) continue;
        const about = `${status} ${bytes.toString()} for ${bodies[i]!.toString()}`;
        // 429: the queue of 4 is meant to be small. 500: the model of these tests does not look at tools itself.
        expect([400, 404, 429, 500], about).toContain(status);
        expect(json.error, about).toEqual({
          message: expect.any(String),
          type: expect.any(String),
          param: expect.toBeOneOf([expect.any(String), null]),
          code: expect.toBeOneOf([expect.any(String), null]),
        });
        if (status === 500) expect(json.error.message, about).toContain("model 'talker'");
      }
    }
    expect([...seen].sort()).toEqual(expect.arrayContaining([200, 400, 404]));
  });
});
