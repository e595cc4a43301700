import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fileBeside } from './file-beside.ts';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'beside-')));
const folder = join(root, '1');
mkdirSync(join(folder, 'lora'), { recursive: true });
writeFileSync(join(root, 'secret'), 'x');
writeFileSync(join(folder, 'a.gguf'), 'x');
writeFileSync(join(folder, 'lora', 'b.gguf'), 'x');
symlinkSync('lora/b.gguf', join(folder, 'inside'));
symlinkSync('../secret', join(folder, 'outside'));
afterAll(() => rmSync(root, { recursive: true }));

describe('fileBeside', () => {
  const find = (file: string) => fileBeside(join(folder, 'model.gguf'), file, 'lora');

  it('finds files of the directory', async () => {
    expect(await find('a.gguf')).toBe(join(folder, 'a.gguf'));
    expect(await find('lora/b.gguf')).toBe(join(folder, 'lora', 'b.gguf'));
    expect(await find('inside')).toBe(join(folder, 'lora', 'b.gguf'));
  });

  it.each(['', '../secret', 'lora/../../secret', '/etc/passwd', 'outside', 'missing.gguf', 'lora', 'a\0b', '..\\secret'])(
    'refuses %j',
    async (file) => {
      await expect(find(file)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/^parameters\['lora'\]: expected /),
      });
    },
  );

  it('tells no path of the machine', async () => {
    await expect(find('missing.gguf')).rejects.toThrow(/^(?!.*beside-).*ENOENT.*'missing\.gguf'$/);
  });
});
