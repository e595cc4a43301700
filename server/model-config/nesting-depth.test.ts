import { describe, expect, it } from 'vitest';
import { lintConfigText } from './lint-config-text.ts';
import { isNestedTooDeep, MAX_NESTING_DEPTH } from './nesting-depth.ts';
import { type ConfigFormat, parseConfigDocument, parseModelConfig } from './parse-model-config.ts';
import { writeConfigDocument } from './write-config-document.ts';

const lists = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('isNestedTooDeep', () => {
  it.each([
    ['json', lists(MAX_NESTING_DEPTH), false],
    ['json', lists(MAX_NESTING_DEPTH + 1), true],
    ['json', JSON.stringify(['['.repeat(1000), '\\"{'.repeat(1000)]), false],
    ['json', `[${'"]",['.repeat(100)}`, true],
    ['yaml', lists(MAX_NESTING_DEPTH), false],
    ['yaml', lists(MAX_NESTING_DEPTH + 1), true],
    ['yaml', `name: "${'[{'.repeat(1000)}" # ${'{['.repeat(1000)}`, false],
    ['yaml', `[${'"]", don\'t, ['.repeat(100)}`, true],
    ['yaml', 'dims: [1, 2]\n'.repeat(1000), false],
    ['yaml', '- '.repeat(100), true],
    ['yaml', '? '.repeat(100), true],
    ['yaml', Array.from({ length: 200 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), true],
  ] as const)('%s %.40s: %s', (format, text, expected) => {
    expect(isNestedTooDeep(text, format)).toBe(expected);
  });
});

const deep: readonly (readonly [ConfigFormat, string])[] = [
  ['json', lists(400_000)],
  ['json', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
  ['yaml', lists(20_000)],
  ['yaml', `${'{a: '.repeat(20_000)}1${'}'.repeat(20_000)}`],
  ['yaml', '- '.repeat(50_000)],
];

describe('configurations nested deeper than the stack', () => {
  it.each(deep)('%s, case %#, is refused by whoever reads it', (format, text) => {
    const refusal = expect.objectContaining({
      code: 'INVALID_ARGUMENT',
      message: 'x: nested more than 64 deep, and no field of a configuration is',
    });
    expect(() => parseModelConfig(text, format, 'x')).toThrow(refusal);
    expect(() => writeConfigDocument(parseConfigDocument(text, format, 'x'), 'pbtxt')).toThrow(refusal);
    expect(lintConfigText(text, format).findings).toEqual([
      expect.objectContaining({ severity: 'error', message: expect.stringMatching(/^nested/) }),
    ]);
  });
});
