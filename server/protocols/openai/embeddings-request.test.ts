import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEmbeddings } from './embeddings-request.ts';

const decode = (body: unknown) => decodeEmbeddings(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
const text = fc.string({ unit: 'grapheme', minLength: 1 });
const tokens = fc.array(fc.integer({ min: 0, max: 0x7fffffff }), { minLength: 1 });

describe('decodeEmbeddings', () => {
  it('reads each of the four forms of input', () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1 }), fc.array(tokens, { minLength: 1 }), (texts, lists) => {
        expect(decode({ model: 'm', input: texts[0] })).toMatchObject({ texts: [texts[0]], tokens: [] });
        expect(decode({ model: 'm', input: texts })).toMatchObject({ texts, tokens: [] });
        expect(decode({ model: 'm', input: lists[0] })).toMatchObject({ texts: [], tokens: [Int32Array.from(lists[0]!)] });
        expect(decode({ model: 'm', input: lists })).toMatchObject({ texts: [], tokens: lists.map((list) => Int32Array.from(list)) });
      }),
    );
  });

  it('throws INVALID_ARGUMENT alone, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.string(),
          fc.jsonValue().map((input) => JSON.stringify({ model: 'm', input })),
        ),
        (body) => {
          try {
            const { texts, tokens: lists } = decode(body);
            expect(texts.length + lists.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
          }
        },
      ),
    );
  });

  it('tells which members nobody reads, and refuses one that looks misspelt', () => {
    const body = { model: 'm', input: 'a', metadata: {}, priority_hint: 1, gone: null };
    expect(decode(body).ignored).toEqual(['priority_hint']);
    expect(() => decode({ ...body, dimension: 3 })).toThrow(/^dimension: .*did you mean 'dimensions'/);
    expect(decode({ ...body, dimension: null }).ignored).toEqual(['priority_hint']);
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`zzzzzzzzzzzz${i}`, 1]));
    expect(decode({ ...body, ...many }).ignored.length).toBe(16);
  });

  it('hands on what the model is to know, and nothing else', () => {
    expect(decode({ model: 'm', input: 'a' })).toMatchObject({ isBase64: false, dimensions: 0, parameters: {} });
    const all = { model: 'm', input: 'a', encoding_format: 'base64', dimensions: 3, truncate: 'END', user: 'u' };
    expect(decode(all)).toMatchObject({ isBase64: true, dimensions: 3, parameters: { dimensions: 3, truncate: 'end' } });
    expect(decode({ model: 'm', input: 'a', truncate: true, dimensions: null })).toMatchObject({ parameters: { truncate: true } });
  });
});
