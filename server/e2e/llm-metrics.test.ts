import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { writeShapedLlama } from '../../bench/models/gguf/shaped-llama.ts';
import { tinyLlama } from '../../bench/models/gguf/small-models.ts';
import { ServerProcess } from './serve.ts';

/** A model that generates text, in a process of its own: what the metrics say of it, and what becomes of streams when things end. */

const folder = mkdtempSync(join(tmpdir(), 'nereid-llm-'));
const tiny = join(folder, 'tiny.gguf');
/** Some milliseconds a token, however fast the machine. */
const slow = join(folder, 'slow.gguf');
const prompt = 'The quick brown fox jumps over the lazy dog. '.repeat(6);

let server: ServerProcess | null = null;

beforeAll(async () => {
  writeFileSync(tiny, tinyLlama());
  await writeShapedLlama(slow, {
    dim: 512,
    layers: 12,
    heads: 8,
    feedForward: 2048,
    vocabulary: 512,
    context: 2048,
    type: 'F32',
    seed: 1,
  });
}, 60_000);
afterEach(async () => {
  await server?.kill();
  server = null;
});
afterAll(() => rmSync(folder, { recursive: true }));

async function serve(...args: string[]): Promise<ServerProcess> {
  server = await ServerProcess.start(args);
  return server;
}

function complete({ http }: ServerProcess, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${http}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** What the events of a stream say, to its end. */
async function* events(response: Response): AsyncGenerator<Record<string, unknown> | '[DONE]'> {
  if (response.status !== 200) throw new Error(await response.text());
  let rest = '';
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith('data: ')) continue;
      yield line === 'data: [DONE]' ? '[DONE]' : JSON.parse(line.slice('data: '.length));
    }
  }
}

/** Of one model, without its name: `nv_llm_steps_total`, `nv_trt_llm_request_metrics waiting`. */
async function metrics({ metrics: url }: ServerProcess, model: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const line of (await (await fetch(url)).text()).split('\n')) {
    const match = /^(nv_(?:llm|trt_llm)_\w+)\{model="([^"]*)",version="1"(?:,\w+="([^"]*)")?\} (\S+)$/.exec(line);
    if (match !== null && match[2] === model) found[match[3] === undefined ? match[1]! : `${match[1]!} ${match[3]}`] = Number(match[4]);
  }
  return found;
}

/** Processes whose parent is the server. */
function hostsOf({ pid }: ServerProcess): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

describe('a language model in service', () => {
  it('counts tokens, steps and time exactly, and shows what it holds', async () => {
    const running = await serve(tiny);
    expect(await metrics(running, 'tiny')).toMatchObject({
      nv_llm_prompt_tokens_total: 0,
      nv_llm_steps_total: 0,
      'nv_trt_llm_kv_cache_block_metrics used': 0,
      'nv_trt_llm_kv_cache_block_metrics max': expect.any(Number),
    });
    const whole = await complete(running, { model: 'tiny', prompt, max_tokens: 20 });
    expect(whole.status).toBe(200);
    const { usage } = (await whole.json()) as { usage: { prompt_tokens: number; completion_tokens: number } };
    expect(usage.completion_tokens).toBe(20);
    const afterWhole = await metrics(running, 'tiny');
    expect(afterWhole).toMatchObject({
      nv_llm_prompt_tokens_total: usage.prompt_tokens,
      nv_llm_prefix_cache_hits_total: 0,
      nv_llm_generation_tokens_total: 20,
      'nv_trt_llm_request_metrics waiting': 0,
      'nv_trt_llm_request_metrics active': 0,
      nv_llm_time_to_first_token_seconds_count: expect.any(Number),
      'nv_llm_input_token_len_sum total_input_tokens': usage.prompt_tokens,
      'nv_llm_output_token_len_sum total_output_tokens': 20,
    });
    expect(afterWhole['nv_llm_steps_total']).toBeGreaterThanOrEqual(20);
    expect(afterWhole['nv_trt_llm_kv_cache_block_metrics used']).toBeGreaterThan(0);
    const stream = await complete(running, { model: 'tiny', prompt, max_tokens: 20, stream: true });
    let last: unknown = null;
    for await (const event of events(stream)) last = event;
    expect(last).toBe('[DONE]');
    const afterStream = await metrics(running, 'tiny');
    expect(afterStream).toMatchObject({
      nv_llm_prompt_tokens_total: 2 * usage.prompt_tokens,
      nv_llm_generation_tokens_total: 40,
      nv_llm_time_to_first_token_seconds_count: afterWhole['nv_llm_time_to_first_token_seconds_count']! + 1,
      'nv_llm_output_token_len_count total_output_tokens': 2,
    });
    expect(afterStream['nv_llm_prefix_cache_hits_total']).toBeGreaterThan(0);
    expect(afterStream['nv_llm_inter_token_latency_seconds_count']).toBeGreaterThan(0);
  });

  it('shows while it works what runs and what waits, and nothing of it when it is unloaded', async () => {
    mkdirSync(join(folder, 'repository/slow/1'), { recursive: true });
    writeFileSync(
      join(folder, 'repository/slow/config.pbtxt'),
      'backend: "llamacpp"\nparameters { key: "sequences" value { string_value: "2" } }\n',
    );
    writeFileSync(join(folder, 'repository/slow/1/model.gguf'), readFileSync(slow));
    const running = await serve(`--model-repository=${join(folder, 'repository')}`, '--model-control-mode=explicit', '--load-model=slow');
    const ends = new AbortController();
    for (let i = 0; i < 3; i++) {
      complete(running, { model: 'slow', prompt: `Number ${i}`, max_tokens: 1000, stream: true }, ends.signal).catch(() => {});
    }
    await vi.waitFor(
      async () =>
        expect(await metrics(running, 'slow')).toMatchObject({
          'nv_trt_llm_request_metrics waiting': 1,
          'nv_trt_llm_request_metrics active': 2,
          'nv_trt_llm_request_metrics scheduled': 2,
        }),
      { timeout: 10_000 },
    );
    ends.abort();
    await vi.waitFor(
      async () =>
        expect(await metrics(running, 'slow')).toMatchObject({
          'nv_trt_llm_request_metrics waiting': 0,
          'nv_trt_llm_request_metrics active': 0,
        }),
      { timeout: 10_000 },
    );
    const unloaded = await fetch(`${running.http}/v2/repository/models/slow/unload`, { method: 'POST' });
    expect(unloaded.status).toBe(200);
    await vi.waitFor(async () => expect(await metrics(running, 'slow')).toEqual({}), { timeout: 10_000 });
    await vi.waitFor(() => expect(hostsOf(running)).toEqual([]), { timeout: 10_000 });
  }, 60_000);

  it('may be silent for longer than an execution may take, while it gets on', async () => {
    const running = await serve(slow, tiny, '--execution-timeout-ms=400');
    expect((await complete(running, { model: 'tiny', prompt, max_tokens: 5 })).status).toBe(200);
    const startMs = performance.now();
    const whole = await complete(running, { model: 'slow', prompt: 'A long story', max_tokens: 400 });
    expect(whole.status).toBe(200);
    expect(((await whole.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(400);
    expect(performance.now() - startMs).toBeGreaterThan(800);
  }, 60_000);

  it('tells its streams when its process dies, and serves again; nothing that was counted is lost', async () => {
    const running = await serve(slow);
    const [host] = hostsOf(running);
    const response = await complete(running, { model: 'slow', prompt: 'A long story', max_tokens: 1500, stream: true });
    const seen: unknown[] = [];
    for await (const event of events(response)) {
      seen.push(event);
      // Some numbers have been told by then.
      if (seen.length === 100) process.kill(host!, 'SIGKILL');
    }
    expect(seen.length).toBeGreaterThanOrEqual(101);
    expect(JSON.stringify(seen.findLast((event) => event !== '[DONE]'))).toMatch(/"error":.*SIGKILL/);
    await vi.waitFor(async () => expect((await complete(running, { model: 'slow', prompt: 'A', max_tokens: 5 })).status).toBe(200), {
      timeout: 20_000,
    });
    const after = await metrics(running, 'slow');
    expect(after['nv_llm_generation_tokens_total']).toBeGreaterThan(5);
    expect(after['nv_trt_llm_request_metrics active']).toBe(0);
    expect(hostsOf(running)).not.toContain(host);
  }, 60_000);

  it('sums up over its instances, and keeps what one counted that died', async () => {
    const directory = join(folder, 'two/tiny');
    mkdirSync(join(directory, '1'), { recursive: true });
    writeFileSync(join(directory, '1/model.gguf'), readFileSync(tiny));
    writeFileSync(
      join(directory, 'config.pbtxt'),
      'instance_group { count: 2 }\nparameters { key: "sequences" value { string_value: "1" } }\n',
    );
    const running = await serve(`--model-repository=${join(folder, 'two')}`);
    const hosts = hostsOf(running);
    expect(hosts).toHaveLength(2);
    const max = (await metrics(running, 'tiny'))['nv_trt_llm_kv_cache_block_metrics max']!;
    const answers = await Promise.all([0, 1, 2, 3].map(() => complete(running, { model: 'tiny', prompt, max_tokens: 50 })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    process.kill(hosts[0]!, 'SIGKILL');
    await vi.waitFor(async () => expect((await metrics(running, 'tiny'))['nv_trt_llm_kv_cache_block_metrics max']).toBe(max / 2), {
      interval: 2,
    });
    expect((await complete(running, { model: 'tiny', prompt, max_tokens: 5 })).status).toBe(200);
    await vi.waitFor(
      async () =>
        expect(await metrics(running, 'tiny')).toMatchObject({
          nv_llm_generation_tokens_total: 205,
          'nv_trt_llm_kv_cache_block_metrics max': max,
        }),
      { timeout: 10_000 },
    );
  }, 30_000);

  it('finishes its streams when the server is told to end', async () => {
    const running = await serve(slow);
    const response = await complete(running, { model: 'slow', prompt: 'A long story', max_tokens: 100, stream: true });
    let last: unknown = null;
    let count = 0;
    for await (const event of events(response)) {
      if (++count === 3) running.signal('SIGTERM');
      last = event;
    }
    expect(last).toBe('[DONE]');
    expect(await running.exited).toMatchObject({ code: 0 });
  }, 60_000);

  it('cuts its streams off, with an error, when that takes too long', async () => {
    const running = await serve(slow, '--exit-timeout-secs=1');
    const response = await complete(running, { model: 'slow', prompt: 'A long story', max_tokens: 2000, stream: true });
    const seen: unknown[] = [];
    const read = (async () => {
      for await (const event of events(response)) {
        seen.push(event);
        if (seen.length === 3) running.signal('SIGTERM');
      }
    })().catch(() => {});
    expect(await running.exited).toMatchObject({ code: 1 });
    await read;
    expect(seen.length).toBeGreaterThan(3);
    expect(JSON.stringify(seen.findLast((event) => event !== '[DONE]'))).toMatch(/"error":.*stopped by the server/);
  }, 60_000);
});

describe('optional outputs', () => {
  const config = (model: string, output: string): string => `platform: ensemble
input: [{name: PROMPT, data_type: TYPE_STRING, dims: [1]}, {name: STREAM, data_type: TYPE_BOOL, dims: [1]}, {name: REASON, data_type: TYPE_BOOL, dims: [1], optional: true}]
output: [{name: TEXT, data_type: TYPE_STRING, dims: [1]}, {name: WHY, data_type: TYPE_STRING, dims: [1]}]
ensemble_scheduling:
  step:
    - {model_name: ${model}, model_version: -1, input_map: {text_input: PROMPT, stream: STREAM, return_finish_reason: REASON}, output_map: {text_output: TEXT, ${output}: WHY}}
`;
  const asker = `export const config = { maxBatchSize: 0, inputs: [{ name: 'IN', datatype: 'BYTES', dims: [-1] }], outputs: [{ name: 'OUT', datatype: 'BYTES', dims: [-1] }] };
export async function execute([{ inputs: { IN } }], context) {
  const [model, inputs, options] = JSON.parse(Buffer.from(IN.data[0]).toString());
  for (const [name, [value]] of Object.entries(inputs)) if (typeof value === 'boolean') inputs[name] = { datatype: 'BOOL', shape: [1], data: [value] };
  const got = [];
  for await (const outputs of context.stream(model, inputs, options)) got.push(Object.keys(outputs).join(' '));
  return [{ OUT: got }];
}`;

  it('are left out of what other models get of it', async () => {
    const repository = join(folder, 'optional');
    const write = (path: string, content: string | Uint8Array): void => {
      mkdirSync(dirname(join(repository, path)), { recursive: true });
      writeFileSync(join(repository, path), content);
    };
    write('tiny/1/model.gguf', readFileSync(tiny));
    write('asker/1/model.mjs', asker);
    write('why/config.yaml', config('tiny', 'finish_reason'));
    mkdirSync(join(repository, 'why/1'));
    write('calls/config.yaml', config('tiny', 'tool_calls'));
    mkdirSync(join(repository, 'calls/1'));
    const running = await serve(`--model-repository=${repository}`);
    const ask = async (model: string, inputs: object, options: object = {}): Promise<unknown> => {
      const response = await fetch(`${running.http}/v2/models/asker/infer`, {
        method: 'POST',
        body: JSON.stringify({ inputs: [{ name: 'IN', datatype: 'BYTES', shape: [1], data: [JSON.stringify([model, inputs, options])] }] }),
      });
      const answer = (await response.json()) as { outputs?: { data: unknown }[]; error?: string };
      return answer.outputs?.[0]?.data ?? answer.error;
    };
    const prompt = { text_input: ['Once upon'], stream: [false] };
    expect(await ask('tiny', prompt)).toEqual(['text_output']);
    expect(await ask('tiny', { ...prompt, return_finish_reason: [true], return_num_input_tokens: [true] })).toEqual([
      'text_output finish_reason num_input_tokens',
    ]);
    const streamed = (await ask(
      'tiny',
      { ...prompt, stream: [true], return_finish_reason: [true] },
      { parameters: { max_tokens: 3 } },
    )) as string[];
    expect(new Set(streamed)).toEqual(new Set(['text_output finish_reason']));
    expect(streamed.length).toBeGreaterThan(1);
    // A step asks for what the ensemble maps; without tools there are no calls, whoever asks.
    const input = { PROMPT: ['Once upon'], STREAM: [false] };
    expect(await ask('why', input)).toEqual(['TEXT WHY']);
    expect(await ask('calls', input)).toEqual(['TEXT']);
    expect(await ask('tiny', prompt, { outputs: ['text_output', 'tool_calls'] })).toEqual(['text_output']);
  }, 30_000);
});
