import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { listModels } from './list-models.ts';

const base = mkdtempSync(join(tmpdir(), 'nereid-list-'));
afterAll(() => rmSync(base, { recursive: true }));

it('gives the homes of each model in order, and leaves out files, hidden and temporary names, and links that lead to no directory', async () => {
  const [one, two] = [join(base, 'one'), join(base, 'two')];
  for (const name of ['b', 'a', '.git', 'c.tmp', 'd~']) mkdirSync(join(one, name), { recursive: true });
  for (const name of ['b', 'z']) mkdirSync(join(two, name), { recursive: true });
  writeFileSync(join(one, 'README.md'), '');
  symlinkSync('a', join(one, 'linked'));
  symlinkSync('nowhere', join(one, 'dangling'));
  symlinkSync('README.md', join(one, 'file'));
  expect([...(await listModels([two, one]))]).toEqual([
    ['a', [one]],
    ['b', [two, one]],
    ['linked', [one]],
    ['z', [two]],
  ]);
});

it('rejects when a directory cannot be listed', async () => {
  await expect(listModels([join(base, 'one'), join(base, 'missing')])).rejects.toMatchObject({ code: 'ENOENT' });
});
