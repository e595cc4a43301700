import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { talker } from '../../../server/e2e/openai-models.case.ts';
import { exampleRepository, makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import type { Lane } from '../../load/lane.ts';
import type { LoadPlan, PlannedRequest, WireProtocol } from '../../load/load-plan.ts';
import { NodeLoop } from '../../load/node-loop.ts';
import { AskingSink, type Ended, OK } from '../asking.case.ts';
import { planOf, promptOf, targetOf } from '../plans.case.ts';
import { createTextLanes } from './text-lane.ts';

const loop = new NodeLoop('http/1.1');

async function open(
  url: string,
  protocol: WireProtocol,
  prompts: readonly PlannedRequest[],
  changes: Partial<LoadPlan> = {},
): Promise<{ lane: Lane; sink: AskingSink }> {
  const sink = new AskingSink();
  return { lane: await createTextLanes(planOf(protocol, targetOf(url), prompts, changes)).open(loop, sink), sink };
}

const chat = (content: string, stream: boolean, more: object = {}): PlannedRequest =>
  promptOf('/v1/chat/completions', { model: 'talker', stream, messages: [{ role: 'user', content }], ...more }, stream);
const ones = (count: number): number[] => Array.from({ length: count }, () => 1);

describe('a real server', () => {
  const repository = makeRepository(Object.fromEntries(Object.entries(talker).map(([path, text]) => [`talker/${path}`, text])));
  let server: ServerProcess;

  beforeAll(async () => {
    server = await ServerProcess.start([
      ...['--model-repository', exampleRepository, '--model-repository', repository.path],
      ...['--model-control-mode=explicit', '--load-model=tiny_llm', '--load-model=talker', '--load-model=repeat_int32'],
    ]);
  });
  afterAll(async () => {
    await server.stop();
    repository.remove();
  });

  const body = { text_input: 'In the beginning', parameters: { max_tokens: 12, temperature: 0, ignore_eos: true } };
  const path = '/v2/models/tiny_llm';
  const generate = promptOf(`${path}/generate`, body, false);
  const generateStream = promptOf(`${path}/generate_stream`, { ...body, stream: true }, true);
  const said = (stream: boolean, more: object = {}): PlannedRequest =>
    promptOf(
      '/v1/chat/completions',
      {
        model: 'tiny_llm',
        stream,
        max_tokens: 12,
        temperature: 0,
        ignore_eos: true,
        messages: [{ role: 'user', content: 'In the beginning' }],
        ...more,
      },
      stream,
    );
  const same = { validation: { every: 1, outputs: [], isDeterministic: true } };

  test('generate and generate_stream', async () => {
    const { lane, sink } = await open(server.http, 'generate', [generate], same);
    for (let round = 0; round < 2; round++) expect(await sink.ask(lane, 0)).toEqual({ ...OK, parts: [] });
    lane.close();
    const streamed = await open(server.http, 'generate-stream', [generateStream], same);
    for (let round = 0; round < 3; round++) {
      const ended = await streamed.sink.ask(streamed.lane, 0, null, round > 0);
      expect(ended).toMatchObject(OK);
      expect(ended.parts.length).toBeGreaterThan(8);
      expect(ended.parts.length).toBeLessThanOrEqual(12);
    }
    streamed.lane.close();
  });

  test("OpenAI's chat and completions, streamed and not", async () => {
    const prompts = [
      said(false),
      said(true),
      said(true, { stream_options: { include_usage: true } }),
      promptOf(
        '/v1/completions',
        { model: 'tiny_llm', prompt: 'In the', max_tokens: 12, temperature: 0, ignore_eos: true, stream: true },
        true,
      ),
      promptOf('/v1/completions', { model: 'tiny_llm', prompt: 'In the', max_tokens: 12, temperature: 0, ignore_eos: true }, false),
    ];
    const { lane, sink } = await open(server.http, 'openai', prompts, same);
    for (let round = 0; round < 2; round++) {
      for (const index of [0, 4]) expect(await sink.ask(lane, index)).toEqual({ ...OK, parts: [12] });
      for (const index of [1, 2, 3]) {
        const ended = await sink.ask(lane, index, null, round > 0);
        expect(ended).toMatchObject(OK);
        expect(ended.parts.length).toBeGreaterThan(8);
        expect(ended.parts.length).toBeLessThanOrEqual(12);
        // Usage knows of tokens that had no text of their own.
        expect(new Set(ended.parts.slice(0, -1))).toEqual(new Set([1]));
        const tokens = ended.parts.reduce((sum, part) => sum + part, 0);
        expect(tokens).toBeGreaterThanOrEqual(index === 2 ? 11 : 9);
        expect(tokens).toBeLessThanOrEqual(12);
      }
    }
    expect(lane.isOpen).toBe(true);
    lane.close();
  });

  test('each word of a known answer is a part', async () => {
    const prompts = [chat('one two three four', true), chat('a\n"b" \u{1f600} c', true), chat('one two three', false)];
    const { lane, sink } = await open(server.http, 'openai', prompts);
    expect(await sink.ask(lane, 0)).toEqual({ ...OK, parts: ones(4) });
    expect((await sink.ask(lane, 1)).parts).toEqual(ones(4));
    expect(await sink.ask(lane, 2)).toEqual({ ...OK, parts: [3] });
    lane.close();
  });

  test('errors, before a stream and within it', async () => {
    const { lane, sink } = await open(server.http, 'openai', [
      chat('fail a b c', true),
      chat('x', true, { model: 'nobody' }),
      chat('hi you', true),
    ]);
    const failed = await sink.ask(lane, 0);
    expect(failed).toMatchObject({ outcome: 'failed', status: 'error in a stream', parts: ones(2) });
    expect(failed.message).toContain('the model broke');
    const unknown = await sink.ask(lane, 1);
    expect(unknown).toMatchObject({ outcome: 'failed', status: 'HTTP 404', parts: [] });
    expect(unknown.message).toContain('nobody');
    expect(await sink.ask(lane, 2)).toEqual({ ...OK, parts: ones(2) });
    lane.close();
  });

  test('a model that streams something else', async () => {
    const numbers = { IN: [5, 6, 7], DELAY: [0, 0, 0], WAIT: 0 };
    const { lane, sink } = await open(
      server.http,
      'generate-stream',
      [promptOf('/v2/models/repeat_int32/generate_stream', numbers, true)],
      same,
    );
    for (let round = 0; round < 2; round++) expect(await sink.ask(lane, 0)).toEqual({ ...OK, parts: ones(3) });
    lane.close();
  });

  test('closed in the middle of a stream, by whoever hears of a part', async () => {
    const { lane, sink } = await open(server.http, 'openai', [chat('forever', true)]);
    let parts = 0;
    const heard = new Promise<void>((resolve) => {
      sink.onPart = () => {
        if (++parts < 3) return;
        lane.abandon(7);
        resolve();
      };
    });
    let ended = false;
    void sink.ask(lane, 0).then(() => {
      ended = true;
    });
    await heard;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect({ parts, ended, isOpen: lane.isOpen, closings: sink.closings }).toEqual({ parts: 3, ended: false, isOpen: false, closings: [] });
  });
});

describe('other servers', () => {
  let server: Server | null = null;

  async function stop(): Promise<void> {
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server === null ? resolve() : server.close(() => resolve())));
    server = null;
  }
  afterEach(stop);
  afterAll(() => loop.close());

  async function ask(protocol: WireProtocol, stream: boolean, answer: RequestListener, changes: Partial<LoadPlan> = {}): Promise<Ended> {
    server = createServer(answer);
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { lane, sink } = await open(url, protocol, [promptOf('/v1/x', { prompt: 'é' }, stream)], changes);
    const ended = await sink.ask(lane, 0);
    lane.close();
    return ended;
  }

  const events =
    (...data: readonly string[]): RequestListener =>
    (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const one of data) response.write(`data: ${one}\r\n\r\n`);
      response.end();
    };
  const text = (content: string, more: object = {}): string =>
    JSON.stringify({ choices: [{ delta: { content } }], ...more }, null, 1).replaceAll('\n', ' ');

  test('usage in each event says how many tokens it has', async () => {
    const usage = (tokens: number): object => ({ usage: { completion_tokens: tokens } });
    const ended = await ask(
      'openai',
      true,
      events(text('a', usage(1)), text('b c', usage(3)), text('d', usage(4)), '{"choices":[],"usage":{"completion_tokens":4}}', '[DONE]'),
    );
    expect(ended).toEqual({ ...OK, parts: [1, 2, 1] });
  });

  test('usage at the end counts what events with several tokens had, but not the one that ends the answer', async () => {
    const usage = (tokens: number): string => `{"choices":[],"usage":{"completion_tokens":${tokens}}}`;
    expect(await ask('openai', true, events(text('a b'), text('c d e'), usage(6), '[DONE]'))).toEqual({ ...OK, parts: [1, 1, 4] });
    await stop();
    expect(await ask('openai', true, events(text('a'), text('b'), usage(3), '[DONE]'))).toEqual({ ...OK, parts: [1, 1] });
  });

  test('the request is sent as it was planned', async () => {
    let seen = '';
    const ended = await ask('openai', true, (request, response) => {
      request.on('data', (bytes: Buffer) => {
        seen += bytes.toString();
      });
      request.on('end', () => {
        seen += ` ${request.method} ${request.url} ${request.headers['content-type']} ${request.headers.accept} ${request.headers['content-length']}`;
        events(text('a'), '[DONE]')(request, response);
      });
    });
    expect(ended).toMatchObject(OK);
    expect(seen).toBe('{"prompt":"é"} POST /v1/x application/json text/event-stream 15');
  });

  test.each([
    ['without [DONE]', events(text('a')), 'failed', 'stream cut', 'the stream ended after 1 events, without [DONE]'],
    ['an error', events(text('a'), '{"error":{"message":"out of memory"}}', '[DONE]'), 'failed', 'error in a stream', 'out of memory'],
    ['no JSON', events(text('a'), '{"choices":', '[DONE]'), 'wrong', 'wrong answer', 'expected JSON, got "{\\"choices\\":"'],
    ['something else', events('{"a":1}', '[DONE]'), 'wrong', 'wrong answer', 'expected choices, data or results, got "{\\"a\\":1}"'],
    [
      'no events',
      (_: unknown, response: Parameters<RequestListener>[1]) => response.end('{}'),
      'failed',
      'malformed answer',
      'expected server-sent events',
    ],
  ] as const)('a stream: %s', async (_, answer, outcome, status, message) => {
    const ended = await ask('openai', true, answer);
    expect(ended).toMatchObject({ outcome, status });
    expect(ended.message).toContain(message);
  });

  test.each([
    ['{"choices":[{"message":{"content":"a"}}],"usage":{"completion_tokens":9}}', OK, [9]],
    ['{"choices":[{"text":"a"}]}', OK, []],
    ['{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":1}}', OK, []],
    ['{"error":{"message":"no"}}', { outcome: 'failed', status: 'error in an answer', message: 'no' }, []],
    ['[]', { outcome: 'wrong', status: 'wrong answer', message: 'expected an object of JSON, got "[]"' }, []],
  ])('an answer in one piece: %s', async (body, ended, parts) => {
    expect(await ask('openai', false, (_, response) => response.end(body))).toEqual({ ...ended, parts });
  });

  test('a prompt that is answered otherwise than before', async () => {
    let next = 0;
    server = createServer((_, response) => response.end(`{"text_output":"answer ${next++ >> 1}"}`));
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { lane, sink } = await open(url, 'generate', [promptOf('/x', {}, false)], {
      validation: { every: 1, outputs: [], isDeterministic: true },
    });
    expect(await sink.ask(lane, 0)).toMatchObject(OK);
    expect(await sink.ask(lane, 0)).toMatchObject(OK);
    expect((await sink.ask(lane, 0)).message).toBe(
      'not the answer that the same request had before: outputs.text[0]: expected "answer 0", got "answer 1"',
    );
    lane.close();
  });
});
