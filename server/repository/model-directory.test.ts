import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { directorySource, readFailure, readModelDirectory } from './model-directory.ts';

const repository = mkdtempSync(join(tmpdir(), 'nereid-directory-'));
afterAll(() => rmSync(repository, { recursive: true }));

function model(name: string): string {
  mkdirSync(join(repository, name, '1'), { recursive: true });
  writeFileSync(join(repository, name, '1', 'model.onnx'), 'x');
  return join(repository, name);
}

it('names what the file system refused by its path in the repository, and says what to look at', async () => {
  symlinkSync('config.yaml', join(model('circle'), 'config.yaml'));
  symlinkSync('/nowhere/config.yaml', join(model('dangling'), 'config.yaml'));
  for (const [name, text] of [
    ['circle', "cannot read 'circle/config.yaml': its links lead in a circle"],
    ['dangling', "cannot read 'dangling/config.yaml': it is not there"],
  ] as const) {
    await expect(readModelDirectory(directorySource(repository, name))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: text });
  }
});

it('tells a user without the rights, and no place outside the repository', () => {
  const denied = (path: string): Error => Object.assign(new Error(`EACCES: permission denied, open '${path}'`), { code: 'EACCES', path });
  expect(readFailure(denied('/models/m/config.yaml'), '/models')).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: "cannot read 'm/config.yaml': the server's user may not read it",
  });
  expect(readFailure(denied('/elsewhere/secret/labels.txt'), '/models')).toMatchObject({
    message: "cannot read 'labels.txt': the server's user may not read it",
  });
  const fault = new TypeError('a mistake in the code');
  expect(readFailure(fault, '/models')).toBe(fault);
});
