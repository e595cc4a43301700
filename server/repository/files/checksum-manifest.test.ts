import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { hashFile, parseChecksumManifest } from './checksum-manifest.ts';
import { shownName, whyNotBelow } from './path-below.ts';

const name = fc.stringMatching(/^[A-Za-z0-9 ._*-]{2,20}$/).filter((text) => text.trim() !== '' && text !== '..' && text !== '.');
const checksum = fc.stringMatching(/^[0-9a-f]{64}$/);

it('reads back what sha256sum would write', () => {
  const entries = fc.uniqueArray(
    fc.tuple(
      fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
      checksum,
      fc.boolean(),
    ),
    {
      selector: ([path]) => path,
      maxLength: 20,
    },
  );
  fc.assert(
    fc.property(entries, fc.constantFrom('\n', '\r\n'), (given, newline) => {
      const text = given
        .map(([path, hex, isBinary]) => `${isBinary ? hex.toUpperCase() : hex} ${isBinary ? '*' : ' '}${path}${newline}`)
        .join('');
      expect([...parseChecksumManifest(text, 'm/SHA256SUMS')]).toEqual(given.map(([path, hex]) => [path, hex]));
    }),
  );
});

it('takes any text, and no path that leads out', () => {
  const line = fc
    .tuple(checksum, fc.string({ unit: fc.constantFrom('a', '.', '/', '\\', ' ', ':', '*', '\0'), maxLength: 12 }))
    .map(([hex, path]) => `${hex}  ${path}`);
  fc.assert(
    fc.property(fc.oneof(fc.string(), line), (text) => {
      let paths: string[] = [];
      try {
        paths = [...parseChecksumManifest(text, 'm/SHA256SUMS').keys()];
      } catch (error) {
        expect(error).toBeInstanceOf(InferenceError);
      }
      for (const path of paths) expect(resolve('/base/m', path) + sep).toMatch(/^\/base\/m\//);
    }),
    { numRuns: 2000 },
  );
});

it('takes one file by two spellings for one', () => {
  const text = `${'0'.repeat(64)}  a/b\n${'1'.repeat(64)}  ./a//b\n`;
  expect(() => parseChecksumManifest(text, 'm/SHA256SUMS')).toThrow("'m/SHA256SUMS' line 2: 'a/b' has another checksum in a line above");
});

it('knows a path below a directory from any other', () => {
  for (const path of ['a', 'a/b.bin', './a', 'a..b', '...', 'a b', 'ä']) expect(whyNotBelow(path), path).toBeNull();
  for (const path of ['', ' ', '..', 'a/..', '../a', '/a', '\\a', 'a\\b', 'C:/a', 'a\0']) expect(whyNotBelow(path), path).not.toBeNull();
  expect(shownName(`a\n\u2028${'b'.repeat(500)}`)).toBe(`a??${'b'.repeat(117)}...`);
});

it('hashes as much as it is told, and no more than there is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-hash-'));
  writeFileSync(join(folder, 'a'), Buffer.alloc(700_000, 'abc'));
  const file = await open(join(folder, 'a'));
  // Computed with the tool: head -c N a | sha256sum
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  expect(await hashFile(file, 0)).toBe(empty);
  expect(await hashFile(file, 3)).toBe(abc);
  const whole = await hashFile(file, 700_000);
  expect(await hashFile(file, 900_000)).toBe(whole);
  expect(await hashFile(file, 699_999)).not.toBe(whole);
  await file.close();
  rmSync(folder, { recursive: true });
});
