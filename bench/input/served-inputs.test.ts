import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTransport } from '../../clients/typescript/src/http/http-transport.ts';
import type { InferResponse, Transport } from '../../clients/typescript/src/transport.ts';
import { exampleRepository, ServerProcess, until } from '../../server/e2e/serve.ts';
import { openTarget } from '../target/open-target.ts';
import type { TargetModel } from '../target/target.ts';
import { makeRequests, type RequestOptions } from './make-inputs.ts';
import { makePrompts } from './make-prompts.ts';

/** What is made is what a server takes. */
describe('made requests, served by a Nereid', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-recorded-'));
  let server: ServerProcess;
  let transport: Transport;

  beforeAll(async () => {
    const models = ['simple', 'simple_identity', 'digits', 'tiny_llm'].map((name) => `--load-model=${name}`);
    const recording = ['--record-requests=4', `--record-requests-dir=${folder}`];
    server = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      '--model-control-mode=explicit',
      ...models,
      ...recording,
    ]);
    transport = createTransport(new URL(server.http), { compression: 'none', tls: null, fetch: null });
  }, 60_000);

  afterAll(async () => {
    await transport?.close();
    await server?.stop();
    rmSync(folder, { recursive: true });
  });

  async function describeModel(name: string): Promise<TargetModel> {
    const options = { url: server.http, protocol: 'http-binary', model: name, version: '', headers: {}, tls: null } as const;
    const { model } = await openTarget({ ...options, serverPid: null, metricsUrl: null, timeoutMs: 5_000 });
    return model!;
  }

  async function serve(name: string, what: string, more: Partial<RequestOptions> = {}): Promise<InferResponse[]> {
    const rest = { shapes: new Map(), distinct: 3, stringLength: 5, parameters: {}, outputs: [], seed: 1, batchSize: 1 };
    const made = await makeRequests({ model: await describeModel(name), protocol: 'http-binary', what, ...rest, ...more });
    const call = { signal: null, deadlineMs: Number.POSITIVE_INFINITY, headers: {} };
    return Promise.all(made.requests.map(({ infer }) => transport.infer(infer!, call)));
  }

  it.each(['simple', 'simple_identity', 'digits'])('%s takes random ones and zeros, in batches, as bytes and as JSON', async (name) => {
    for (const protocol of ['http-binary', 'http-json'] as const) {
      const answers = await serve(name, 'random', { batchSize: 4, protocol });
      expect(answers).toHaveLength(3);
      for (const { outputs } of answers) for (const { shape } of outputs) expect(shape[0]).toBe(4);
    }
    expect(await serve(name, 'zero')).toHaveLength(1);
  });

  it('answers only what is asked for', async () => {
    const [answer] = await serve('simple', 'random', { outputs: ['OUTPUT1'] });
    expect(answer!.outputs.map(({ name }) => name)).toEqual(['OUTPUT1']);
  });

  it('takes again what it has recorded', async () => {
    await serve('simple', 'random', { distinct: 4 });
    const path = join(folder, 'simple', 'requests-1.jsonl');
    await until(async () => {
      try {
        return (await serve('simple', path)).length === 4;
      } catch {
        return false;
      }
    });
  });

  it('goes on with prompts, by each way of text', async () => {
    const options = {
      model: 'tiny_llm',
      modelVersion: '',
      promptTokens: 20,
      promptSpread: 5,
      sharedPrefix: 5,
      promptsFile: null,
      maxTokens: 2,
    };
    for (const protocol of ['openai', 'generate', 'generate-stream'] as const) {
      for (const endpoint of protocol === 'openai' ? (['chat', 'completions'] as const) : (['chat'] as const)) {
        const stream = protocol === 'generate-stream';
        const { requests } = await makePrompts({
          ...options,
          protocol,
          endpoint,
          stream,
          distinct: 1,
          seed: 1,
          parameters: { ignore_eos: true, temperature: 0 },
        });
        const { path, body } = requests[0]!.text!;
        const answer = await server.post(path, body);
        expect([path, answer.status, String(answer.bytes)]).toEqual([path, 200, expect.stringMatching(/text_output|choices/)]);
      }
    }
  });
});
