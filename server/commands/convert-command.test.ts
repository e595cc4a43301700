import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseModelConfig } from '../model-config/parse-model-config.ts';
import { captureOutput } from './captured-output.case.ts';
import { convertCommand } from './convert-command.ts';

const pbtxt = '# why\nname: "m"\nmax_batch_size: 0\ninput [ { name: "X", data_type: TYPE_FP32, dims: [ 3, -1 ] } ]\n';
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'convert-'));
  writeFileSync(join(folder, 'config.pbtxt'), pbtxt);
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('nereid convert', () => {
  it('prints YAML, says that comments are lost, and says nothing where there are none', async () => {
    const { code, stdout, stderr } = await captureOutput(() => convertCommand([folder]));
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('comments') });
    expect(stdout).toBe('name: m\nmax_batch_size: 0\ninput:\n  - name: X\n    data_type: TYPE_FP32\n    dims: [ 3, -1 ]\n');
    writeFileSync(join(folder, 'x.yaml'), 'name: "#1"\nplatform: |\n  # text\n');
    expect(await captureOutput(() => convertCommand([join(folder, 'x.yaml')]))).toMatchObject({ code: 0, stderr: '' });
    writeFileSync(join(folder, 'x.yaml'), 'name: a # text\n');
    expect(await captureOutput(() => convertCommand([join(folder, 'x.yaml')]))).toMatchObject({
      stderr: expect.stringContaining('comments'),
    });
  });

  it('writes a file by its ending, and overwrites none', async () => {
    const output = join(folder, 'out.json');
    expect(await captureOutput(() => convertCommand([join(folder, 'config.pbtxt'), '--output', output]))).toMatchObject({
      code: 0,
      stdout: '',
    });
    expect(parseModelConfig(readFileSync(output, 'utf8'), 'json', 'j')).toEqual(parseModelConfig(pbtxt, 'pbtxt', 'p'));
    const again = await captureOutput(() => convertCommand([folder, '--output', output, '--to=yaml']));
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('out.json exists') });
  });

  it('converts in place', async () => {
    expect(await captureOutput(() => convertCommand([folder, '--in-place', '--to', 'json']))).toMatchObject({ code: 0 });
    expect(readdirSync(folder)).toEqual(['config.json']);
    expect(await captureOutput(() => convertCommand([folder, '--in-place', '--to', 'json']))).toMatchObject({ code: 0, stderr: '' });
    expect(readdirSync(folder)).toEqual(['config.json']);
    writeFileSync(join(folder, 'config.yaml'), '');
    expect(await captureOutput(() => convertCommand([folder]))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('config.json and config.yaml'),
    });
    const taken = await captureOutput(() => convertCommand([join(folder, 'config.json'), '--in-place', '--to', 'yaml']));
    expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining('exists') });
    expect(existsSync(join(folder, 'config.json'))).toBe(true);
  });

  it.each([
    [[], 2, 'expected one FILE or DIR, got 0'],
    [['x', '--tp', 'json'], 2, "did you mean '--to'?"],
    [['FOLDER', '--to', 'xml'], 2, "expected one of pbtxt, json, yaml, got 'xml'"],
    [['FOLDER', '--in-place', '--output', 'x'], 2, 'exclude each other'],
    [['FOLDER/nothing.yaml'], 1, 'no such file'],
    [['--help'], 0, ''],
  ])('%j ends with %i', async (argv, code, text) => {
    const result = await captureOutput(() => convertCommand(argv.map((word) => word.replace('FOLDER', folder))));
    expect(result).toMatchObject({ code, stderr: expect.stringContaining(text) });
  });

  it('says where a mistake is and writes nothing', async () => {
    writeFileSync(join(folder, 'config.pbtxt'), 'max_batchsize: 3\n');
    expect(await captureOutput(() => convertCommand([folder, '--in-place']))).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining("did you mean 'max_batch_size'"),
    });
    expect(readdirSync(folder)).toEqual(['config.pbtxt']);
  });
});
