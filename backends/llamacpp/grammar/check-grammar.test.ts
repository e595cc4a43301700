import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LlamaAddon } from '../native/llama-addon.ts';
import { loadAddon } from '../native/load-addon.ts';
import { checkGrammar } from './check-grammar.ts';
import { JSON_OBJECT_GRAMMAR } from './json-primitives.ts';

let addon: LlamaAddon;
beforeAll(async () => {
  ({ addon } = await loadAddon(() => {}));
});

const compile = (text: string): unknown => new addon.AddonGrammar(text);

describe('checkGrammar', () => {
  for (const text of [
    JSON_OBJECT_GRAMMAR,
    'root ::= "a" | [^b-d\\n]+ # comment\n',
    'root ::= (\n "x"\n | y\n)? "z"{2,3} y{2,}\ny ::= "\\x41\\u00e9\\U0001F600" .\r\n',
    'root ::= expr\nexpr ::= term ("+" term)*\nterm ::= [0-9]+ | "(" expr ")"',
    'root ::=\n  "a" |\n  "b"',
    'root ::= "é" <[12]> !<[13]>',
    'root ::= ""',
    'root ::= "x" root | "y"',
  ]) {
    it(`takes ${JSON.stringify(text.slice(0, 40))}`, () => expect(() => checkGrammar(text, compile)).not.toThrow());
  }

  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /expected a rule named root, got no rules/],
    ['rot ::= "a"', /did you mean 'rot'\?/],
    ['root ::= a', /rule root names the rule a, which there is not/],
    ['root ::= "a', /line 1: expected "/],
    ['root = "a"', /line 1: expected ::= after root/],
    ['root ::= "a"\nb ::= [a', /line 2: expected \]/],
    ['root ::= []', /an empty class/],
    ['root ::= "\\q"', /expected an escape/],
    ['root ::= ("a"', /expected '\)'/],
    ['root ::= "a")', /expected the rule's end/],
    ['root ::= *', /expected the rule's end/],
    ['root ::= "a"{5,3}', /the most is below the least/],
    ['root ::= "a"{3000}', /at most 1999/],
    ['root ::= "a"{99999999999999999999}', /expected \{n\}/],
    ['root ::= root "a" | "b"', /left recursion: rule root/],
    ['root ::= a root "x"\na ::= b\nb ::= "y" | ', /left recursion/],
    ['root ::= a\na ::= b\nb ::= a | "x"', /left recursion/],
    ['root ::= ("a"*)*', /repeats something that may be empty/],
    ['root ::= ""{3}', /a repetition of something that may be empty/],
    [`root ::= ${'('.repeat(50_000)}`, /nested more than 64 deep/],
    [`root ::= "${'x'.repeat(10_000)}"{1999}`, /too large/],
    [
      `root ::= r0\n${Array.from({ length: 60 }, (_, i) => `r${i} ::= r${i + 1} | r${i + 1} "x"`).join('\n')}\nr60 ::= "y"`,
      /too many ways/,
    ],
    [`root ::= r0\n${Array.from({ length: 4_000 }, (_, i) => `r${i} ::= r${i + 1}`).join('\n')}\nr4000 ::= "y"`, /too many ways/],
    [`root ::= "${'x'.repeat(300_000)}"`, /300011 characters; at most/],
    ['root ::= "\0"', /a NUL character/],
    ['root ::= <think>', /tokens are written by their number/],
  ];
  for (const [text, message] of refused) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      const started = performance.now();
      expect(() => checkGrammar(text, compile)).toThrow(message);
      expect(() => checkGrammar(text, compile)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^grammar: /) }),
      );
      expect(performance.now() - started).toBeLessThan(1000);
    });
  }

  it('what it lets through, llama.cpp compiles', () => {
    const plain = fc.constantFrom('"a"', '[b-d]', '[^x]', '.', '"é" "b"', '(\n"c" | "d" |)');
    const named = fc.constantFrom('root', 'r1', 'r2', '""', '("a" | r2 |)', '(r1 "b")', '"', ')');
    const atom = fc.oneof({ weight: 5, arbitrary: plain }, named);
    const repetition = fc.constantFrom('', '', '', '', '*', '+', '?', '{2,3}', '{0}', '{3,}', '{,2}');
    const sequence = fc
      .array(
        fc.tuple(atom, repetition).map((pair) => pair.join('')),
        { maxLength: 3 },
      )
      .map((items) => items.join(' '));
    const rule = fc.array(sequence, { minLength: 1, maxLength: 3 }).map((sequences) => sequences.join(' | '));
    let taken = 0;
    fc.assert(
      fc.property(rule, rule, rule, (a, b, c) => {
        const text = `root ::= ${a}\nr1 ::= ${b}\nr2 ::= ${c}\n`;
        let reached = false;
        try {
          checkGrammar(text, () => {
            reached = true;
            return compile(text);
          });
          taken++;
        } catch (error) {
          if (reached) throw new Error(`llama.cpp does not compile ${text}`, { cause: error });
        }
      }),
      { numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(80);
  });
});
