import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { decodeChat } from './decode-chat.ts';
import { decodeCompletion } from './decode-completion.ts';
import type { GenerationSpec } from './generation-spec.ts';

const messages = [{ role: 'user', content: 'é "x"' }];
const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const chat = (more: object): GenerationSpec => decodeChat(bytes({ model: 'm', messages, ...more }));
const complete = (more: object): GenerationSpec => decodeCompletion(bytes({ model: 'm', prompt: 'p', ...more }));
const samplingOf = (spec: GenerationSpec): unknown => JSON.parse(`{${spec.sampling.join(',')}}`);

const NAMES = [
  ...[
    'model',
    'messages',
    'prompt',
    'n',
    'stream',
    'stream_options',
    'logprobs',
    'top_logprobs',
    'tools',
    'tool_choice',
    'response_format',
  ],
  ...[
    'max_tokens',
    'max_completion_tokens',
    'temperature',
    'stop',
    'logit_bias',
    'seed',
    'modalities',
    'store',
    'echo',
    'best_of',
    'suffix',
    'x',
  ],
];

describe.each([
  ['chat', decodeChat],
  ['completions', decodeCompletion],
] as const)('any body of %s', (_, decode) => {
  it('is decoded, or is its sender’s mistake', () => {
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.constantFrom(0, 1, -1, 0.5, 1e300, '', 'auto', true, false, [], {}, [[]], [{}], [1, 2], ['a'], { type: 'json_schema' }, messages),
    );
    const base = fc.constantFrom({}, { model: 'm', messages }, { model: 'm', prompt: 'p' });
    fc.assert(
      fc.property(base, fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: 6 }), (given, more) => {
        try {
          const spec = decode(bytes({ ...given, ...more }));
          expect(samplingOf(spec)).toBeTypeOf('object');
          expect(spec.n * spec.prompts.length).toBeLessThanOrEqual(128);
        } catch (error) {
          expect(error).toBeInstanceOf(InferenceError);
          expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

describe('a chat', () => {
  it('keeps messages and tools as they were sent', () => {
    const tools = [{ type: 'function', function: { name: 'a' } }];
    const spec = chat({ tools, tool_choice: 'required' });
    const [prompt] = spec.prompts;
    expect(prompt!.kind === 'messages' && JSON.parse(Buffer.from(prompt!.json).toString())).toEqual(messages);
    expect([spec.tools, spec.toolChoice].map((json) => JSON.parse(Buffer.from(json!).toString()) as unknown)).toEqual([tools, 'required']);
    expect(chat({ tools: [], tool_choice: 'auto' })).toMatchObject({ tools: null, toolChoice: null });
  });

  it('tells a bound from none', () => {
    expect(chat({})).toMatchObject({ wantsAllThatFits: true, sampling: [], firstSamplingField: '' });
    expect(chat({ max_tokens: 5 })).toMatchObject({ wantsAllThatFits: false, sampling: ['"max_tokens":5'] });
    const both = chat({ max_tokens: 5, max_completion_tokens: 6 });
    expect([samplingOf(both), both.paramNames.get('max_tokens')]).toEqual([{ max_tokens: 6 }, 'max_completion_tokens']);
  });

  it('asks for JSON', () => {
    const schema = { type: 'object', properties: { 'é"': {} } };
    const spec = chat({ response_format: { json_schema: { description: 'd', schema, name: 'n' }, type: 'json_schema' } });
    expect([samplingOf(spec), spec.paramNames.get('json_schema')]).toEqual([{ json_schema: schema }, 'response_format']);
    expect(samplingOf(chat({ response_format: { type: 'json_object' } }))).toEqual({ json_object: true });
    expect(samplingOf(chat({ response_format: { type: 'json_schema', json_schema: { name: 'n' } } }))).toEqual({ json_object: true });
    expect(samplingOf(chat({ response_format: { type: 'text' } }))).toEqual({});
  });

  it('has log probabilities only where they are wanted', () => {
    expect(samplingOf(chat({ logprobs: true }))).toEqual({ logprobs: 0 });
    expect(samplingOf(chat({ logprobs: true, top_logprobs: 3 }))).toEqual({ logprobs: 3 });
    expect(chat({ logprobs: false, top_logprobs: 0 })).toMatchObject({ sampling: [], wantsLogprobs: false });
  });

  it('bounds its sampling parameters, and names the longest', () => {
    const schema = { description: 'x'.repeat(300_000) };
    expect(() => chat({ temperature: 1, response_format: { type: 'json_schema', json_schema: { schema } } })).toThrow(
      /^response_format: expected at most/,
    );
  });

  it('looks at a bounded number of names that it does not know', () => {
    const unknown = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`q${i}`, 1]));
    expect(chat(unknown).ignored).toEqual(Object.keys(unknown).slice(0, 16));
  });

  it('lets new members pass and refuses misspelt and unsupported ones', () => {
    expect(chat({ brand_new_thing: {}, user: 'u', metadata: {} }).ignored).toEqual(['brand_new_thing']);
    expect(() => chat({ top_P: 1 })).toThrow("top_P: unknown parameter; did you mean 'top_p'?");
    expect(() => chat({ prompt: 'x' })).toThrow("prompt: not supported: use 'messages'");
    expect(() => chat({ max_new_tokens: 1 })).toThrow("use 'max_tokens'");
    expect(chat({ prediction: null, audio: null }).ignored).toEqual([]);
  });
});

describe('a completion', () => {
  it('has prompts of four forms', () => {
    const prompts = (prompt: unknown): unknown =>
      complete({ prompt }).prompts.map((one) =>
        one.kind === 'text' ? Buffer.from(one.text).toString() : one.kind === 'tokens' ? [...one.tokens] : null,
      );
    expect(prompts('a')).toEqual(['a']);
    expect(prompts(['a', 'é'])).toEqual(['a', 'é']);
    expect(prompts([1, 2])).toEqual([[1, 2]]);
    expect(prompts([[1], [2, 3]])).toEqual([[1], [2, 3]]);
    expect(prompts([0, 10, 2_147_483_647])).toEqual([[0, 10, 2_147_483_647]]);
    expect(() => prompts([2_147_483_648])).toThrow('prompt[0]: expected a token id');
    expect(prompts('"\n\u0001😀')).toEqual(['"\n\u0001😀']);
  });

  it('reads token ids as JSON does, however they are spaced, and nothing else', () => {
    const prompts = (json: string) => decodeCompletion(Buffer.from(`{"model":"m","prompt":${json}}`)).prompts;
    const space = fc.string({ unit: fc.constantFrom(' ', '\n', '\t', '\r'), maxLength: 2 });
    const id = fc.oneof(fc.nat(9), fc.nat(0x7fffffff), fc.constant(0x7fffffff)).map(String);
    const wrong = fc.constantFrom('01', '2147483648', '99999999999', '1.5', '-1', '"a"', 'null', '', '1 2', '1e0');
    const list = (of: fc.Arbitrary<string>) =>
      fc.array(fc.tuple(space, of, space), { minLength: 1 }).map((parts) => `[${parts.map((part) => part.join('')).join(',')}]`);
    const tokens = (json: string) => prompts(json).map((one) => (one.kind === 'tokens' ? [...one.tokens] : null));
    fc.assert(fc.property(list(id), (json) => void expect(tokens(json)).toEqual([JSON.parse(json)])));
    fc.assert(fc.property(list(list(id)), (json) => void expect(tokens(json)).toEqual(JSON.parse(json))));
    fc.assert(fc.property(list(id), wrong, (json, one) => void expect(() => prompts(`${json.slice(0, -1)},${one}]`)).toThrow()));
    for (const json of ['[1', '[1,', '[1,]', '[[1]', '[[1,2,]]', '[,1]', '[1]]']) expect(() => prompts(json)).toThrow();
    expect(() => prompts(`[${'1,'.repeat(262_144)}1]`)).toThrow('prompt: expected at most 262144 token ids');
  });

  it('takes what only completions have', () => {
    expect(complete({ suffix: '', best_of: 1, echo: false, logprobs: 0 })).toMatchObject({
      wantsLogprobs: true,
      sampling: ['"logprobs":0'],
    });
    expect(complete({ n: 2, best_of: 2 }).n).toBe(2);
    expect(samplingOf(complete({ response_format: { type: 'json_object' } }))).toEqual({ json_object: true });
    expect(() => complete({ tools: [] })).toThrow('/v1/chat/completions');
    expect(() => complete({ max_completion_tokens: 3 })).toThrow("use 'max_tokens'");
  });
});
