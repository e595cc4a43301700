import { escapeCharacter } from './grammar-rules.ts';

/** Ranges of code points, ends included, sorted and apart from each other. */
export type CodePointSet = readonly (readonly [number, number])[];

const LAST = 0x10ffff;

export function codePointSet(ranges: readonly (readonly [number, number])[]): CodePointSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const out: [number, number][] = [];
  for (const [from, to] of sorted) {
    const last = out[out.length - 1];
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  return out;
}

export function complement(set: CodePointSet): CodePointSet {
  const out: [number, number][] = [];
  let next = 0;
  for (const [from, to] of set) {
    if (from > next) out.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= LAST) out.push([next, LAST]);
  return out;
}

/** What a JSON string writes with a short escape: the code point, and what comes behind the backslash. */
const ESCAPES: readonly (readonly [number, string])[] = [
  [0x08, 'b'],
  [0x09, 't'],
  [0x0a, 'n'],
  [0x0c, 'f'],
  [0x0d, 'r'],
  [0x22, '\\"'],
  [0x5c, '\\\\'],
];

/**
 * GBNF alternatives for one character of the set inside a JSON string, which begin with different characters but for the last two: quotes, backslashes and line breaks as their
 * escapes; other control characters where the set has them all. The rule `hex` is one of json-primitives.ts.
 */
export function charactersInJson(set: CodePointSet): string[] {
  let inside = '';
  for (const [from, to] of set) {
    for (const [start, end] of withoutEscaped(from, to)) {
      inside += start === end ? escapeCharacter(start) : `${escapeCharacter(start)}-${escapeCharacter(end)}`;
    }
  }
  const out = inside === '' ? [] : [`[${inside}]`];
  const escapes = ESCAPES.filter(([code]) => set.some(([from, to]) => code >= from && code <= to));
  if (escapes.length > 0) out.push(`"\\\\" [${escapes.map(([, text]) => text).join('')}]`);
  if (set[0]?.[0] === 0 && set[0][1] >= 0x1f) out.push('"\\\\u00" [01] hex');
  return out;
}

/** Cuts out what a JSON string spells with an escape, and surrogates. */
function withoutEscaped(from: number, to: number): [number, number][] {
  const out: [number, number][] = [];
  for (const [start, end] of [
    [0x20, 0x21],
    [0x23, 0x5b],
    [0x5d, 0xd7ff],
    [0xe000, LAST],
  ] as const) {
    const first = Math.max(from, start);
    const last = Math.min(to, end);
    if (first <= last) out.push([first, last]);
  }
  return out;
}
