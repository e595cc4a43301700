import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memberSpans, skipSpace, valueEnd } from './json-spans.ts';

const bytes = (text: string): Buffer => Buffer.from(text);

describe('spans of JSON', () => {
  it('finds every value of a text, in any writing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { minLength: 1 }),
        fc.constantFrom(0, 2),
        fc.constantFrom(' ', '\n', '\r\n\t'),
        (values, indent, between) => {
          const text = bytes(values.map((value) => JSON.stringify(value, null, indent)).join(between));
          const found: unknown[] = [];
          for (let at = skipSpace(text, 0); at < text.length; ) {
            const end = valueEnd(text, at);
            found.push(JSON.parse(text.toString('utf8', at, end)));
            at = skipSpace(text, end);
          }
          expect(JSON.stringify(found)).toBe(JSON.stringify(values));
        },
      ),
    );
  });

  it('finds every member of an object, in any writing', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()), fc.constantFrom(0, 2), (object, indent) => {
        const spans = memberSpans(bytes(JSON.stringify(object, null, indent)));
        expect([...spans].map(([key, span]) => [key, JSON.stringify(JSON.parse(Buffer.from(span).toString()))])).toEqual(
          Object.entries(object).map(([key, value]) => [key, JSON.stringify(value)]),
        );
      }),
    );
  });

  it.each([
    '',
    ' ',
    '[]',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{"a":1 "b":2}',
    '{"a":}',
    '{"a":1}}',
    '{"a":1,"a":2}',
    '{a:1}',
    '{"\\x":1}',
    '{"a":"b',
  ])('refuses %s', (text) => {
    expect(() => memberSpans(bytes(text))).toThrow(/not JSON as expected: at byte \d+/);
  });
});
