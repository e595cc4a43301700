import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { messageType } from './control-messages.ts';
import { decodeLoadRequest, decodeUnloadRequest } from './decode-load-request.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-load-message-test-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const encode = (type: string, request: object): Uint8Array => {
  const message = messageType(type);
  return message.encode(message.fromObject(request)).finish();
};
const load = (parameters: object): ReturnType<typeof decodeLoadRequest> =>
  decodeLoadRequest(encode('RepositoryModelLoadRequest', { repositoryName: '', modelName: 'm', parameters }));
const unload = (parameters: object): ReturnType<typeof decodeUnloadRequest> =>
  decodeUnloadRequest(encode('RepositoryModelUnloadRequest', { modelName: 'm', parameters }));
const config = { stringParam: '{"name":"é"}' };

test('a model without parameters is loaded as it is on disk', () => {
  expect(load({})).toEqual({ modelName: 'm', parameters: null });
  expect(decodeLoadRequest(new Uint8Array())).toEqual({ modelName: '', parameters: null });
});

test('a configuration, and files as they are', async () => {
  expect(load({ config }).parameters).toEqual({ config: '{"name":"é"}', files: new Map() });
  const bytes = fc.uint8Array({ maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.string(), bytes, { minKeys: 1, maxKeys: 5 }), async (contents) => {
      const files = Object.fromEntries(Object.entries(contents).map(([path, content]) => [`file:${path}`, { bytesParam: content }]));
      const { parameters } = load({ ...files, config });
      expect([...parameters!.files.keys()].sort()).toEqual(Object.keys(contents).sort());
      for (const [path, file] of parameters!.files) {
        expect(file.byteLength).toBe(contents[path]!.length);
        const target = join(folder, 'file');
        await file.writeTo(target);
        expect(readFileSync(target)).toEqual(Buffer.from(contents[path]!));
        rmSync(target);
      }
    }),
    { numRuns: 50 },
  );
});

describe('refuses', () => {
  test("a repository's name, as Triton does", () => {
    const request = { repositoryName: 'r', modelName: 'm' };
    for (const decode of [
      () => decodeLoadRequest(encode('RepositoryModelLoadRequest', request)),
      () => decodeUnloadRequest(encode('RepositoryModelUnloadRequest', request)),
    ]) {
      expect(decode).toThrow(expect.objectContaining({ code: 'UNIMPLEMENTED', message: expect.stringContaining('repository_name "r"') }));
    }
  });

  test.each<[object, RegExp]>([
    [{ config: { bytesParam: Buffer.from('{}') } }, /^parameters\.config: invalid value type: expected string_param, got bytes_param/],
    [{ config: { boolParam: true } }, /got bool_param/],
    [{ config: { int64Param: 3 } }, /got int64_param/],
    [{ config: {} }, /got no value/],
    [{ config, 'file:1/m': { stringParam: 'YQ==' } }, /^parameters\.file:1\/m: invalid value type: expected bytes_param, got string_param/],
    [{ 'file:1/m': { bytesParam: Buffer.from('a') } }, /^parameters\.file:1\/m: files take the place/],
    [{ cofnig: config }, /^unrecognized load parameter "cofnig": .*did you mean 'config'\?/],
    [{ unload_dependents: { boolParam: true } }, /^unrecognized load parameter "unload_dependents"/],
    [{ 'file1/m': { bytesParam: Buffer.from('a') } }, /did you mean 'file:<path>'\?/],
    [{ config: { stringParam: 'x'.repeat(1024 * 1024 + 1) } }, /^parameters\.config: expected at most 1048576 bytes, got 1048577/],
    [{ [`file:${'a'.repeat(1025)}`]: { bytesParam: Buffer.from('a') } }, /at most 1029 bytes, got 1030/],
  ])('%#', (parameters, text) => {
    expect(() => load(parameters)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(text) }));
  });

  test('a parameter that comes twice, and text that is no UTF-8', () => {
    const message = Buffer.from(encode('RepositoryModelLoadRequest', { modelName: 'm', parameters: { config: { stringParam: '~' } } }));
    const again = encode('RepositoryModelLoadRequest', { parameters: { config } });
    expect(() => decodeLoadRequest(Buffer.concat([message, again]))).toThrow('got "config" twice');
    message[message.indexOf('~')] = 0xff;
    expect(() => decodeLoadRequest(message)).toThrow(/UTF-8/);
  });

  test('whatever the bytes, with an error of the client’s or not at all', () => {
    const whole = encode('RepositoryModelLoadRequest', {
      modelName: 'm',
      parameters: { config, 'file:a': { bytesParam: Buffer.from('abc') } },
    });
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, end) => {
        const message = Buffer.from(whole);
        message[at] = byte;
        for (const decode of [decodeLoadRequest, decodeUnloadRequest]) {
          try {
            decode(message.subarray(0, end));
          } catch (error) {
            expect(error).toBeInstanceOf(InferenceError);
            expect(['INVALID_ARGUMENT', 'UNIMPLEMENTED']).toContain((error as InferenceError).code);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test('unload_dependents is a boolean', () => {
  expect(unload({})).toEqual({ modelName: 'm', unloadDependents: false });
  expect(unload({ unload_dependents: { boolParam: true } })).toEqual({ modelName: 'm', unloadDependents: true });
  expect(unload({ unload_dependents: { boolParam: false } })).toEqual({ modelName: 'm', unloadDependents: false });
  expect(() => unload({ unload_dependents: { stringParam: 'true' } })).toThrow(
    'parameters.unload_dependents: invalid value type: expected bool_param, got string_param',
  );
  expect(() => unload({ unload_dependants: { boolParam: true } })).toThrow("did you mean 'unload_dependents'?");
});
