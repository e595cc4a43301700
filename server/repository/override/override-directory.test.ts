import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InferenceError } from '../../../proto/inference-error.ts';
import type { OverrideFile } from '../load-parameters.ts';
import { removeOwnOverrides, removeStaleOverrides, stageOverride } from './override-directory.ts';
import { writeOverrideFile } from './override-file-writer.ts';

let folder: string;
const before = process.env['TMPDIR'];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-override-test-'));
  process.env['TMPDIR'] = folder;
});

afterEach(() => {
  if (before === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = before;
  rmSync(folder, { recursive: true, force: true });
});

function file(content: string): OverrideFile {
  const bytes = Buffer.from(content);
  let piece: Uint8Array | null = bytes;
  const next = (): Uint8Array | null => {
    const now = piece;
    piece = null;
    return now;
  };
  return { byteLength: bytes.length, writeTo: (path) => writeOverrideFile(path, { next }) };
}

const files = (...paths: string[]): Map<string, OverrideFile> => new Map(paths.map((path) => [path, file(path)]));
const failure = (promise: Promise<unknown>): Promise<InferenceError> =>
  promise.then(
    () => {
      throw new Error('it worked');
    },
    (error: InferenceError) => error,
  );

test('the files lie below a folder of their own that only this user enters, and are gone when removed', async () => {
  const staged = await stageOverride('m', files('1/model.onnx', '1/data/weights.bin', 'labels.txt', '2/model.onnx'));
  expect(staged.path).toBe(join(staged.root, 'm'));
  expect(readdirSync(folder)).toEqual([expect.stringMatching(new RegExp(`^nereid-${process.pid}-`))]);
  for (const path of [staged.root, staged.path, join(staged.path, '1')]) expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(join(staged.path, 'labels.txt')).mode & 0o777).toBe(0o600);
  expect(readdirSync(staged.path, { recursive: true }).sort()).toEqual(
    ['1', '1/data', '1/data/weights.bin', '1/model.onnx', '2', '2/model.onnx', 'labels.txt'].sort(),
  );
  expect(readFileSync(join(staged.path, '1/data/weights.bin'), 'utf8')).toBe('1/data/weights.bin');
  await staged.remove();
  await staged.remove();
  expect(readdirSync(folder)).toEqual([]);
});

describe('paths', () => {
  test.each([
    ['', /got none/],
    ['/etc/passwd', /absolute/],
    ['../x', /without '\.\.'/],
    ['1/../../x', /without '\.\.'/],
    ['1/..', /without '\.\.'/],
    ['./x', /without '\.'/],
    ['1//x', /single '\/'/],
    ['1/', /single '\/'/],
    ['1\\x', /no backslash/],
    ['1/a\0b', /no backslash or control/],
    ['a\nb', /no backslash or control/],
    ['a\ud800b', /no backslash or control/],
    [`1/${'a'.repeat(256)}`, /at most 255 bytes, got 256/],
    [`1/${'é'.repeat(128)}`, /at most 255 bytes, got 256/],
    [`${'a/'.repeat(512)}b`, /at most 1024 bytes, got 1025/],
  ])('%j is refused', async (path, text) => {
    const error = await failure(stageOverride('m', files('1/model.onnx', path)));
    expect([error.code, error.message]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(text)]);
    expect(error.message).toMatch(/^parameters\.file:/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each([
    [['1', '1/model.onnx'], /^parameters\.file:1: another file has it as a directory/],
    [['1/a/b', '1/a'], /^parameters\.file:1\/a: another file/],
    [['\u00e9', 'e\u0301'], /each path once/],
  ])('%j cannot be together', async (paths, text) => {
    expect(await failure(stageOverride('m', files(...paths)))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(text),
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each(['...', '..x', 'a..b', '.hidden', 'ü ñ', '-rf', `${'a'.repeat(255)}`, '__proto__'])(
    '%j is a name as any other',
    async (name) => {
      const staged = await stageOverride('m', files(`1/${name}`));
      expect(readdirSync(join(staged.path, '1'))).toEqual([name]);
      await staged.remove();
    },
  );

  test('whatever the path, nothing is written outside', async () => {
    const piece = fc.constantFrom('..', '.', '', 'a', '1', '/', '\\', '\0', '...', 'nereid', 'é');
    const path = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join('/'));
    const outside = join(folder, 'outside');
    mkdirSync(outside);
    process.env['TMPDIR'] = outside;
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(path, { maxLength: 4 }), async (paths) => {
        const staged = await stageOverride('m', files(...paths)).catch((error: InferenceError) => {
          expect(error.code).toBe('INVALID_ARGUMENT');
          return null;
        });
        if (staged !== null) {
          expect(readdirSync(staged.root)).toEqual(['m']);
          for (const one of paths) expect(readFileSync(join(staged.path, one), 'utf8')).toBe(one);
          await staged.remove();
        }
        expect(readdirSync(outside)).toEqual([]);
        expect(readdirSync(folder)).toEqual(['outside']);
      }),
      { numRuns: 200 },
    );
  });
});

describe('bounds', () => {
  test('of files, bytes and names of models', async () => {
    const many = new Map(Array.from({ length: 1001 }, (_, i) => [`1/${i}`, file('')]));
    expect(await failure(stageOverride('m', many))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('1000 files'),
    });
    expect(await failure(stageOverride('m', files('1/a', '1/b'), { maxBytes: 5 }))).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: 'parameters: expected files of at most 5 bytes together, got 6',
    });
    for (const name of ['..', 'a/b', '', 'a\\b'])
      expect(await failure(stageOverride(name, files('1/a')))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('of the disk: said without a path of this machine, and nothing stays', async () => {
    // A device that is always full fails with what a full disk fails with.
    const full: OverrideFile = { byteLength: 3, writeTo: () => writeFile('/dev/full', 'abc') };
    const error = await failure(
      stageOverride(
        'm',
        new Map([
          ['1/ok', file('ok')],
          ['1/model.onnx', full],
        ]),
      ),
    );
    expect(error).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: expect.stringMatching(/^parameters\.file:1\/model\.onnx: .*no room for the 5 bytes.*ENOSPC/),
    });
    expect(error.message).not.toContain(folder);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('of what a process may write', () => {
    const module = (name: string): string =>
      JSON.stringify(new URL(`../../../dist/server/repository/override/${name}`, import.meta.url).href);
    const code = `
      import { stageOverride } from ${module('override-directory.js')};
      import { writeOverrideFile } from ${module('override-file-writer.js')};
      let left = 8;
      const next = () => (left-- > 0 ? Buffer.alloc(65536) : null);
      const file = { byteLength: 524288, writeTo: (path) => writeOverrideFile(path, { next }) };
      await stageOverride('m', new Map([['1/model.onnx', file]])).catch((error) => console.log(error.code, error.message));`;
    const args = ['-c', 'ulimit -f 100; exec "$0" --input-type=module -e "$1"', process.execPath, code];
    const said = execFileSync('bash', args, { encoding: 'utf8', env: { ...process.env, TMPDIR: folder } });
    expect(said).toMatch(/^RESOURCE_EXHAUSTED parameters\.file:1\/model\.onnx: .*EFBIG/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a folder that is not there is the operator’s', async () => {
    process.env['TMPDIR'] = join(folder, 'missing');
    const error = await failure(stageOverride('m', files('1/a')));
    expect(error.code).toBe('INTERNAL');
    expect(error.message).toContain('ENOENT');
    expect(error.message).not.toContain(folder);
  });
});

test('a file is never written over another, nor through a link', async () => {
  const target = join(folder, 'target');
  writeFileSync(target, 'mine');
  symlinkSync(target, join(folder, 'link'));
  for (const name of ['target', 'link']) await expect(file('yours').writeTo(join(folder, name))).rejects.toMatchObject({ code: 'EEXIST' });
  expect(readFileSync(target, 'utf8')).toBe('mine');
});

test('at the end, all that this process has made is removed', async () => {
  const staged = await Promise.all(['a', 'b'].map((name) => stageOverride(name, files('1/model.onnx'))));
  mkdirSync(join(folder, `nereid-${process.pid}-abcdef`));
  await removeOwnOverrides();
  expect(readdirSync(folder)).toEqual([`nereid-${process.pid}-abcdef`]);
  await staged[0]!.remove();
});

test('at start, what processes that are gone have left is removed, and nothing else', async () => {
  const gone = await new Promise<number>((resolve) => {
    const child = spawn(process.execPath, ['-e', '']);
    child.once('exit', () => resolve(child.pid!));
  });
  const mine = await stageOverride('m', files('1/a'));
  const make = (name: string): void => {
    mkdirSync(join(folder, name, 'm/1'), { recursive: true });
    writeFileSync(join(folder, name, 'm/1/model.onnx'), 'x');
  };
  const kept = [
    `nereid-${process.ppid}-abcdef`,
    `nereid-${gone}-abc`,
    `nereid-${gone}`,
    `nereid-x-abcdef`,
    `other-${gone}-abcdef`,
    'elsewhere',
  ];
  for (const name of kept) make(name);
  const stale = [`nereid-${gone}-abcdef`, `nereid-${gone}-ABC123`, `nereid-${process.pid}-earl1r`];
  for (const name of stale) make(name);
  writeFileSync(join(folder, `nereid-${gone}-afile1`), '');
  symlinkSync(join(folder, 'elsewhere'), join(folder, `nereid-${gone}-alink1`));
  symlinkSync(join(folder, 'elsewhere/m'), join(folder, `nereid-${gone}-abcdef`, 'link'));

  expect(await removeStaleOverrides()).toBe(3);
  for (const name of stale) expect(existsSync(join(folder, name))).toBe(false);
  for (const name of kept) expect(existsSync(join(folder, name, 'm/1/model.onnx'))).toBe(true);
  expect(existsSync(join(folder, `nereid-${gone}-afile1`))).toBe(true);
  expect(existsSync(join(folder, `nereid-${gone}-alink1/m`))).toBe(true);
  expect(existsSync(join(mine.path, '1/a'))).toBe(true);
  await mine.remove();
});
