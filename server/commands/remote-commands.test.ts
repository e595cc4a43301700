import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exampleRepository, ServerProcess } from '../e2e/serve.ts';
import { captureOutput } from './captured-output.case.ts';
import { loadCommand } from './load-command.ts';
import { modelsCommand } from './models-command.ts';
import { rollbackCommand } from './rollback-command.ts';
import { unloadCommand } from './unload-command.ts';

let folder: string;
let server: ServerProcess;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'remote-'));
  cpSync(join(exampleRepository, 'simple'), join(folder, 'simple'), { recursive: true });
  mkdirSync(join(folder, 'broken', '1'), { recursive: true });
  writeFileSync(join(folder, 'broken', '1', 'model.onnx'), 'no model');
  server = await ServerProcess.start([`--model-repository=${folder}`, '--model-control-mode=explicit']);
});
afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

describe('commands against a running server', () => {
  it('load, list and unload', async () => {
    const url = `--url=${server.http}`;
    expect(await captureOutput(() => loadCommand(['simple', url]))).toEqual({ code: 0, stdout: 'loaded simple: version 1\n', stderr: '' });
    // Without its scheme, too.
    const listed = await captureOutput(() => modelsCommand(['--url', server.http.replace('http://', '')]));
    expect(listed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^MODEL +VERSION +STATE +REASON\n[\s\S]*simple +1 +READY\n/) });
    const json = await captureOutput(() => modelsCommand(['--json', url]));
    expect(JSON.parse(json.stdout)).toContainEqual({ name: 'simple', version: '1', state: 'READY', reason: '' });
    expect(await captureOutput(() => unloadCommand(['simple', url]))).toEqual({ code: 0, stdout: 'unloaded simple\n', stderr: '' });
    // Again, or a misspelt name: no error, as in the protocol, but nothing that reads as if it had happened.
    for (const model of ['simple', 'simpel']) {
      const { code, stdout } = await captureOutput(() => unloadCommand([model, url]));
      expect([code, stdout]).toEqual([0, `${model} was not loaded: nothing to unload (nereid models tells what is)\n`]);
    }
    const after = await captureOutput(() => modelsCommand([url]));
    expect(after.stdout).not.toMatch(/simple +1 +READY/);
  });

  it('a load that fails says why, and an unknown model is none', async () => {
    const failed = await captureOutput(() => loadCommand(['broken', '--url', server.http]));
    expect(failed).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^nereid load: .*broken/) });
    expect(await captureOutput(() => loadCommand(['nothing', '--url', server.http]))).toMatchObject({ code: 1 });
  });

  it('nobody listening: says where it looked and how to start a server', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const { code, stderr } = await captureOutput(() => modelsCommand(['--url', `http://127.0.0.1:${port}`]));
    expect(code).toBe(1);
    expect(stderr).toContain(`no answer from a server at http://127.0.0.1:${port}`);
    expect(stderr).toContain('nereid serve --model-repository DIR');
  });

  it('what load and rollback send is what the protocol says', async () => {
    const seen: { path: string | undefined; body: unknown }[] = [];
    const recorder = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        seen.push({ path: request.url, body: body === '' ? null : JSON.parse(body) });
        const answer = request.url?.endsWith('/index') ? [] : request.url?.endsWith('/rollback') ? { name: 'm', versions: ['1', '2'] } : {};
        response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
      });
    }).listen(0, '127.0.0.1');
    await once(recorder, 'listening');
    const url = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`;
    try {
      writeFileSync(join(folder, 'local.bin'), 'abc');
      writeFileSync(join(folder, 'c.yaml'), 'max_batch_size: 4\n');
      const file = `1/model.onnx=${join(folder, 'local.bin')}`;
      const loaded = await captureOutput(() => loadCommand(['m', '--url', url, '--config', join(folder, 'c.yaml'), '--file', file]));
      expect(loaded).toMatchObject({ code: 0, stderr: '' });
      expect(seen[0]).toEqual({
        path: '/v2/repository/models/m/load',
        body: { parameters: { config: '{\n  "max_batch_size": 4\n}\n', 'file:1/model.onnx': 'YWJj' } },
      });
      const back = await captureOutput(() => rollbackCommand(['m', '--url', url]));
      expect(back).toEqual({ code: 0, stdout: 'rolled back m: versions 1, 2\n', stderr: '' });
      expect(seen.at(-1)?.path).toBe('/v2/repository/models/m/rollback');
    } finally {
      recorder.closeAllConnections();
      await new Promise((resolve) => recorder.close(resolve));
    }
  });

  it.each([
    ['load', () => loadCommand([]), 'expected one MODEL'],
    ['load', () => loadCommand(['m', '--file', 'a=b']), '--file needs --config'],
    ['load', () => loadCommand(['m', '--config', 'x.txt']), 'ends in .pbtxt'],
    ['load', () => loadCommand(['m', '--config', 'x.json', '--file', 'a']), 'PATH=LOCALFILE'],
    ['unload', () => unloadCommand(['a', 'b']), 'expected one MODEL, got 2'],
    ['models', () => modelsCommand(['x']), 'expected no argument'],
  ])('%s: a mistake in the command line', async (_name, run, text) => {
    expect(await captureOutput(run)).toMatchObject({ code: 2, stderr: expect.stringContaining(text) });
  });
});
