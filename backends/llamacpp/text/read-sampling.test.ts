import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { type RequestParameters, readSampling, SAMPLING_NAMES, type TextSampling } from './read-sampling.ts';

const limits = { vocabularySize: 1000, defaultMaxTokens: 16, maxOutputTokens: 500 };
const fromJson = (value: unknown): TextSampling => readSampling(JSON.stringify(value), {}, limits);
const fromParameters = (parameters: RequestParameters): TextSampling => readSampling(null, parameters, limits);

function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(InferenceError);
    expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
    return (error as InferenceError).message;
  }
  throw new Error('nothing was refused');
}

describe('readSampling', () => {
  it('has defaults as vLLM has them', () => {
    expect(readSampling(null, {}, limits)).toEqual({
      maxTokens: 16,
      minTokens: 0,
      settings: { temperature: 1 },
      stops: [],
      showsStop: false,
      stopTokens: new Set(),
      ignoresEnd: false,
      logprobs: -1,
      jsonSchema: undefined,
      grammar: null,
      isJsonObject: false,
      parallelToolCalls: true,
    });
  });

  it('reads every one of them', () => {
    const schema = { type: 'object' };
    expect(
      fromJson({
        max_tokens: 100,
        min_tokens: 3,
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.05,
        seed: 7,
        stop: ['a', 'b'],
        include_stop_str_in_output: true,
        stop_token_ids: [1, 999],
        ignore_eos: true,
        repetition_penalty: 1.1,
        frequency_penalty: 0.5,
        presence_penalty: -0.5,
        logit_bias: { 5: 2.5, 6: -100, 7: 0 },
        logprobs: 5,
        json_schema: schema,
        parallel_tool_calls: false,
      }),
    ).toEqual({
      maxTokens: 100,
      minTokens: 3,
      settings: {
        temperature: 0.5,
        topP: 0.9,
        topK: 40,
        minP: 0.05,
        seed: 7,
        repetitionPenalty: 1.1,
        frequencyPenalty: 0.5,
        presencePenalty: -0.5,
        penaltyLastTokens: -1,
        logitBias: new Map([
          [5, 2.5],
          [6, Number.NEGATIVE_INFINITY],
        ]),
      },
      stops: ['a', 'b'],
      showsStop: true,
      stopTokens: new Set([1, 999]),
      ignoresEnd: true,
      logprobs: 5,
      jsonSchema: schema,
      grammar: null,
      isJsonObject: false,
      parallelToolCalls: false,
    });
    expect(fromJson({ grammar: 'root ::= "a"' }).grammar).toBe('root ::= "a"');
    expect(fromJson({ json_object: true }).isJsonObject).toBe(true);
  });

  it('leaves out samplers that would change nothing', () => {
    const neutral = {
      top_p: 1,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      frequency_penalty: 0,
      presence_penalty: 0,
      logit_bias: {},
      seed: -1,
    };
    expect(fromJson(neutral).settings).toEqual({ temperature: 1 });
    expect(fromJson({ top_k: -1 }).settings).toEqual({ temperature: 1 });
    // Divided by it, logits would be infinite.
    for (const tiny of [1e-5, 1e-40, 1e-320]) expect(fromJson({ temperature: tiny }).settings).toEqual({ temperature: 0 });
  });

  it('takes request parameters, lists and objects as JSON text, and lets them win', () => {
    const json = JSON.stringify({ max_tokens: 5, temperature: 0.1, top_k: 3 });
    const sampling = readSampling(
      json,
      { max_tokens: 6, stop: '["x","y"]', logit_bias: '{"3":1}', stop_token_ids: '[4]', json_schema: '{"type":"string"}' },
      limits,
    );
    expect([sampling.maxTokens, sampling.settings.temperature, sampling.settings.topK]).toEqual([6, 0.1, 3]);
    expect([sampling.stops, [...sampling.stopTokens], sampling.jsonSchema]).toEqual([['x', 'y'], [4], { type: 'string' }]);
    expect(sampling.settings.logitBias).toEqual(new Map([[3, 1]]));
  });

  it('takes a stop string as it is where it is no list', () => {
    expect(fromParameters({ stop: 'END' }).stops).toEqual(['END']);
    expect(fromParameters({ stop: '[END' }).stops).toEqual(['[END']);
    expect(fromParameters({ stop: '[1]' }).stops).toEqual(['[1]']);
    expect(fromJson({ stop: '["a"]' }).stops).toEqual(['["a"]']);
  });

  it('takes numbers with exponents, and null for "not given"', () => {
    expect(readSampling('{"temperature":5e-1,"max_tokens":1e2,"top_p":null,"stop":null,"seed":null}', {}, limits)).toMatchObject({
      maxTokens: 100,
      settings: { temperature: 0.5 },
      stops: [],
    });
  });

  it("takes texts of numbers and flags, as clients of Triton's vLLM backend send them", () => {
    const texts = { temperature: '0.1', top_p: '0.95', max_tokens: '100', top_k: '-1', ignore_eos: 'True', seed: '7' };
    expect(fromJson(texts)).toMatchObject({ maxTokens: 100, ignoresEnd: true, settings: { temperature: 0.1, topP: 0.95, seed: 7 } });
  });

  it('makes 32 bits of any seed, the same each time, and never the one that means "none"', () => {
    expect(fromParameters({ seed: 0xffff_ffff }).settings.seed).toBe(0xffff_fffe);
    expect(readSampling('{"seed":9223372036854775807}', {}, limits).settings.seed).toBeTypeOf('number');
    expect(readSampling('{"seed":-9223372036854775808}', {}, limits).settings.seed).toBeTypeOf('number');
    fc.assert(
      fc.property(fc.maxSafeInteger(), (seed) => {
        const { seed: read } = fromParameters({ seed }).settings;
        if (seed === -1) return;
        expect(read! >= 0 && read! < 0xffff_ffff && Number.isInteger(read)).toBe(true);
        expect(fromParameters({ seed }).settings.seed).toBe(read);
        if (seed >= 0 && seed < 0xffff_ffff) expect(read).toBe(seed);
      }),
    );
  });

  it.each<[string, unknown, RegExp]>([
    ['max_tokens', 0, /^max_tokens: expected an integer from 1 to 2147483647, got 0$/],
    ['max_tokens', -5, /^max_tokens: .* got -5$/],
    ['max_tokens', 1.5, /^max_tokens: .* got 1.5$/],
    ['max_tokens', 'twelve', /^max_tokens: .* got "twelve"$/],
    ['max_tokens', '0x10', /^max_tokens: /],
    ['temperature', '', /^temperature: /],
    ['temperature', 'NaN', /^temperature: /],
    ['max_tokens', 501, /^max_tokens: expected at most 500, .*max_output_tokens, got 501$/],
    ['min_tokens', 17, /^min_tokens: expected at most max_tokens, which is 16, got 17$/],
    ['temperature', 3, /^temperature: expected a number from 0 to 2, got 3$/],
    ['temperature', -0.1, /^temperature: /],
    ['temperature', true, /^temperature: .* got true$/],
    ['top_p', 0, /^top_p: /],
    ['top_p', 1.01, /^top_p: /],
    ['top_k', -2, /^top_k: /],
    ['min_p', 2, /^min_p: /],
    ['seed', 0.5, /^seed: /],
    ['seed', 1e30, /^seed: /],
    ['stop', '', /^stop: /],
    ['stop', ['a', ''], /^stop: \[1\]: /],
    ['stop', [1], /^stop: .* got 1$/],
    ['stop', { a: 1 }, /^stop: .* got an object$/],
    ['stop', new Array(17).fill('x'), /^stop: expected at most 16 strings, got 17$/],
    ['stop', 'é'.repeat(513), /^stop: expected at most 1024 bytes of UTF-8, got 1026$/],
    ['stop', '\ud800', /^stop: .*surrogate/],
    ['include_stop_str_in_output', 1, /^include_stop_str_in_output: expected true or false, got 1$/],
    ['stop_token_ids', [1000], /^stop_token_ids: expected token ids from 0 to 999, got 1000$/],
    ['stop_token_ids', [-1], /^stop_token_ids: /],
    ['stop_token_ids', [1.5], /^stop_token_ids: /],
    ['stop_token_ids', 5, /^stop_token_ids: /],
    ['ignore_eos', 'yes', /^ignore_eos: /],
    ['repetition_penalty', 0, /^repetition_penalty: expected a number from 0.01 to 2, got 0$/],
    ['repetition_penalty', 1e-320, /^repetition_penalty: /],
    ['frequency_penalty', 2.1, /^frequency_penalty: /],
    ['presence_penalty', -2.1, /^presence_penalty: /],
    ['logit_bias', { 1000: 1 }, /^logit_bias: expected token ids from 0 to 999 as keys, got "1000"$/],
    ['logit_bias', { '-1': 1 }, /^logit_bias: /],
    ['logit_bias', { '01': 1 }, /^logit_bias: /],
    ['logit_bias', { x: 1 }, /^logit_bias: .* got "x"$/],
    ['logit_bias', { 5: 101 }, /^logit_bias: 5: expected a number from -100 to 100, got 101$/],
    ['logit_bias', { 5: 'a' }, /^logit_bias: 5: /],
    ['logit_bias', [1], /^logit_bias: /],
    ['logprobs', 21, /^logprobs: expected an integer from 0 to 20, got 21$/],
    ['logprobs', true, /^logprobs: /],
    ['json_schema', 5, /^json_schema: /],
    ['json_schema', '{"type"', /^json_schema: expected JSON text/],
    ['json_schema', [], /^json_schema: /],
    ['grammar', '', /^grammar: /],
    ['json_object', 'maybe', /^json_object: /],
    ['parallel_tool_calls', 0, /^parallel_tool_calls: /],
  ])('refuses %s = %j', (name, value, message) => {
    expect(refusal(() => fromJson({ [name]: value }))).toMatch(message);
  });

  it('refuses what is too large', () => {
    const biases = Object.fromEntries(Array.from({ length: 1025 }, (_, token) => [token, 1]));
    const large = { ...limits, vocabularySize: 5000 };
    expect(refusal(() => readSampling(JSON.stringify({ logit_bias: biases }), {}, large))).toMatch(
      /^logit_bias: expected at most 1024 entries, got 1025$/,
    );
    const text = 'a'.repeat(1024 * 1024 + 1);
    expect(refusal(() => fromParameters({ grammar: text }))).toMatch(/^grammar: expected at most 1048576 bytes, got 1048577$/);
    expect(refusal(() => fromParameters({ json_schema: text }))).toMatch(
      /^json_schema: expected at most 1048576 bytes of JSON, got 1048577$/,
    );
    expect(refusal(() => readSampling(text, {}, limits))).toMatch(/^sampling_parameters: expected at most 1048576 bytes of JSON/);
    const deep = `{"stop":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    expect(refusal(() => readSampling(deep, {}, limits))).toMatch(/^stop: .* got a list of 1$/);
  });

  it('refuses numbers that JSON does not have, given as request parameters', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(refusal(() => fromParameters({ temperature: value }))).toMatch(/^temperature: /);
      expect(refusal(() => fromParameters({ max_tokens: value }))).toMatch(/^max_tokens: /);
      expect(refusal(() => fromParameters({ seed: value }))).toMatch(/^seed: /);
    }
    expect(refusal(() => readSampling('{"temperature":1e999}', {}, limits))).toMatch(/^temperature: .* got Infinity$/);
  });

  it('refuses names that it does not know, with the nearest that it does', () => {
    expect(refusal(() => fromJson({ temprature: 1 }))).toMatch(/^temprature: .* did you mean 'temperature'\?$/);
    expect(refusal(() => fromParameters({ max_token: 1 }))).toMatch(/^max_token: .* did you mean 'max_tokens'\?$/);
    expect(refusal(() => fromParameters({ max_completion_tokens: 1 }))).toMatch(/^max_completion_tokens: .*max_tokens/);
    expect(refusal(() => fromParameters({ stream: true }))).toMatch(/^stream: .* send it as an input tensor$/);
    expect(refusal(() => fromJson({ beam_width: 2 }))).toContain('it has max_tokens, ');
    for (const name of ['__proto__', 'constructor', 'toString']) {
      expect(refusal(() => readSampling(`{"${name}":1}`, {}, limits))).toMatch(new RegExp(`^${name}: `));
    }
  });

  it.each(['', '{', '[]', '5', 'null', '"x"', '{"a":NaN}'])('refuses %j as sampling_parameters', (json) => {
    expect(refusal(() => readSampling(json, {}, limits))).toMatch(/^sampling_parameters: /);
  });

  it('refuses two ways to shape the text', () => {
    expect(refusal(() => fromJson({ json_schema: {}, grammar: 'x' }))).toMatch(/^grammar: /);
    expect(refusal(() => fromJson({ json_schema: {}, json_object: true }))).toMatch(/^json_object: /);
  });

  it('answers any JSON with settings or INVALID_ARGUMENT', () => {
    const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.double(), fc.integer());
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...SAMPLING_NAMES), value), (given) => {
        try {
          const { maxTokens, settings } = fromJson(given);
          expect(maxTokens >= 1 && maxTokens <= 500 && settings.temperature >= 0 && settings.temperature <= 2).toBe(true);
        } catch (error) {
          if (!(error instanceof InferenceError)) throw error;
          expect(error.code).toBe('INVALID_ARGUMENT');
        }
      }),
      { numRuns: 1000 },
    );
  });
});
