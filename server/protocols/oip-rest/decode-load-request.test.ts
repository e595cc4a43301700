import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InferenceError } from '../../../proto/inference-error.ts';
import type { OverrideFile } from '../../repository/load-parameters.ts';
import { decodeLoadRequest } from './decode-load-request.ts';

let folder: string;
let count = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nereid-load-request-test-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function contentOf(file: OverrideFile): Promise<Buffer> {
  const path = join(folder, String(count++));
  await file.writeTo(path);
  const content = readFileSync(path);
  rmSync(path);
  return content;
}

const decode = (body: unknown): ReturnType<typeof decodeLoadRequest> =>
  decodeLoadRequest(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
const withFile = (value: string, path = '1/m'): string => `{"parameters":{"config":"{}","file:${path}":${value}}}`;
/** The content of the one file of a body. */
async function fileIn(body: string | Uint8Array): Promise<Buffer> {
  const parameters = await (typeof body === 'string' ? decode(body) : decodeLoadRequest(body));
  expect(parameters!.files.size).toBe(1);
  const [file] = parameters!.files.values();
  const content = await contentOf(file!);
  expect(file!.byteLength).toBe(content.length);
  return content;
}
const failure = (promise: Promise<unknown>): Promise<InferenceError> =>
  promise.then(
    () => {
      throw new Error('it worked');
    },
    (error: InferenceError) => error,
  );

test.each(['', '{}', '{"parameters":{}}', ' { "other" : [1, {"a": null}] , "parameters" : { } } '])('%j brings nothing', async (body) => {
  expect(await decode(body)).toBeNull();
});

test('a configuration, and files by their paths', async () => {
  const config = JSON.stringify({ name: 'm', text: 'é"\\\n' });
  const alone = await decode({ parameters: { config } });
  expect([alone!.config, alone!.files.size]).toEqual([config, 0]);
  const parameters = await decode({ parameters: { 'file:1/a': 'YQ==', config, 'file:é/b': '', 'file:': 'YWI=' } });
  expect(parameters!.config).toBe(config);
  const contents = await Promise.all([...parameters!.files].map(async ([path, file]) => [path, String(await contentOf(file))]));
  expect(contents).toEqual([
    ['1/a', 'a'],
    ['é/b', ''],
    ['', 'ab'],
  ]);
});

describe('base64', () => {
  test.each([
    ['""', ''],
    ['"YQ=="', 'a'],
    ['"YWI="', 'ab'],
    ['"YWJj"', 'abc'],
    ['"\\u0059\\u0051\\u003D\\u003d"', 'a'],
    ['"YQ\\u003d="', 'a'],
    ['"\\/\\/\\/\\/"', '\xff\xff\xff'],
    ['"+\\u002f/+"', '\xfb\xff\xfe'],
  ])('%s is %j', async (value, content) => {
    expect((await fileIn(withFile(value))).toString('latin1')).toBe(content);
  });

  test.each([
    ['"YQ="', /a multiple of 4 letters, padded with '=', got 3/],
    ['"YQ"', /got 2/],
    ['"Y==="', /got '='/],
    ['"===="', /got '='/],
    ['"YQ==YQ=="', /got '='/],
    ['"YR=="', /bits that belong to no byte/],
    ['"YWJ="', /bits that belong to no byte/],
    ['"YW-_"', /got '-'/],
    ['"YW\\n\\n"', /another escape at byte 2/],
    ['"YW\\u00e9Q"', /another escape/],
    ['"YW\\u000aQ"', /got byte 0x0a/],
    ['"YW c"', /got byte 0x20/],
    ['"YWé"', /got byte 0xc3/],
    ['"YW\\u00"', /multiple of 4/],
    ['"YW\\x="', /multiple of 4|another escape/],
    ['"YWJ\\xYW="', /another escape at byte 3|multiple of 4/],
  ])('%s is none', async (value, text) => {
    const error = await failure(fileIn(withFile(value)));
    expect([error.code, error.message]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(text)]);
    expect(error.message).toMatch(/^parameters\.file:1\/m: expected base64: /);
  });

  test('of any content comes back, however its letters are written', async () => {
    const forms = [
      (c: string) => c,
      (c: string) => (c === '/' ? '\\/' : c),
      (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        fc.array(fc.nat(2), { minLength: 1, maxLength: 7 }),
        fc.boolean(),
        async (bytes, which, isLarge) => {
          const value = [...Buffer.from(bytes).toString('base64')].map((c, i) => forms[which[i % which.length]!]!(c)).join('');
          // Past some size, bodies are read in another way.
          const other = isLarge ? `"other":"${'x'.repeat(70_000)}",` : '';
          expect(await fileIn(`{${other}"parameters":{"config":"{}","file:a":"${value}"}}`)).toEqual(Buffer.from(bytes));
        },
      ),
      { numRuns: 150 },
    );
  });

  test.each([
    ['as it is', (text: string) => text],
    ['with slashes escaped', (text: string) => text.replaceAll('/', '\\/')],
    [
      'with escapes of every kind',
      (text: string) => text.replaceAll(/[/+Aa]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`),
    ],
  ])('of several megabytes, %s, goes through piece by piece', async (_, write) => {
    const content = Buffer.alloc(3_500_001);
    for (let i = 0, x = 1; i < content.length; i++) {
      x = (x * 1_103_515_245 + 12_345) % 2_147_483_648;
      content[i] = x >> 16;
    }
    const body = `{"parameters":{"file:1/m":"${write(content.toString('base64'))}" , "config":"{}"}, "x": 1}`;
    expect((await fileIn(body)).equals(content)).toBe(true);
    const cut = body.indexOf('"file:1/m":"') + 2_000_003;
    expect(await failure(fileIn(`${body.slice(0, cut)}*${body.slice(cut + 1)}`))).toMatchObject({
      message: expect.stringMatching(/expected base64/),
    });
  });
});

describe('refuses', () => {
  const large = 'x'.repeat(70_000);
  test.each<[unknown, RegExp]>([
    ['[]', /^request body: expected a JSON object, got an array/],
    ['"x"', /^request body: expected a JSON object, got "x"/],
    ['   ', /^failed to parse the request JSON buffer: expected a JSON object/],
    ['{', /^failed to parse the request JSON buffer: /],
    ['{} x', /behind the JSON document/],
    ['{"parameters":{},"parameters":{}}', /repeated/],
    [{ parameters: null }, /^parameters: expected an object, got null/],
    [{ parameters: [] }, /^parameters: expected an object, got an array/],
    [{ parameters: 3 }, /^parameters: expected an object, got 3/],
    [
      { parameters: { config: {} } },
      /^parameters\.config: expected a string, the configuration as the text of a JSON object, got an object/,
    ],
    [{ parameters: { config: null } }, /^parameters\.config: expected a string.*got null/],
    [
      { parameters: { config: '{}', 'file:1/m': 7 } },
      /^parameters\.file:1\/m: expected a string, the content of the file in base64, got 7/,
    ],
    [
      { parameters: { 'file:1/m': 'YQ==' } },
      /^parameters\.file:1\/m: files take the place .* send the configuration in parameters\.config/,
    ],
    [{ parameters: { cofnig: '{}' } }, /^unrecognized load parameter "cofnig": .*did you mean 'config'\?/],
    [{ parameters: { 'file1/m': '{}' } }, /did you mean 'file:<path>'\?/],
    [{ parameters: { unload_dependents: true } }, /^unrecognized load parameter "unload_dependents"/],
    ['{"parameters":{"config":"{}","config":"{}"}}', /^parameters: expected each parameter once, got "config" twice/],
    ['{"parameters":{"config":"{}","file:\\u0061":"","file:a":""}}', /got "file:a" twice/],
    [{ parameters: { [`file:${'a'.repeat(1025)}`]: '' } }, /^parameters: expected names of at most 1029 bytes/],
    [{ parameters: { config: 'x'.repeat(1024 * 1024 + 1) } }, /^parameters\.config: expected at most 1048576 bytes, got 1048577/],
    [
      { parameters: { config: '{}', ...Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`file:${i}`, ''])) } },
      /at most 1000 files/,
    ],
    [`{"parameters":{"config":"\\ud800"}}`, /lone surrogate/],
    [`{"parameters":{"config":"\\x"}}`, /invalid escape/],
    // The same of bodies that are read in turns.
    [`{"x":"${large}","parameters":{"config":"\\ud800"}}`, /lone surrogate/],
    [`{"x":"${large}","parameters":{"config":"${large}\\x"}}`, /invalid escape/],
    [`{"x":"${large}","parameters":{"config":${large}}}`, /^parameters\.config: expected a string/],
    [`{"x":"${large}`, /unterminated string/],
    [`{"x":"${large}\n"}`, /raw control character/],
    [`{"x":"${large}\\`, /unterminated string/],
    [`{"x":"${large}"`, /failed to parse the request JSON buffer/],
    [`[${'"x",'.repeat(70_000)}"x"]`, /at most 262144 bytes beside long strings/],
    [`{${' '.repeat(300_000)}}`, /at most 262144 bytes beside long strings/],
    [{ parameters: { [large]: '' } }, /names of at most 1029 bytes/],
  ])('%#: %.60j', async (body, text) => {
    const error = await failure(decode(body));
    expect([error.code, error.message]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(text)]);
    expect(error.message.length).toBeLessThan(400);
  });

  test('what is no UTF-8', async () => {
    for (const padding of ['', large]) {
      const body = Buffer.from(`{"x":"${padding}","parameters":{"config":"${padding}~"}}`);
      body[body.indexOf('~')] = 0xff;
      expect(await failure(decodeLoadRequest(body))).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('UTF-8') });
    }
  });
});

test('large texts read as small ones do', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.dictionary(text, fc.uint8Array({ maxLength: 100 }), { maxKeys: 5 }),
      fc.nat(3),
      async (config, contents, spaces) => {
        const files = Object.fromEntries(
          Object.entries(contents).map(([path, bytes]) => [`file:${path}`, Buffer.from(bytes).toString('base64')]),
        );
        const other = { name: 'x"\\'.repeat(30_000), list: ['\\"'.repeat(50), 1, null, { '\\': '"' }] };
        const body = JSON.stringify({ a: other, parameters: { ...files, config }, z: other }, null, spaces);
        const parameters = await decodeLoadRequest(Buffer.from(body));
        expect(parameters!.config).toBe(config);
        expect([...parameters!.files.keys()].sort()).toEqual(Object.keys(contents).sort());
        for (const [path, file] of parameters!.files) expect(await contentOf(file)).toEqual(Buffer.from(contents[path]!));
      },
    ),
    { numRuns: 30 },
  );
});

test('64 MiB in one body leave the loop free', async () => {
  const body = Buffer.from(withFile(`"${'\\/AAA'.repeat(13_000_000)}"`));
  expect(body.length).toBeGreaterThan(60 * 1024 * 1024);
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    turns++;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const parameters = await decodeLoadRequest(body);
  const turnsToRead = turns;
  const [file] = parameters!.files.values();
  expect((await contentOf(file!)).length).toBe(13_000_000 * 3);
  isOver = true;
  expect(file!.byteLength).toBe(13_000_000 * 3);
  // Half a megabyte a turn to find the strings, an eighth of one to write them.
  expect(turnsToRead).toBeGreaterThan(120);
  expect(turns - turnsToRead).toBeGreaterThan(390);
}, 60_000);
