import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, rmSync, symlinkSync, truncateSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { addExternalWeights, EXTERNAL_WEIGHTS_BYTES } from '../../../bench/models/external-weights.ts';
import { mlp } from '../../../bench/models/test-models.ts';
import type { ModelVersionFile } from '../model-directory.ts';
import type { ModelSource } from '../model-source.ts';
import { allowed, check, config, model, outside, put, refusal, root, source, version } from './model-files.case.ts';
import { whyIncomplete } from './model-files.ts';

describe('links', () => {
  it('follows those that stay inside, and refuses those that lead out', async () => {
    put('shared/model.onnx', model);
    symlinkSync('../../shared/model.onnx', join(root, 'm/1/model.onnx'));
    expect((await check()).byteLength).toBe(model.length);
    unlinkSync(join(root, 'm/1/model.onnx'));
    symlinkSync(put('model.onnx', model, outside), join(root, 'm/1/model.onnx'));
    expect(await refusal(check())).toBe("'m/1/model.onnx' is a link that leads out of the repository; put a copy of the file there");
    expect((await check(allowed)).byteLength).toBe(model.length);
  });

  it('is not fooled by a folder whose name begins like the repository’s', async () => {
    put('model.onnx', model, `${root}-old`);
    symlinkSync(`${root}-old/model.onnx`, join(root, 'm/1/model.onnx'));
    expect(await refusal(check())).toContain('leads out of the repository');
  });

  it('refuses a directory of the model, or the whole model, that is a link out', async () => {
    put('1/model.onnx', model, outside);
    rmSync(join(root, 'm'), { recursive: true });
    symlinkSync(outside, join(root, 'm'));
    expect(await refusal(check())).toContain("'m/1/model.onnx' is a link that leads out");
    unlinkSync(join(root, 'm'));
    mkdirSync(join(root, 'm'));
    symlinkSync(join(outside, '1'), join(root, 'm/1'));
    expect(await refusal(check())).toContain("'m/1/model.onnx' is a link that leads out");
    expect((await check(allowed)).byteLength).toBe(model.length);
  });

  it('takes the layout of a Kubernetes ConfigMap and of git-sync, and a repository that is a link itself', async () => {
    put('m/1/..2024_01_01/model.onnx', addExternalWeights({ location: 'w.bin', length: EXTERNAL_WEIGHTS_BYTES }));
    put('m/1/..2024_01_01/w.bin', Buffer.alloc(EXTERNAL_WEIGHTS_BYTES));
    symlinkSync('..2024_01_01', join(root, 'm/1/..data'));
    symlinkSync('..data/model.onnx', join(root, 'm/1/model.onnx'));
    symlinkSync('..data/w.bin', join(root, 'm/1/w.bin'));
    expect(await whyIncomplete(version(), config())).toBeNull();
    await (await check()).assertUnchanged();
    const link = join(root, '..', 'current');
    symlinkSync('models', link);
    const linked: ModelSource = { ...source(), path: join(link, 'm'), root: link };
    await (await check({ source: linked, file: { version: 1, modelPath: join(link, 'm/1/model.onnx') } })).assertUnchanged();
  });

  it('says so when links lead in a circle, or nowhere', async () => {
    symlinkSync('model.onnx', join(root, 'm/1/model.onnx'));
    expect(await refusal(check())).toBe("cannot read 'm/1/model.onnx': its links lead in a circle");
    unlinkSync(join(root, 'm/1/model.onnx'));
    symlinkSync('/nowhere/secret.onnx', join(root, 'm/1/model.onnx'));
    expect(await refusal(check())).toBe("cannot read 'm/1/model.onnx': it is not there");
  });

  it('takes hard links among the repository’s own files, and refuses those to a file outside', async () => {
    linkSync(put('m/1/model.onnx', model), join(root, 'm', 'copy.onnx'));
    mkdirSync(join(root, 'other/1'), { recursive: true });
    linkSync(join(root, 'm/1/model.onnx'), join(root, 'other/1/model.onnx'));
    expect((await check()).byteLength).toBe(model.length);
    linkSync(join(root, 'm/1/model.onnx'), join(outside, 'model.onnx'));
    expect(await refusal(check())).toBe(
      "'m/1/model.onnx' is a hard link: the file has 4 names, and not all are in the repository; put a copy of the file there",
    );
    expect((await check(allowed)).byteLength).toBe(model.length);
  });

  it('lets whoever starts the server name any single file, by whatever name', async () => {
    const file = put('real.onnx', addExternalWeights({ location: 'w.bin' }), outside);
    linkSync(file, join(outside, 'second.onnx'));
    symlinkSync(file, join(root, 'mine.onnx'));
    const single: ModelSource = { name: 'mine', kind: 'file', path: join(root, 'mine.onnx'), root, config: null };
    const given = { source: single, file: { version: 1, modelPath: single.path }, config: { defaultModelFilename: 'mine.onnx' } };
    symlinkSync(put('w.bin', 'x', outside), join(root, 'w.bin'));
    expect(await refusal(check(given))).toContain("'w.bin' is a link that leads out");
    unlinkSync(join(root, 'w.bin'));
    put('w.bin', Buffer.alloc(64));
    // Other people's files in that folder are no part of the model.
    put('download.part', 'x');
    put('SHA256SUMS', 'nonsense');
    expect(await whyIncomplete(given.file, config(given.config))).toBeNull();
    expect((await check(given)).byteLength).toBeGreaterThan(64);
  });
});

describe('what is no plain file', () => {
  it('refuses a pipe, a socket, a device and a directory at once, and names it', async () => {
    const path = join(root, 'm/1/model.onnx');
    execFileSync('mkfifo', [path]);
    expect(await refusal(check())).toBe("'m/1/model.onnx' is a pipe; expected a plain file");
    expect(await whyIncomplete(version(), config())).toBeNull();
    unlinkSync(path);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(await refusal(check())).toBe("'m/1/model.onnx' is a socket; expected a plain file");
    await new Promise((resolve) => server.close(resolve));
    rmSync(path, { force: true });
    symlinkSync('/dev/zero', path);
    expect(await refusal(check())).toContain('leads out of the repository');
    expect(await refusal(check(allowed))).toBe("'m/1/model.onnx' is a device; expected a plain file");
    unlinkSync(path);
    put('m/1/model.onnx', addExternalWeights({ location: 'weights' }));
    mkdirSync(join(root, 'm/1/weights'));
    expect(await refusal(check())).toBe(
      "model file 'm/1/model.onnx' has weights in another file: 'm/1/weights' is a directory; expected a plain file",
    );
  });

  it('checks every file of a model that is a directory', async () => {
    const directory = { defaultModelFilename: 'model.bundle', backend: 'other' };
    const file = version(1, 'model.bundle');
    put('m/1/model.bundle/a.bin', 'aaa');
    put('m/1/model.bundle/deep/b.bin', 'bb');
    put('m/1/model.bundle/deep/.cache', 'not counted');
    expect((await check({ config: directory, file })).byteLength).toBe(5);
    symlinkSync(put('secret', 'x', outside), join(root, 'm/1/model.bundle/deep/c.bin'));
    expect(await refusal(check({ config: directory, file }))).toContain("'m/1/model.bundle/deep/c.bin' is a link that leads out");
    unlinkSync(join(root, 'm/1/model.bundle/deep/c.bin'));
    symlinkSync(outside, join(root, 'm/1/model.bundle/elsewhere'));
    expect(await refusal(check({ config: directory, file }))).toContain("'m/1/model.bundle/elsewhere' is a link that leads out");
    unlinkSync(join(root, 'm/1/model.bundle/elsewhere'));
    symlinkSync('.', join(root, 'm/1/model.bundle/circle'));
    expect(await refusal(check({ config: directory, file }))).toContain('directories deep');
  });
});

describe('weights in other files', () => {
  it.each([
    ['../../secret', "'../../secret' holds '..'"],
    ['sub/../../secret', "'sub/../../secret' holds '..'"],
    ['/etc/passwd', 'the location is absolute'],
    ['..\\secret', "'..\\secret' holds a backslash"],
    ['C:secret', 'the location is absolute'],
    ['\\\\server\\share', 'the location is absolute'],
    ['', 'the location is empty'],
    ['a\0b', 'holds a NUL byte'],
  ])('refuses the location %j', async (location, text) => {
    put('secret', 'x');
    put('m/secret', 'x');
    put('m/1/model.onnx', addExternalWeights({ location }));
    const message = await refusal(check());
    expect(message).toContain("model file 'm/1/model.onnx': external_data: the location");
    expect(message).toContain(text);
    expect(message).not.toContain('/etc');
    expect(await refusal(check(allowed))).toBe(message);
  });

  it('refuses links out, missing files and the marker of memory', async () => {
    put('m/1/model.onnx', addExternalWeights({ location: 'sub/w.bin' }));
    expect(await refusal(check())).toBe(
      "model file 'm/1/model.onnx' has weights in another file: cannot read 'm/1/sub/w.bin': it is not there",
    );
    put('w.bin', Buffer.alloc(64), outside);
    symlinkSync(outside, join(root, 'm/1/sub'));
    expect(await refusal(check())).toContain("'m/1/sub/w.bin' is a link that leads out of the repository");
    put('m/1/model.onnx', addExternalWeights({ location: '*/_ORT_MEM_ADDR_/*', offset: 4096, length: 64 }));
    expect(await refusal(check())).toContain('it is not there');
    put('m/1/model.onnx', addExternalWeights({ location: 'w\n[forged] log line' }));
    expect(await refusal(check())).not.toContain('\n');
  });

  it('counts them', async () => {
    const bytes = addExternalWeights({ location: 'sub/w.bin', length: 64 });
    put('m/1/model.onnx', bytes);
    put('m/1/sub/w.bin', Buffer.alloc(1000));
    expect((await check()).byteLength).toBe(bytes.length + 1000);
    expect(await refusal(check({ rules: { maxModelBytes: 1000 } }))).toMatch(
      /^model 'm' version 1: expected files of at most 1000 bytes together, got at least \d+; raise the bound/,
    );
  });
});

describe('a model that is code', () => {
  const code = { backend: 'javascript', defaultModelFilename: 'src/model.mjs' };
  const own = (): { config: Partial<ModelConfig>; file: ModelVersionFile } => ({ config: code, file: version(1, 'src/model.mjs') });

  it('is every file of its version: counted, held to the manifest, and seen when it changes', async () => {
    put('m/1/src/model.mjs', 'import "../lib/part.mjs";');
    const part = put('m/1/lib/part.mjs', 'export {};');
    put('m/2/other.mjs', 'of another version');
    put('m/1/node_modules/a/node_modules/@b/c/dist/esm/d/e/f/g.js', '');
    const checked = await check(own());
    expect(checked.byteLength).toBe(35);
    put('m/1/lib/part.mjs', 'steal()');
    await expect(checked.assertUnchanged()).rejects.toThrow("'m/1/lib/part.mjs' changed while it was being loaded");
    await expect(checked.assertSameModel()).rejects.toThrow("'m/1/lib/part.mjs' is not what it was");
    expect(await refusal(check({ ...own(), rules: { maxModelBytes: 30 } }))).toContain('at most 30 bytes');
    rmSync(join(root, 'm/1/node_modules'), { recursive: true });
    const sums = execFileSync('sha256sum', ['src/model.mjs', 'lib/part.mjs'], { cwd: join(root, 'm/1') });
    put('m/1/SHA256SUMS', sums);
    await check(own());
    put('m/1/lib/part.mjs', 'others()');
    expect(await refusal(check(own()))).toContain("'m/1/lib/part.mjs'");
    put('m/1/lib/part.mjs', 'steal()');
    put('m/1/lib/new.mjs', '');
    expect(await refusal(check(own()))).toContain("'m/1/lib/new.mjs' is not listed in 'm/1/SHA256SUMS'");
    unlinkSync(join(root, 'm/1/lib/new.mjs'));
    unlinkSync(part);
    symlinkSync(put('part.mjs', 'steal()', outside), part);
    expect(await refusal(check(own()))).toContain("'m/1/lib/part.mjs' is a link that leads out");
  });
});

describe('what the configuration names', () => {
  const warmup = (name: string): Partial<ModelConfig> => ({
    modelWarmup: [
      {
        name: 'sample',
        batchSize: 1,
        count: 1,
        inputs: { INPUT0: { dataType: 'TYPE_FP32', dims: [16], zeroData: null, randomData: null, inputDataFile: name } },
      },
    ],
  });
  const golden = (file: string): Partial<ModelConfig> => ({
    goldenCheck: [{ name: 'g', file, absoluteTolerance: 0, relativeTolerance: 0 }],
  });

  it.each<[string, (name: string) => Partial<ModelConfig>, string]>([
    ["model_warmup[0].inputs['INPUT0'].input_data_file", warmup, 'warmup'],
    ['warmup_requests[0]', (name) => ({ warmupRequests: [name] }), 'warmup'],
    ['golden_check[0].file', golden, 'golden'],
  ])('holds %s to its folder', async (field, named, below) => {
    put('m/1/model.onnx', model);
    put(`m/${below}/data`, 'x');
    put('m/secret', 'x');
    expect((await check({ config: named('data') })).byteLength).toBe(model.length + 1);
    expect(await refusal(check({ config: named('../secret') }))).toBe(
      `${field}: the path '../secret' holds '..'; expected a file below the model's directory '${below}'`,
    );
    expect(await refusal(check({ config: named('missing') }))).toBe(`${field}: cannot read 'm/${below}/missing': it is not there`);
    symlinkSync(put('data', 'x', outside), join(root, 'm', below, 'link'));
    expect(await refusal(check({ config: named('link') }))).toContain(`${field}: 'm/${below}/link' is a link that leads out`);
  });
});

describe('a version that is not whole yet', () => {
  it('says what is missing, step by step, as a slow copy goes on', async () => {
    const bytes = addExternalWeights({ location: 'w.bin', offset: 64, length: EXTERNAL_WEIGHTS_BYTES });
    rmSync(join(root, 'm/1'), { recursive: true });
    const now = (): Promise<string | null> => whyIncomplete(version(), config());
    expect(await now()).toContain("no file 'model.onnx' in version directory 1");
    put('m/1/.model.onnx.Ab12Cd', bytes.subarray(0, 10));
    expect(await now()).toBe(
      "version 1 is still being written: '.model.onnx.Ab12Cd' is a temporary file; it goes when the copy is done, or remove it",
    );
    unlinkSync(join(root, 'm/1/.model.onnx.Ab12Cd'));
    put('m/1/model.onnx', '');
    expect(await now()).toBe("'model.onnx' of version 1 is empty");
    put('m/1/model.onnx', bytes.subarray(0, 30));
    expect(await now()).toMatch(/^'model.onnx' of version 1 ends at byte 30 /);
    truncateSync(join(root, 'm/1/model.onnx'), bytes.length);
    expect(await now()).toMatch(/^'model.onnx' of version 1 holds zeros from byte \d+|ends at byte/);
    put('m/1/model.onnx', bytes);
    expect(await now()).toBe("'w.bin', which has weights of version 1, is not there");
    put('m/1/w.bin', Buffer.alloc(100));
    expect(await now()).toBe("'w.bin', which has weights of version 1, has 100 bytes, expected at least 128");
    put('m/1/w.bin', Buffer.alloc(128));
    expect(await now()).toBeNull();
  });

  it.each(['model.onnx.part', 'w.bin.tmp', 'x.crdownload', 'model.onnx._COPYING_', 'sub/w.bin.filepart', '.w.bin.x9Zq1a'])(
    'waits for %s to go',
    async (name) => {
      put('m/1/model.onnx', model);
      put(`m/1/${name}`, 'x');
      expect(await whyIncomplete(version(), config())).toContain(`'${name}' is a temporary file`);
    },
  );

  it.each([
    '.gitignore',
    '.DS_Store',
    '.nfs000000001',
    'model.onnx.bak',
    'notes.txt~',
    '.model.onnx.swp',
    '.config.backup',
    '.cache/x.tmp',
  ])('does not wait for %s to go', async (name) => {
    put('m/1/model.onnx', model);
    put(`m/1/${name}`, 'x');
    expect(await whyIncomplete(version(), config())).toBeNull();
  });

  it('leaves to the check what time does not mend, and files of other backends to them', async () => {
    put('m/1/model.onnx', addExternalWeights({ location: '../w.bin' }));
    expect(await whyIncomplete(version(), config())).toBeNull();
    put('m/1/model.onnx', 'anything');
    expect(await whyIncomplete(version(), config({ backend: 'other' }))).toBeNull();
    unlinkSync(join(root, 'm/1/model.onnx'));
    symlinkSync('model.onnx', join(root, 'm/1/model.onnx'));
    expect(await whyIncomplete(version(), config())).toBeNull();
    mkdirSync(join(root, 'm/1/bundle'));
    const bundle = version(1, 'bundle');
    expect(await whyIncomplete(bundle, config({ defaultModelFilename: 'bundle' }))).toBe("'bundle' of version 1 is an empty directory");
    put('m/1/bundle/part', mlp(2, 2, 2));
    expect(await whyIncomplete(bundle, config({ defaultModelFilename: 'bundle' }))).toBeNull();
  });
});
