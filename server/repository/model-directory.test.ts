import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  describeModelFile,
  directorySource,
  findModelDirectory,
  type ModelDescription,
  readFailure,
  readModelDirectory,
} from './model-directory.ts';

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

it('finds no model in a directory that is on its way to another name', async () => {
  for (const name of ['.staged-m', 'm.tmp', 'plain']) model(name);
  expect(await findModelDirectory([repository], '.staged-m')).toEqual([]);
  expect(await findModelDirectory([repository], 'm.tmp')).toEqual([]);
  expect(await findModelDirectory([repository], 'plain')).toEqual([repository]);
});

describe('configuration and labels that also lie elsewhere', () => {
  const secret = 'not-for-clients';
  const outside = mkdtempSync(join(tmpdir(), 'nereid-outside-'));
  afterAll(() => rmSync(outside, { recursive: true }));
  const config = 'output { name: "Y" data_type: TYPE_FP32 dims: [2] label_filename: "labels.txt" }\n';
  const read = (name: string, allowOutsideLinks = false): Promise<ModelDescription> =>
    readModelDirectory(directorySource(repository, name), { allowOutsideLinks });
  const labelsOf = async (name: string, allow = false): Promise<unknown> => (await read(name, allow)).labels.get('Y');

  it('refuses a hard link to a file outside, and says nothing of what is in it', async () => {
    const path = model('hard-config');
    writeFileSync(join(outside, 'config.pbtxt'), `${secret}: 1`);
    linkSync(join(outside, 'config.pbtxt'), join(path, 'config.pbtxt'));
    const error = (await read('hard-config').catch((one: unknown) => one)) as Error;
    expect(error.message).toMatch(/^config\.pbtxt: a hard link: the file has 2 names, and not all are in the repository/);
    expect(error.message).not.toContain(secret);

    const labelled = model('hard-labels');
    writeFileSync(join(labelled, 'config.pbtxt'), config);
    writeFileSync(join(outside, 'labels.txt'), `${secret}\n`);
    linkSync(join(outside, 'labels.txt'), join(labelled, 'labels.txt'));
    await expect(read('hard-labels')).rejects.toThrow(/^output\[0\]\.label_filename: 'labels\.txt': a hard link/);
    expect(await labelsOf('hard-labels', true)).toEqual([secret]);
  });

  it('takes links, soft and hard, within the repository, and soft ones that lead out when they are allowed', async () => {
    const path = model('linked');
    writeFileSync(join(repository, 'shared.txt'), 'cat\r\ndog\n');
    writeFileSync(join(path, 'config.pbtxt'), config);
    symlinkSync('../shared.txt', join(path, 'labels.txt'));
    expect(await labelsOf('linked')).toEqual(['cat', 'dog']);
    rmSync(join(path, 'labels.txt'));
    linkSync(join(repository, 'shared.txt'), join(path, 'labels.txt'));
    expect(await labelsOf('linked')).toEqual(['cat', 'dog']);
    rmSync(join(path, 'labels.txt'));
    symlinkSync(join(outside, 'labels.txt'), join(path, 'labels.txt'));
    await expect(read('linked')).rejects.toThrow(/^output\[0\]\.label_filename: 'labels\.txt': a link that leads out of the repository/);
    expect(await labelsOf('linked', true)).toEqual([secret]);
  });

  it('reads labels over the edges of what is read at once, and bounds their number', async () => {
    const path = model('many');
    writeFileSync(join(path, 'config.pbtxt'), config);
    const lines = Array.from({ length: 60_000 }, (_, i) => `Zürich 猫 ${i}`);
    writeFileSync(join(path, 'labels.txt'), lines.join('\r\n'));
    expect(await labelsOf('many')).toEqual(lines);
    writeFileSync(join(path, 'labels.txt'), '\n'.repeat(3_000_000));
    await expect(read('many')).rejects.toThrow(/expected at most 2097152 lines/);
  });
});

it('knows a GGUF file by its ending, and says where it belongs', async () => {
  mkdirSync(join(repository, 'chat', '1'), { recursive: true });
  writeFileSync(join(repository, 'chat', '1', 'qwen-q4.gguf'), 'x');
  writeFileSync(
    join(repository, 'chat', 'config.yaml'),
    'dynamic_batching: {preserve_ordering: true, default_queue_policy: {max_queue_size: 5}}',
  );
  const found = await readModelDirectory(directorySource(repository, 'chat'));
  expect(found.config).toMatchObject({ backend: 'llamacpp', modelTransactionPolicy: { decoupled: true } });
  expect(found.versions).toEqual([{ version: 1, modelPath: join(repository, 'chat', '1', 'qwen-q4.gguf') }]);
  expect(found.warnings).toEqual([expect.stringContaining('dynamic_batching: has no effect but for its max_queue_size')]);

  writeFileSync(join(repository, 'chat', 'config.yaml'), 'dynamic_batching: {default_queue_policy: {max_queue_size: 5}}');
  expect((await readModelDirectory(directorySource(repository, 'chat'))).warnings).toEqual([]);

  mkdirSync(join(repository, 'flat'));
  writeFileSync(join(repository, 'flat', 'phi.gguf'), 'x');
  await expect(readModelDirectory(directorySource(repository, 'flat'))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('flat/1/model.gguf; move flat/phi.gguf there'),
  });
  expect(describeModelFile('/models/phi-3.gguf')).toMatchObject({
    name: 'phi-3',
    config: { backend: 'llamacpp', defaultModelFilename: 'phi-3.gguf', modelTransactionPolicy: { decoupled: true } },
  });
});
