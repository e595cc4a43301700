import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { watchLimit } from './watch-limit.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-watch-limit-'));
afterAll(() => rmSync(folder, { recursive: true }));

it.each([
  ['1048576\n', 32_768],
  ['65536\n', 16_384],
  ['8192\n', 8192],
  ['unlimited\n', 8192],
])('takes a part of what the system gives: %j', (text, expected) => {
  const path = join(folder, 'limit');
  writeFileSync(path, text);
  expect(watchLimit(path)).toBe(expected);
});

it('is careful where the system does not say', () => {
  expect(watchLimit(join(folder, 'nothing'))).toBe(8192);
});
