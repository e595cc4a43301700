/** Models that are loaded by the first call of OpenAI's API, that change under it, and servers that end while one runs. */

import OpenAI from 'openai';
import { afterEach, expect, it } from 'vitest';
import { talker } from './openai-models.case.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

let repository: ReturnType<typeof makeRepository>;
let server: ServerProcess;
let client: OpenAI;

async function start(files: Readonly<Record<string, string>>, ...args: string[]): Promise<void> {
  repository = makeRepository(files);
  server = await ServerProcess.start([`--model-repository=${repository.path}`, ...args]);
  client = new OpenAI({ baseURL: `${server.http}/v1`, apiKey: 'none', maxRetries: 0 });
}

afterEach(async () => {
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const messages = (content: string): OpenAI.ChatCompletionMessageParam[] => [{ role: 'user', content }];
const files = (name: string, more = ''): Record<string, string> => ({
  [`${name}/config.yaml`]: talker['config.yaml']!,
  [`${name}/1/model.mjs`]: talker['1/model.mjs']! + more,
});
const slow = 'export const initialize = () => new Promise((resolve) => setTimeout(resolve, 1_500));\n';

it('the first call loads the model', async () => {
  await start({ ...files('talker'), ...files('other'), ...files('slow', slow) }, '--load-on-demand');
  expect((await client.models.list()).data).toEqual([]);
  await expect(client.models.retrieve('talker')).rejects.toMatchObject({ status: 404, message: expect.stringContaining('first asked') });

  const whole = await client.chat.completions.create({ model: 'talker', messages: messages('one') });
  expect(whole.choices[0]!.message.content).toBe('one');
  const streamed = client.chat.completions.stream({ model: 'other', messages: messages('two') });
  expect((await streamed.finalMessage()).content).toBe('two');
  expect((await client.models.list()).data.map(({ id }) => id).sort()).toEqual(['other', 'talker']);

  await expect(client.chat.completions.create({ model: 'nobody', messages: messages('x') })).rejects.toMatchObject({ status: 404 });
  await expect(client.chat.completions.create({ model: 'talker@x', messages: messages('x') })).rejects.toMatchObject({ status: 400 });

  const headers = { 'Inference-Timeout-Ms': '50' };
  const late = client.chat.completions.create({ model: 'slow', messages: messages('x') }, { headers });
  await expect(late).rejects.toMatchObject({ status: 504, code: 'deadline_exceeded' });
  const controller = new AbortController();
  const gone = client.chat.completions.create({ model: 'slow', messages: messages('x'), stream: true }, { signal: controller.signal });
  controller.abort();
  await expect(gone).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
  expect((await client.chat.completions.create({ model: 'slow', messages: messages('x') })).choices[0]!.message.content).toBe('x');
});

it('a stream that runs is finished when the server ends', async () => {
  await start(files('talker'));
  const running = client.chat.completions.stream({ model: 'talker', messages: messages('late') });
  const done = running.finalMessage();
  await until(() => server.stderr.includes('talker began'));
  const ended = server.stop();
  expect((await done).content).toBe('late');
  expect((await ended).code).toBe(0);
});

it('a model is as old as its load', async () => {
  await start(files('talker'), '--model-control-mode=explicit', '--load-model=talker');
  const seconds = (): number => Math.floor(Date.now() / 1000);
  const created = async (): Promise<number> => (await server.get('/v1/models/talker')).json.created;
  const loaded = seconds();
  await until(() => seconds() > loaded);
  const first = await created();
  expect(first).toBeLessThanOrEqual(loaded);
  expect(first).toBeGreaterThan(loaded - 60);
});

it('an unloaded model is not found', async () => {
  await start(files('talker'), '--model-control-mode=explicit', '--load-model=talker');
  expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['talker']);
  expect((await server.post('/v2/repository/models/talker/unload', {})).status).toBe(200);
  expect((await client.models.list()).data).toEqual([]);
  await expect(client.models.retrieve('talker')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  await expect(client.chat.completions.create({ model: 'talker', messages: messages('x') })).rejects.toMatchObject({ status: 404 });
});

it('pages of an allowed origin may call, with the headers of the official client', async () => {
  await start(files('talker'), '--http-allow-origin=https://app.example.com');
  const sent: string[] = [];
  const spying = new OpenAI({
    ...{ baseURL: `${server.http}/v1`, apiKey: 'none', dangerouslyAllowBrowser: true },
    fetch: (url, init) => {
      sent.push(...new Headers(init?.headers).keys());
      return fetch(url, init);
    },
  });
  await spying.chat.completions.stream({ model: 'talker', messages: messages('one') }).finalMessage();
  await spying.models.list();
  const names = sent.filter((name) => !['accept', 'user-agent', 'content-length'].includes(name));
  expect(names).toContain('authorization');
  for (const [path, method] of [
    ['/v1/chat/completions', 'POST'],
    ['/v1/models', 'GET'],
    ['/v1/embeddings', 'POST'],
    ['/v1/rerank', 'POST'],
  ] as const) {
    const headers = { origin: 'https://app.example.com', 'access-control-request-method': method };
    const preflight = await fetch(server.http + path, { method: 'OPTIONS', headers });
    const allowed = preflight.headers.get('access-control-allow-headers')!.split(', ');
    expect(allowed).toEqual(expect.arrayContaining(names));
  }
  const answer = await server.post(
    '/v1/completions',
    { model: 'talker', prompt: 'x', stream: true },
    { origin: 'https://app.example.com' },
  );
  expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
});
