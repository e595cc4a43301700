import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import { asText, TextResponse, type TokenCounts } from './text-response.ts';
import { chatLogprobs, completionLogprobs, readLogprobs } from './token-logprobs.ts';
import { readToolCalls, ToolCallCollector, toolCallDelta } from './tool-calls.ts';

const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const noCounts = (): TokenCounts => ({ inputTokens: -1, outputTokens: -1, cachedTokens: -1 });
function respond(outputs: readonly [string, Datatype, Uint8Array][]): InferenceResponse {
  const tensors = outputs.map(([name, datatype, data]) => ({ name, datatype, shape: [1], data }));
  return new InferenceResponse('m', '1', tensors, null, timing);
}

describe('a response of a text model', () => {
  it('is opened, whatever the order and whatever is left out', () => {
    const opened = new TextResponse();
    const counts = noCounts();
    opened.open(
      respond([
        ['finish_reason', 'BYTES', encodeBytes(['length'])],
        ['num_output_tokens', 'UINT32', Uint8Array.of(255, 255, 255, 255)],
        ['other', 'FP32', new Uint8Array(4)],
        ['text_output', 'BYTES', encodeBytes(['é', 'more'])],
      ]),
      counts,
    );
    expect([asText(opened.text), opened.finishReason, opened.logprobs.length, counts]).toEqual([
      ...['é', 'length', 0],
      { inputTokens: -1, outputTokens: 2 ** 32 - 1, cachedTokens: -1 },
    ]);
    opened.open(respond([['text_output', 'BYTES', new Uint8Array(0)]]), counts);
    expect([opened.text.length, opened.finishReason]).toEqual([0, '']);
  });

  it.each<[string, Datatype, Uint8Array]>([
    ['text_output', 'FP32', new Uint8Array(4)],
    ['text_output', 'BYTES', Uint8Array.of(9, 0, 0, 0, 1)],
    ['finish_reason', 'INT64', new Uint8Array(8)],
    ['num_input_tokens', 'UINT8', new Uint8Array(1)],
  ])('whose %s is %s is the model’s mistake', (name, datatype, data) => {
    expect(() => new TextResponse().open(respond([[name, datatype, data]]), noCounts())).toThrow(
      expect.objectContaining({ code: 'INTERNAL', failureReason: 'BACKEND' }),
    );
  });
});

describe('log probabilities', () => {
  const tokens = readLogprobs(
    json([
      { token: '😀 ', logprob: -1, bytes: [1], top_logprobs: [{ token: 'a', logprob: null, bytes: null }] },
      { token: 'b', logprob: -2, extra: 1 },
    ]),
  );

  it('have the form of chat, and of completions', () => {
    expect(chatLogprobs(tokens)).toEqual({
      content: [
        { token: '😀 ', logprob: -1, bytes: [1], top_logprobs: [{ token: 'a', logprob: -9999, bytes: null }] },
        { token: 'b', logprob: -2, bytes: null, top_logprobs: [] },
      ],
      refusal: null,
    });
    expect(completionLogprobs(tokens, 10)).toEqual({
      json: { tokens: ['😀 ', 'b'], token_logprobs: [-1, -2], top_logprobs: [{ a: -9999 }, {}], text_offset: [10, 12] },
      end: 13,
    });
  });

  it('of any other form are the model’s mistake', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          expect(JSON.stringify(readLogprobs(json(value)))).not.toContain('\n');
        } catch (error) {
          expect(error).toBeInstanceOf(InferenceError);
        }
      }),
    );
    expect(() => readLogprobs(json([null]))).toThrow('logprobs');
    expect(() => readLogprobs(new Uint8Array(0))).toThrow('logprobs');
  });
});

describe('tool calls', () => {
  const pieces = [
    [{ index: 1, id: 'b', type: 'function', name: 'g', arguments: '' }],
    [{ index: 0, id: 'a', name: 'f', arguments: '{' }],
    [{ index: 0, arguments: '}' }],
  ].map((one) => readToolCalls(json(one)));

  it('are put together', () => {
    const collector = new ToolCallCollector();
    expect(collector.calls).toBeNull();
    for (const one of pieces) collector.add(one);
    expect(collector.calls).toEqual([
      { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } },
      { id: 'b', type: 'function', function: { name: 'g', arguments: '' } },
    ]);
  });

  it('are deltas', () => {
    expect(pieces.map(toolCallDelta)).toEqual([
      { tool_calls: [{ index: 1, id: 'b', type: 'function', function: { name: 'g', arguments: '' } }] },
      { tool_calls: [{ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '{' } }] },
      { tool_calls: [{ index: 0, function: { arguments: '}' } }] },
    ]);
  });

  it.each([{}, [null], [{ index: -1 }], [{ index: 5_000 }], [{ index: 0, id: 3 }], [{ index: 0, arguments: {} }]])(
    'of another form are the model’s mistake: %j',
    (value) => {
      expect(() => readToolCalls(json(value))).toThrow('tool_calls');
    },
  );
});
