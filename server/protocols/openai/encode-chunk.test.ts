import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkForm } from './encode-chunk.ts';

const envelope = JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'a "b"' }).slice(1, -1);
const decode = (event: Uint8Array | string): unknown => {
  const text = typeof event === 'string' ? event : Buffer.from(event).toString('utf8');
  expect(text).toMatch(/^data: [^\n\r]*\n\n$/);
  return JSON.parse(text.slice(6));
};

describe('a chunk', () => {
  it('holds any text', () => {
    const chat = new ChunkForm('chat', envelope, 3, false);
    const completion = new ChunkForm('completion', envelope, 0, true);
    const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'a "b"' };
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
        const bytes = Buffer.from(text);
        expect(decode(chat.text(bytes))).toEqual({
          ...head,
          choices: [{ index: 3, delta: { content: text }, logprobs: null, finish_reason: null }],
        });
        expect(decode(completion.text(bytes))).toEqual({
          ...head,
          choices: [{ index: 0, text, logprobs: null, finish_reason: null }],
          usage: null,
        });
      }),
    );
  });

  it('holds any bytes: what is no UTF-8 becomes U+FFFD', () => {
    const form = new ChunkForm('completion', envelope, 0, false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const { choices } = decode(form.text(bytes)) as { choices: { text: string }[] };
        expect(choices[0]!.text).toBe(Buffer.from(bytes).toString('utf8'));
      }),
    );
  });

  it.each([1, 40_000, 1_000_000])('holds %i letters that all need escapes', (length) => {
    const form = new ChunkForm('completion', envelope, 0, false);
    const text = '\u0001'.repeat(length);
    expect((decode(form.text(Buffer.from(text))) as { choices: { text: string }[] }).choices[0]!.text).toBe(text);
    expect((decode(form.text(Buffer.from('next'))) as { choices: { text: string }[] }).choices[0]!.text).toBe('next');
  });

  it('holds any delta', () => {
    const form = new ChunkForm('chat', envelope, 1, true);
    expect(decode(form.event('{}', 'null', 'stop'))).toMatchObject({
      choices: [{ index: 1, delta: {}, logprobs: null, finish_reason: 'stop' }],
      usage: null,
    });
  });
});
