import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandLineError } from '../../server/commands/run-command.ts';
import { checkOutputFiles, outputFiles, writeOutputFiles } from './output-files.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-output-'));
  mkdirSync(join(folder, 'there'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('output files', () => {
  test('those that can be written pass, and are not touched', () => {
    const files = outputFiles({ '--json': join(folder, 'a.json'), '--csv': null, '--html': join(folder, 'there', 'a.html') });
    expect(files.map(({ flag }) => flag)).toEqual(['--json', '--html']);
    checkOutputFiles(files);
    expect(() => readFileSync(join(folder, 'a.json'))).toThrow('ENOENT');
    checkOutputFiles(outputFiles({ '--json': '/dev/null' }));
  });

  test.each([
    ['a directory that is not there', () => ({ '--json': join(folder, 'no', 'a.json') }), /--json: .*there is no directory '.*no'/],
    ['a directory', () => ({ '--csv': join(folder, 'there') }), /--csv: expected a file, got the directory/],
    ['a directory by its name', () => ({ '--csv': join(folder, 'new/') }), /--csv: expected a file, got the directory/],
    ['one for two', () => ({ '--json': join(folder, 'a'), '--html': join(folder, 'there/../a') }), /--html: .*which is that of --json/],
  ])('%s is refused', (_what, paths, message) => {
    expect(() => checkOutputFiles(outputFiles(paths()))).toThrow(message);
    expect(() => checkOutputFiles(outputFiles(paths()))).toThrow(CommandLineError);
  });

  test('one that fails does not keep the others from being written', async () => {
    const write = (path: string): Promise<void> => writeFile(path, 'text');
    const files = outputFiles({ '--json': join(folder, 'gone', 'a'), '--csv': join(folder, 'b') });
    await expect(writeOutputFiles(files.map((file) => ({ ...file, write })))).rejects.toThrow(
      /^--json: '.*a' could not be written: ENOENT/,
    );
    expect(readFileSync(join(folder, 'b'), 'utf8')).toBe('text');
  });
});
