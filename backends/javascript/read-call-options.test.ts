import { describe, expect, it } from 'vitest';
import type { CallOptions } from './model-api.ts';
import { readCallOptions } from './read-call-options.ts';

describe('the options of a call', () => {
  it('are as they were given', () => {
    const { signal } = new AbortController();
    const given = {
      version: 3,
      outputs: ['OUT'],
      parameters: { a: Number.NaN, b: 'x', c: true },
      id: 'i',
      priority: 2,
      timeoutMs: 5,
      signal,
    };
    expect(readCallOptions('m', { ...given, sequence: { id: 7, isStart: true } })).toEqual({
      ...given,
      version: '3',
      sequence: { id: 7n, isStart: true, isEnd: false },
    });
    expect(readCallOptions('m', undefined)).toEqual(readCallOptions('m', {}));
  });

  it('a time longer than a timer has is no short one', () => {
    expect([1e12, Number.POSITIVE_INFINITY].map((timeoutMs) => readCallOptions('m', { timeoutMs }).timeoutMs)).toEqual([
      2 ** 31 - 1,
      2 ** 31 - 1,
    ]);
  });

  it('sequences are what they are at the doors', () => {
    const idOf = (id: bigint | number | string) => readCallOptions('m', { sequence: { id } }).sequence?.id ?? null;
    expect([0, 0n, '', '0', 1, 2n ** 64n - 1n, 'é'.repeat(64)].map(idOf)).toEqual([
      null,
      null,
      null,
      '0',
      1n,
      2n ** 64n - 1n,
      'é'.repeat(64),
    ]);
  });

  it.each<[string, unknown]>([
    ['options', 5],
    ['version', 10n],
    ['version', 1.5],
    ['outputs', 'OUT'],
    ['outputs', [1]],
    ['parameters', { a: { b: 1 } }],
    ['parameters', { a: 1n }],
    ['parameters', { ['__proto__']: null }],
    ['parameters', []],
    ['id', 5],
    ['priority', -1],
    ['priority', 1n],
    ['priority', Number.NaN],
    ['timeoutMs', Number.NaN],
    ['timeoutMs', -1],
    ['timeoutMs', '5'],
    ['signal', {}],
    ['sequence', 7],
    ['sequence', { id: 2n ** 64n }],
    ['sequence', { id: -1n }],
    ['sequence', { id: 1.5 }],
    ['sequence', { id: {} }],
    ['sequence', { id: 'é'.repeat(65) }],
  ])('%s: %o is refused, and named', (field, value) => {
    const given = (field === 'options' ? value : { [field]: value }) as CallOptions;
    expect(() => readCallOptions('m', given)).toThrow(new RegExp(`^call of model 'm': ${field}.*: expected .*, got `));
  });

  it('one that there is not is refused, not passed over', () => {
    const misspelt = [{ timeout: 5 }, { sequence: { id: 1, start: true } }] as object[] as CallOptions[];
    expect(() => readCallOptions('m', misspelt[0])).toThrow(/: timeout: expected one of .*did you mean 'timeoutMs'/);
    expect(() => readCallOptions('m', misspelt[1])).toThrow(/: sequence\.start: expected one of id, isStart, isEnd/);
  });
});
