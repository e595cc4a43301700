import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addExternalWeights } from '../../../bench/models/external-weights.ts';
import { check, model, outside, put, refusal, root } from './model-files.case.ts';

describe('SHA256SUMS', () => {
  const line = (bytes: string | Uint8Array, path: string, separator = '  '): string =>
    `${createHash('sha256').update(bytes).digest('hex')}${separator}${path}\n`;

  it('takes what sha256sum writes, in the model’s directory and in the version’s', async () => {
    put('m/1/model.onnx', addExternalWeights({ location: 'w.bin' }));
    put('m/1/w.bin', Buffer.alloc(300_000, 7));
    put('m/2/model.onnx', model);
    put('m/config.yaml', 'name: m');
    const sums = execFileSync('sh', ['-c', 'find . -type f ! -name SHA256SUMS | xargs sha256sum'], {
      cwd: join(root, 'm'),
      encoding: 'utf8',
    });
    put('m/SHA256SUMS', sums);
    await (await check()).assertUnchanged();
    // The other version's files are its own matter.
    rmSync(join(root, 'm/2'), { recursive: true });
    await check();
    unlinkSync(join(root, 'm/SHA256SUMS'));
    execFileSync('sh', ['-c', 'sha256sum --binary * > SHA256SUMS'], { cwd: join(root, 'm/1') });
    expect(existsSync(join(root, 'm/1/SHA256SUMS'))).toBe(true);
    await (await check()).assertUnchanged();
  });

  it('refuses a file that is another', async () => {
    put('m/1/model.onnx', model);
    put('m/1/SHA256SUMS', line('other', 'model.onnx', ' *'));
    const [expected, got] = ['other', model].map((bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 12));
    expect(await refusal(check())).toBe(
      `'m/1/model.onnx' is not the file that 'm/1/SHA256SUMS' lists: expected SHA-256 ${expected}..., got ${got}...; copy the file again, or write the manifest anew`,
    );
  });

  it('refuses weights that only the model file names, a warm-up file, and a manifest of the version, when they are not listed', async () => {
    const bytes = addExternalWeights({ location: 'w.bin' });
    put('m/1/model.onnx', bytes);
    put('m/1/w.bin', 'weights');
    put('m/SHA256SUMS', line(bytes, '1/model.onnx'));
    expect(await refusal(check())).toBe(
      "'m/1/w.bin' is not listed in 'm/SHA256SUMS', and every file that is used must be; add its line, or remove the manifest",
    );
    appendFileSync(join(root, 'm/SHA256SUMS'), line('weights', './1/w.bin'));
    await check();
    put('m/warmup/data', 'x');
    expect(await refusal(check({ config: { warmupRequests: ['data'] } }))).toContain("'m/warmup/data' is not listed");
    const second = put('m/1/SHA256SUMS', line(bytes, 'model.onnx') + line('weights', 'w.bin'));
    expect(await refusal(check())).toContain("'m/1/SHA256SUMS' is not listed in 'm/SHA256SUMS'");
    appendFileSync(join(root, 'm/SHA256SUMS'), line(readFileSync(second), '1/SHA256SUMS'));
    await check();
  });

  it('refuses a listed file that is missing, or is another, though the model does not name it', async () => {
    put('m/1/model.onnx', model);
    put('m/1/SHA256SUMS', line(model, 'model.onnx') + line('vocabulary', 'vocab.txt'));
    expect(await refusal(check())).toBe("'m/1/SHA256SUMS' lists it: cannot read 'm/1/vocab.txt': it is not there");
    put('m/1/vocab.txt', 'vocabularY');
    expect(await refusal(check())).toContain("'m/1/vocab.txt' is not the file that 'm/1/SHA256SUMS' lists");
    put('m/1/vocab.txt', 'vocabulary');
    await check();
  });

  it.each([
    ['a bad line', 'model.onnx: 12345', "line 1: expected '<64 hexadecimal digits>  <path>'"],
    ['a path that leads out', `${'0'.repeat(64)}  ../../secret`, "line 1: the path holds '..'"],
    ['an absolute path', `# comment\n\n${'0'.repeat(64)}  /etc/passwd`, 'line 3: the path is absolute'],
    ['two checksums of one file', `${'0'.repeat(64)}  a\n${'1'.repeat(64)}  ./a`, "line 2: 'a' has another checksum"],
    ['an empty manifest', '', "'m/1/model.onnx' is not listed in 'm/1/SHA256SUMS'"],
    ['too large a manifest', '#'.repeat(1_100_000), 'the file has 1100000 bytes, expected at most 1048576'],
  ])('refuses %s', async (_, text, message) => {
    put('m/1/model.onnx', model);
    put('m/1/SHA256SUMS', text);
    expect(await refusal(check())).toContain(message);
  });

  it('does not take a manifest that cannot be read for none', async () => {
    put('m/1/model.onnx', model);
    symlinkSync('/nowhere/SHA256SUMS', join(root, 'm/1/SHA256SUMS'));
    expect(await refusal(check())).toBe("cannot read 'm/1/SHA256SUMS': it is not there");
  });
});

describe('what changes between the check and the end of the load', () => {
  const changes: [string, () => void][] = [
    ['replaced', () => renameSync(put('m/1/new.tmp', model), join(root, 'm/1/model.onnx'))],
    [
      'rewritten in place, with its old time',
      () => {
        writeFileSync(join(root, 'm/1/model.onnx'), Buffer.from(model).fill(1));
        utimesSync(join(root, 'm/1/model.onnx'), 1, 1);
      },
    ],
    ['removed', () => unlinkSync(join(root, 'm/1/model.onnx'))],
    [
      'another by its directory',
      () => {
        renameSync(join(root, 'm/1'), join(root, 'm/old'));
        put('m/1/model.onnx', model);
      },
    ],
    [
      'a link out now',
      () => {
        renameSync(join(root, 'm/1'), join(outside, '1'));
        symlinkSync(join(outside, '1'), join(root, 'm/1'));
      },
    ],
  ];

  it.each(changes)('sees a file that is %s', async (_, change) => {
    put('m/1/model.onnx', model);
    utimesSync(join(root, 'm/1/model.onnx'), 1, 1);
    const checked = await check();
    await checked.assertUnchanged();
    change();
    await expect(checked.assertUnchanged()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: "'m/1/model.onnx' changed while it was being loaded; it is to be loaded again once it is whole",
    });
  });

  it('sees a second change that follows the first one within a tick of the file system’s clock', async () => {
    for (let i = 0; i < 15; i++) {
      put('m/1/model.onnx', model);
      const checked = await check();
      put('m/1/model.onnx', Buffer.from(model).fill(i));
      await expect(checked.assertUnchanged(), String(i)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    }
  });

  it('sees weights, warm-up files and manifests', async () => {
    put('m/1/model.onnx', addExternalWeights({ location: 'w.bin' }));
    for (const path of ['m/1/w.bin', 'm/warmup/data', 'm/SHA256SUMS']) {
      put('m/1/w.bin', 'x');
      put('m/warmup/data', 'x');
      const sums = execFileSync('sh', ['-c', 'sha256sum */*'], { cwd: join(root, 'm'), encoding: 'utf8' });
      put('m/SHA256SUMS', sums);
      const checked = await check({ config: { warmupRequests: ['data'] } });
      appendFileSync(join(root, path), 'y');
      await expect(checked.assertUnchanged()).rejects.toMatchObject({ message: expect.stringContaining(`'${path}' changed`) });
    }
  });

  it('sees a link that led elsewhere for a moment', async () => {
    put('a/model.onnx', model);
    put('b/model.onnx', model);
    symlinkSync('../../a/model.onnx', join(root, 'm/1/model.onnx'));
    const checked = await check();
    for (const target of ['../../b/model.onnx', '../../a/model.onnx']) {
      symlinkSync(target, join(root, 'm/1/next'));
      renameSync(join(root, 'm/1/next'), join(root, 'm/1/model.onnx'));
    }
    await expect(checked.assertUnchanged()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('does not mind what comes beside the files', async () => {
    put('m/1/model.onnx', model);
    const checked = await check();
    put('m/1/notes.txt', 'x');
    put('m/2/model.onnx', model);
    put('m/config.yaml', 'name: m');
    await checked.assertUnchanged();
  });
});
