import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRerank } from './rerank-request.ts';

const decode = (body: unknown) => decodeRerank(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
const text = fc.string({ unit: 'grapheme' });

describe('decodeRerank', () => {
  it('reads documents of both forms, and keeps their JSON', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(text, fc.boolean()), { minLength: 1 }), (documents) => {
        const texts = documents.map(([one]) => one);
        const sent = documents.map(([one, isObject]) => (isObject ? { title: 't', text: one, n: { text: 'no' } } : one));
        const spec = decode({ model: 'm', query: 'q', documents: sent });
        expect(spec).toMatchObject({ form: 'jina', model: 'm', query: 'q', documents: texts });
        expect(spec.documentJson.map((json) => JSON.parse(Buffer.from(json).toString()))).toEqual(texts);
      }),
    );
  });

  it('throws INVALID_ARGUMENT alone, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.jsonValue().map((documents) => JSON.stringify({ model: 'm', query: 'q', documents })),
        ),
        (body) => {
          try {
            expect(decode(body).documents.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
          }
        },
      ),
    );
  });

  it('tells which members nobody reads, in either form', () => {
    expect(decode({ model: 'm', query: 'q', documents: ['a'], rank_fields: [], user: 'me' }).ignored).toEqual(['rank_fields']);
    expect(decode({ query: 'q', texts: ['a'], top_n: 3 }).ignored).toEqual(['top_n']);
    expect(() => decode({ model: 'm', query: 'q', documents: ['a'], top_m: 1 })).toThrow(/^top_m: .*did you mean 'top_n'/);
  });

  it("tells TEI's form by its texts, and its parameters in the model's words", () => {
    expect(
      decode({ query: 'q', texts: ['a'], return_text: true, raw_scores: true, truncate: true, truncation_direction: 'Left' }),
    ).toMatchObject({
      form: 'tei',
      model: '',
      top: 0,
      returnsDocuments: true,
      parameters: { raw_scores: true, truncate: 'start' },
    });
    expect(decode({ query: 'q', texts: ['a'], truncate: true, truncation_direction: 'Right' }).parameters).toEqual({ truncate: true });
    expect(() => decode({ query: 'q', texts: ['a'], truncation_direction: 'up' })).toThrow(
      /^truncation_direction: expected 'Left' or 'Right'/,
    );
    expect(decode({ model: 'm', query: 'q', documents: ['a'], texts: ['b'] })).toMatchObject({ form: 'jina', documents: ['a'] });
  });
});
