import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStrings } from './stop-strings.ts';

interface Found {
  readonly end: number;
  readonly length: number;
}

/** After each byte, whether a stop string ends there; the longest of them. */
function searchNaively(text: Buffer, stops: readonly string[]): Found | null {
  for (let end = 1; end <= text.length; end++) {
    const lengths = stops
      .map((stop) => Buffer.from(stop))
      .filter((stop) => text.subarray(0, end).subarray(-stop.length).equals(stop) && stop.length <= end);
    if (lengths.length > 0) return { end, length: Math.max(...lengths.map((stop) => stop.length)) };
  }
  return null;
}

/** The longest end of the text that is a beginning of a stop string. */
function heldNaively(text: Buffer, stops: readonly string[]): number {
  for (let held = text.length; held > 0; held--) {
    const end = text.subarray(text.length - held);
    if (stops.some((stop) => Buffer.from(stop).subarray(0, held).equals(end))) return held;
  }
  return 0;
}

function scanAll(stops: readonly string[], pieces: readonly Buffer[]): { found: Found | null; held: number } {
  const search = new StopStrings(stops);
  const text = Buffer.concat(pieces);
  let at = 0;
  for (const piece of pieces) {
    const end = search.scan(text, at, at + piece.length);
    if (end >= 0) return { found: { end, length: search.matchLength }, held: 0 };
    at += piece.length;
  }
  return { found: null, held: search.held };
}

const bytes = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('StopStrings', () => {
  it('finds one over the borders of pieces', () => {
    expect(scanAll(['stop'], bytes('a s', 't', 'o', 'p it'))).toEqual({ found: { end: 6, length: 4 }, held: 0 });
    expect(scanAll(['\n\n'], bytes('a\n', '\nb'))).toEqual({ found: { end: 3, length: 2 }, held: 0 });
    expect(scanAll(['世界'], [Buffer.from('a世'), Buffer.from('界')])).toEqual({ found: { end: 7, length: 6 }, held: 0 });
  });

  it('holds what may be the beginning of one, and nothing else', () => {
    expect(scanAll(['</end>'], bytes('text <', '/e'))).toEqual({ found: null, held: 3 });
    expect(scanAll(['</end>'], bytes('text </', 'x'))).toEqual({ found: null, held: 0 });
    expect(scanAll([], bytes('text'))).toEqual({ found: null, held: 0 });
  });

  it('falls back to a later beginning', () => {
    expect(scanAll(['aab'], bytes('aa', 'a', 'b'))).toEqual({ found: { end: 4, length: 3 }, held: 0 });
    expect(scanAll(['abcabd'], bytes('abcabcabd'))).toEqual({ found: { end: 9, length: 6 }, held: 0 });
  });

  it('takes the one that is complete first, and the longest of those that end together', () => {
    expect(scanAll(['abcd', 'bc'], bytes('abcd'))).toEqual({ found: { end: 3, length: 2 }, held: 0 });
    expect(scanAll(['c', 'abc', 'bc'], bytes('abc'))).toEqual({ found: { end: 3, length: 3 }, held: 0 });
  });

  it('finds what a naive search finds, however the text is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '世'), maxLength: 40 });
    const stop = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '世'), minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(letters, fc.array(stop, { maxLength: 4 }), fc.array(fc.nat(6), { maxLength: 30 }), (text, stops, sizes) => {
        const whole = Buffer.from(text);
        const pieces: Buffer[] = [];
        let at = 0;
        for (const size of sizes) {
          pieces.push(whole.subarray(at, at + size));
          at = Math.min(whole.length, at + size);
        }
        pieces.push(whole.subarray(at));
        const expected = searchNaively(whole, stops);
        expect(scanAll(stops, pieces)).toEqual({ found: expected, held: expected === null ? heldNaively(whole, stops) : 0 });
      }),
      { numRuns: 500 },
    );
  });

  it('looks at each byte once: the worst text for a naive search takes no longer', () => {
    const stop = 'a'.repeat(1023);
    const text = Buffer.from(`${'a'.repeat(1022)}b`.repeat(1000));
    const search = new StopStrings([`${stop}a`]);
    const startMs = performance.now();
    expect(search.scan(text, 0, text.length)).toBe(-1);
    // A search from each byte anew takes half a billion steps, seconds.
    expect(performance.now() - startMs).toBeLessThan(1000);
  });
});
