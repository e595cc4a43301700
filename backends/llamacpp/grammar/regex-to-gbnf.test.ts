import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LlamaAddon } from '../native/llama-addon.ts';
import { loadAddon } from '../native/load-addon.ts';
import { jsonSchemaToGbnf } from './json-schema-to-gbnf.ts';
import { automatonOf } from './regex-automaton.ts';
import { parseRegex } from './regex-parser.ts';

let addon: LlamaAddon;
beforeAll(async () => {
  ({ addon } = await loadAddon(() => {}));
});

const patterns = [
  ...['a', '^a', 'a$', '^$', '', '^a*$', '(a*)*', '^(a|b)*b$', '^(ab?|b)+$', 'ab|^b+$|a$', '^(a+a+)+b$', '^a?a?a?a?b$', '^[^a]*a.{2}$'],
  ...['^a{2,4}b{0,2}$', '^(a{1,2}b){2}$', '^.{2,3}$', '\\s', '^\\S+$', '^["\\\\]+$', '^[^"]*$', '^[\\u0000-b]*$', '^(a|ab)(c|bcd)$'],
];
const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'd', '"', '\\', '\n', ' ', 'é', '\u{1f600}', '\u2028'), maxLength: 8 });

describe('patternRule', () => {
  it.each(patterns)('allows what /%s/ matches, and nothing else', (pattern) => {
    const source = jsonSchemaToGbnf({ type: 'string', pattern });
    const grammar = new addon.AddonGrammar(source) as unknown as { isTextCompatible(text: string): boolean };
    const expression = new RegExp(pattern, 'u');
    fc.assert(
      fc.property(fc.oneof(text, fc.stringMatching(/^[ab]{0,8}c?d?$/)), (value) => {
        expect(grammar.isTextCompatible(JSON.stringify(value))).toBe(expression.test(value));
      }),
      { numRuns: 150 },
    );
  });

  it.each([...patterns, `^${'[a-z]?'.repeat(100)}$`, '^(([a-z]|[a-y])([a-z]|[b-z])?)*9$', '^[a-z]{0,50}[a-z]{0,50}[a-z]{0,50}$'])(
    'has one way to go for each character: %s',
    (pattern) => {
      for (const { edges } of automatonOf(parseRegex(pattern.replaceAll(/[$^]/g, '')))) {
        const ranges = edges.flatMap(({ set }) => set).sort((a, b) => a[0] - b[0]);
        for (const [i, [from]] of ranges.entries()) expect(from).toBeGreaterThan(ranges[i - 1]?.[1] ?? -1);
      }
    },
  );

  it.each(['.*a.{40}', '^([a-z]?){30000}$', `^${'(a|b)?'.repeat(300)}.*x.{15}`, '^((a{100}){100}){100}$'])(
    'refuses %s, soon',
    (pattern) => {
      const startMs = performance.now();
      expect(() => jsonSchemaToGbnf({ type: 'string', pattern })).toThrow(/#\/pattern: too many ways to match it/);
      expect(performance.now() - startMs).toBeLessThan(2_000);
    },
  );
});
