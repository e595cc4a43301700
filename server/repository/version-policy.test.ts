import { describe, expect, test } from 'vitest';
import type { ModelVersionPolicy } from '../../backends/api/model-config.ts';
import { chooseVersions } from './version-policy.ts';

const latest = (numVersions: number): ModelVersionPolicy => ({ latest: { numVersions }, all: null, specific: null });
const all: ModelVersionPolicy = { latest: null, all: {}, specific: null };
const specific = (...versions: number[]): ModelVersionPolicy => ({ latest: null, all: null, specific: { versions } });
const directories = ['10', '9', '1', '0'];

describe('chooseVersions', () => {
  test.each([
    [null, [10]],
    [latest(0), [10]],
    [latest(1), [10]],
    [latest(2), [9, 10]],
    [latest(4_000_000_000), [0, 1, 9, 10]],
    [all, [0, 1, 9, 10]],
    [specific(9, 0), [0, 9]],
  ])('%j', (policy, versions) => {
    expect(chooseVersions(policy, directories, 'm')).toEqual({ versions, warnings: [] });
  });

  test('names the versions that are asked for and not there', () => {
    expect(chooseVersions(specific(9, 7, 2), directories, 'm')).toEqual({
      versions: [9],
      warnings: [
        'version 2, named by version_policy.specific, has no directory',
        'version 7, named by version_policy.specific, has no directory',
      ],
    });
  });

  test('passes over what is no version: known directories and hidden ones silently, others with a warning', () => {
    const choice = chooseVersions(
      all,
      ['1', '12abc', '02', '-3', 'labels', '9007199254740993', 'configs', 'warmup', 'initial_state', '.git'],
      'm',
    );
    expect(choice.versions).toEqual([1]);
    expect(choice.warnings.map((warning) => /'(.*?)'/.exec(warning)?.[1])).toEqual(['12abc', '02', '-3', 'labels', '9007199254740993']);
  });

  test("no version left is the author's mistake, with what was expected and found", () => {
    const start = "at least one version must be available under the version policy of model 'm': expected ";
    expect(() => chooseVersions(null, ['x'], 'm')).toThrow(`${start}a directory with a number for a name, such as 1, found none`);
    expect(() => chooseVersions(specific(5), directories, 'm')).toThrow(`${start}a directory named 5, found 0, 1, 9, 10`);
    expect(() => chooseVersions(specific(5), directories, 'm')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
