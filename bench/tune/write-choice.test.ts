import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readConfigFile } from './config-file.ts';
import type { FieldEdit } from './knob-edits.ts';
import { writeChoice } from './write-choice.ts';

const EDITS: readonly FieldEdit[] = [
  { path: ['max_batch_size'], value: 16 },
  { path: ['parameters', 'intra_op_thread_count'], value: { string_value: '2' } },
];

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nereid-write-choice-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function choose(
  name: string,
  text: string,
  isWriting: boolean,
  answer: boolean | null,
  edits = EDITS,
): Promise<[boolean, string, string]> {
  await writeFile(join(directory, name), text);
  let shown = '';
  const terminal = {
    write: (one: string) => {
      shown += one;
    },
    ask: async (question: string) => {
      shown += `${question}\n`;
      return answer!;
    },
  };
  const isDone = await writeChoice(await readConfigFile(directory), edits, { isWriting, isAsking: answer !== null, terminal });
  return [isDone, shown, await readFile(join(directory, name), 'utf8')];
}

test('the change is shown, and made when it is wanted', async () => {
  const [isDone, shown, text] = await choose('config.yaml', '# m\nmax_batch_size: 8\n', true, true);
  expect([isDone, text]).toEqual([true, '# m\nmax_batch_size: 16\nparameters: { intra_op_thread_count: 2 }\n']);
  expect(shown).toContain('  - max_batch_size: 8\n  + max_batch_size: 16\n');
  expect(shown).toMatch(/Write .*config\.yaml\?\nWritten: /);
});

test('no is no', async () => {
  const [isDone, shown, text] = await choose('config.yaml', 'max_batch_size: 8\n', true, false);
  expect([isDone, text]).toEqual([true, 'max_batch_size: 8\n']);
  expect(shown).toContain('Not written.');
});

test('nobody is asked who wants to see it only, nor who has said yes', async () => {
  const [, shown, text] = await choose('config.pbtxt', 'max_batch_size: 8\n', false, true);
  expect([shown.includes('Write '), text]).toEqual([false, 'max_batch_size: 8\n']);
  const [, , written] = await choose('config.pbtxt', 'max_batch_size: 8\n', true, null);
  expect(written).toBe('max_batch_size: 16\nparameters { key: "intra_op_thread_count" value { string_value: "2" } }\n');
});

test.each([
  ['config.json', '{"maxBatchSize": 8}', /"max_batch_size": 16/],
  ['config.yaml', 'maxBatchSize: 8\n', /max_batch_size: 16\n {2}parameters: \{ intra_op_thread_count: 2 \}/],
])('what cannot be written without risk is told in the words of the file: %s', async (name, text, expected) => {
  const [isDone, shown, after] = await choose(name, text, true, null);
  expect([isDone, after]).toEqual([false, text]);
  expect(shown).toMatch(expected);
  expect(shown).toContain('It is not written');
});

test('nothing to set is nothing to say', async () => {
  expect(await choose('config.yaml', '# m\n', true, null, [])).toEqual([true, '', '# m\n']);
});
