import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TextEvent } from './text-event.ts';

interface Facts {
  readonly hasText: boolean;
  readonly completionTokens: number;
  readonly isError: boolean;
}

function read(text: string, protocol: 'openai' | 'generate' = 'openai'): Facts {
  const event = new TextEvent(protocol);
  // Bytes in front and behind must not matter.
  const bytes = Buffer.from(`"text":"${text}"text":"x`);
  event.read(bytes, 8, bytes.length - 9);
  const { hasText, completionTokens, isError } = event;
  return { hasText, completionTokens, isError };
}

const chunk = (delta: unknown, more: object = {}): string =>
  JSON.stringify({
    id: 'x',
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, logprobs: null, finish_reason: null }],
    ...more,
  });

describe("OpenAI's", () => {
  test.each([
    [chunk({ content: 'a' }), true],
    [chunk({ content: '"' }), true],
    [chunk({ role: 'assistant', content: '' }), false],
    [chunk({ content: null }), false],
    [chunk({}), false],
    [chunk({ reasoning_content: 'hm' }), true],
    [chunk({ reasoning: 'hm', content: '' }), true],
    [chunk({ content: null, refusal: 'no' }), true],
    [chunk({ tool_calls: [{ index: 0, function: { arguments: '' } }] }), true],
    [chunk({ tool_calls: [] }), false],
    [chunk({ content: [{ type: 'text', text: 'a' }] }), true],
    [JSON.stringify({ choices: [{ text: 'a' }] }), true],
    [JSON.stringify({ choices: [{ text: '' }, { text: 'b' }] }), true],
    [JSON.stringify({ choices: [], note: '"content":"x", "text": "y"' }), false],
    [JSON.stringify({ choices: [], 'a"content': 'x', my_content: 'x', Content: 'x' }), false],
  ])('%s brings text: %s', (text, hasText) => {
    expect(read(text).hasText).toBe(hasText);
    expect(read(JSON.stringify(JSON.parse(text), null, 3)).hasText).toBe(hasText);
  });

  test('usage', () => {
    expect(read(chunk({}, { usage: { prompt_tokens: 5, completion_tokens: 17, total_tokens: 22 } })).completionTokens).toBe(17);
    expect(read('{"usage" : { "completion_tokens" :\t0 }}').completionTokens).toBe(0);
    expect(read(chunk({ content: '"completion_tokens":5' }, { usage: null })).completionTokens).toBe(-1);
    expect(read('{"usage":{"completion_tokens":null}}').completionTokens).toBe(-1);
    expect(read('{"usage":{"completion_tokens":99999999999}}').completionTokens).toBe(-1);
  });

  test('errors', () => {
    expect(read('{"error":{"message":"x"}}').isError).toBe(true);
    expect(read('{ "object" : "error" , "error" : "x" }').isError).toBe(true);
    expect(read('{"error":null,"choices":[]}').isError).toBe(false);
    expect(read('{"choices":[{"error":"inside"}]}').isError).toBe(false);
    expect(read('{"a":"{\\"error\\":1}"}').isError).toBe(false);
  });
});

describe('of the generate extension', () => {
  test.each([
    ['{"model_name":"m","text_output":"a"}', true],
    ['{"model_name":"m","text_output" : "a"}', true],
    ['{"text_output":""}', false],
    ['{"text_output":["", "a"]}', true],
    ['{"text_output":[ "a" ]}', true],
    ['{"text_output":["",""]}', false],
    ['{"text_output":[]}', false],
    ['{"content":"a","text":"b"}', false],
  ])('%s brings text: %s', (text, hasText) => expect(read(text, 'generate').hasText).toBe(hasText));

  test('an output may be called error', () => {
    expect(read('{"error":"x"}', 'generate').isError).toBe(true);
    expect(read('{"error":"x","model_name":"m"}', 'generate').isError).toBe(false);
  });
});

test('any JSON: as JSON.parse says', () => {
  const value = fc.jsonValue({ maxDepth: 3 });
  const member = fc.record(
    {
      content: fc.oneof(fc.string({ unit: 'grapheme' }), value),
      usage: fc.record({ completion_tokens: fc.nat(1000) }),
      error: fc.oneof(fc.constant(null), fc.string()),
      noise: value,
    },
    { requiredKeys: [] },
  );
  const isNoise = (json: unknown): boolean =>
    /"(content|text|refusal|reasoning|reasoning_content|tool_calls|completion_tokens)":/.test(JSON.stringify(json ?? null));
  fc.assert(
    fc.property(member, fc.nat(4), (json, indent) => {
      fc.pre(!isNoise(json.noise) && (typeof json.content === 'string' || !isNoise(json.content)));
      const facts = read(JSON.stringify(json, null, indent));
      expect(facts.hasText).toBe(typeof json.content === 'string' && json.content !== '');
      expect(facts.completionTokens).toBe(json.usage?.completion_tokens ?? -1);
      expect(facts.isError).toBe(json.error !== undefined && json.error !== null);
    }),
  );
});

test('whatever the bytes are, it ends', () => {
  const whole = Buffer.from(chunk({ content: 'a\\"b' }, { usage: { completion_tokens: 3 } }));
  for (const protocol of ['openai', 'generate'] as const) {
    const event = new TextEvent(protocol);
    fc.assert(
      fc.property(fc.nat(whole.length), fc.uint8Array({ maxLength: 4 }), (at, put) => {
        const bytes = Buffer.concat([whole.subarray(0, at), put]);
        event.read(bytes, 0, bytes.length);
        expect(typeof event.hasText).toBe('boolean');
      }),
    );
  }
});
