/** The V2 protocols over llama.cpp: generate, generate_stream, and the calls that have one answer. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyBert, tinyLlama, tinyReranker } from '../../bench/models/gguf/small-models.ts';
import { connect } from '../../clients/typescript/src/index.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const repository = makeRepository({
  'tiny/1/model.gguf': tinyLlama({ context: 512 }),
  'tiny/config.yaml': 'parameters: { sequences: { string_value: "2" }, threads: { string_value: "1" } }\n',
  'embed/1/model.gguf': tinyBert(),
  'rerank/1/model.gguf': tinyReranker(),
});
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
}, 60_000);
afterAll(async () => {
  await server.kill();
  repository.remove();
});

const text = (value: string): object => ({ name: 'text_input', datatype: 'BYTES', shape: [1], data: [value] });
const parameters = { max_tokens: 8, temperature: 0 };

describe('a model that generates', () => {
  it('says the same by every call', async () => {
    const generated = await server.post('/v2/models/tiny/generate', { text_input: 'hello', parameters });
    expect(generated.status).toBe(200);
    const whole: string = generated.json.text_output;
    expect(whole.startsWith('hello')).toBe(true);
    expect(whole.length).toBeGreaterThan(5);
    expect(generated.json).toEqual({ model_name: 'tiny', model_version: '1', text_output: whole });

    const streamed = await server.post('/v2/models/tiny/generate_stream', { text_input: 'hello', stream: true, parameters });
    const events = streamed.bytes
      .toString()
      .split('\n\n')
      .filter(Boolean)
      .map((event) => JSON.parse(event.slice(6)));
    expect(events.length).toBeGreaterThan(1);
    expect(`hello${events.map(({ text_output }) => text_output).join('')}`).toBe(whole);

    const inferred = await server.post('/v2/models/tiny/infer', { inputs: [text('hello')], parameters });
    expect(inferred.status).toBe(200);
    expect(inferred.json.outputs).toEqual([{ name: 'text_output', datatype: 'BYTES', shape: [1], data: [whole] }]);
    const grpc = await connect(server.grpc);
    const { outputs } = await grpc.infer({
      model: 'tiny',
      inputs: [{ name: 'text_input', datatype: 'BYTES', data: ['hello'] }],
      parameters,
    });
    expect(outputs['text_output']!.strings()).toEqual([whole]);
    await grpc.close();
  });

  it('refuses a call that has one answer where it is asked for several', async () => {
    const inputs = [text('hello'), { name: 'stream', datatype: 'BOOL', shape: [1], data: [true] }];
    const answer = await server.post('/v2/models/tiny/infer', { inputs, parameters });
    expect([answer.status, answer.json.error]).toEqual([
      501,
      expect.stringContaining('exactly one response, got a second one: use generate_stream'),
    ]);
    const generated = await server.post('/v2/models/tiny/generate', { text_input: 'hello', stream: true, parameters });
    expect([generated.status, generated.json.error]).toEqual([400, expect.stringContaining('generate stream')]);
  });

  it("passes the model's own refusals on", async () => {
    const wrong = { text_input: 'hello', parameters: { temperature: 3 } };
    for (const call of ['generate', 'generate_stream']) {
      const answer = await server.post(`/v2/models/tiny/${call}`, wrong);
      expect([answer.status, answer.json.error]).toEqual([400, expect.stringMatching(/^temperature: expected/)]);
    }
    expect((await server.post('/v2/models/tiny/generate', { text_input: 'a', max_tokns: 3 })).json.error).toContain('max_tokens');
    expect((await server.post('/v2/models/tiny/generate', {})).status).toBe(400);
  });
});

it('models that embed and rerank are served by every call', async () => {
  const texts = { name: 'text_input', datatype: 'BYTES', shape: [2], data: ['the cat', 'a dog'] };
  const inferred = await server.post('/v2/models/embed/infer', { inputs: [texts], outputs: [{ name: 'embedding' }] });
  expect([inferred.status, inferred.json.error]).toEqual([200, undefined]);
  const { shape, data } = inferred.json.outputs[0];
  expect([shape[0], data.length]).toEqual([2, 2 * shape[1]]);
  const generated = await server.post('/v2/models/embed/generate', { text_input: texts.data });
  expect(generated.json.embedding).toEqual(data);
  const query = { name: 'query', datatype: 'BYTES', shape: [1], data: ['cat'] };
  const ranked = await server.post('/v2/models/rerank/infer', { inputs: [query, { ...texts, name: 'documents' }] });
  expect([ranked.status, ranked.json.error]).toEqual([200, undefined]);
  expect(ranked.json.outputs[0]).toMatchObject({ name: 'relevance_score', shape: [2] });
});
