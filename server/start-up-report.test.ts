import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createLogger } from './log.ts';
import {
  createStartUpReport,
  describeTensors,
  exampleRequest,
  type ModelTableRow,
  modelTable,
  type ServerUrls,
} from './start-up-report.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-report-'));
afterAll(() => rmSync(folder, { recursive: true }));

const digits: ModelTableRow = {
  name: 'digits',
  version: '1',
  state: 'READY',
  reason: '',
  backend: 'onnxruntime',
  host: '1 process',
  maxBatchSize: 32,
  inputs: describeTensors([{ name: 'x', datatype: 'FP32', shape: [-1, 4] }]),
  outputs: describeTensors([{ name: 'label', datatype: 'INT64', shape: [-1] }]),
  exampleInputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }],
};
const broken: ModelTableRow = {
  ...digits,
  name: 'a-broken-model',
  state: 'UNAVAILABLE',
  reason: 'Invalid argument: no such\nfile',
  inputs: '',
  outputs: '',
};
const urls: ServerUrls = {
  http: 'http://127.0.0.1:8000',
  webSocket: 'ws://127.0.0.1:8000/v2/ws',
  grpc: null,
  metrics: 'http://127.0.0.1:8002/metrics',
};

const texts: ModelTableRow = {
  ...digits,
  name: "o'neill",
  exampleInputs: [{ name: 'text_input', datatype: 'BYTES', shape: [1] }],
  exampleCall: { path: '/v1/chat/completions', body: { model: "o'neill", messages: [{ role: 'user', content: 'Hi' }], stream: true } },
};

/** The words that a shell makes of a command line. */
const words = (line: string): string[] =>
  execFileSync('sh', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);

let reports = 0;

function report(
  isTerminal: boolean,
  isTable = true,
  models: readonly ModelTableRow[] = [digits, broken],
): { output: string; log: Record<string, unknown>[] } {
  const destination = join(folder, `${reports++}.log`);
  let output = '';
  const progress = createStartUpReport({
    log: createLogger({ level: 'info', format: 'json', destination }),
    output: {
      write: (text) => {
        output += text;
      },
    },
    isTerminal,
    isTable,
  });
  progress.modelsFound(2);
  progress.modelLoading('digits', '1');
  progress.modelLoading('a-broken-model', '1');
  progress.modelEnded('a-broken-model', '1', 'UNAVAILABLE', broken.reason);
  progress.modelEnded('digits', '1', 'READY', '');
  progress.serving(models, urls);
  const lines = readFileSync(destination, 'utf8').trimEnd().split('\n');
  return { output, log: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

test('the table is aligned; a reason stands where the tensors would', () => {
  expect(modelTable([digits, broken], false)).toBe(
    [
      'model           version  state        backend      host       max batch  inputs -> outputs',
      'digits          1        READY        onnxruntime  1 process  32         x FP32[-1,4] -> label INT64[-1]',
      'a-broken-model  1        UNAVAILABLE  onnxruntime                        Invalid argument: no such; file',
      '',
    ].join('\n'),
  );
  expect(modelTable([], false)).toBe('no models\n');
  const narrow = modelTable([digits, broken], false, 80).split('\n');
  expect(narrow[1]).toBe('  inputs -> outputs');
  expect(narrow[3]).toBe(`  ${digits.inputs} -> ${digits.outputs}`);
  expect(narrow[4]).toMatch(/^a-broken-model .*UNAVAILABLE/);
  expect(Math.max(...narrow.filter((line) => !line.startsWith('  ')).map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(modelTable([digits, broken], true)).toContain('\u001b[32mREADY');
});

test('a table of thousands ends in how many more there are', () => {
  const lines = modelTable(new Array<ModelTableRow>(1_000).fill(digits), false).trimEnd().split('\n');
  expect(lines).toHaveLength(102);
  expect(lines.at(-1)).toBe('and 900 more');
});

describe('models that nobody has asked for yet', () => {
  const { exampleInputs: _, ...unknown } = digits;
  const waiting = (name: string, state: string): ModelTableRow => ({ ...unknown, name, version: '-', state, backend: '-', host: '-' });

  test('are no failure: yellow, and counted by themselves', () => {
    expect(modelTable([waiting('a', 'on demand')], true)).toContain('\u001b[33mon demand');
    expect(modelTable([broken], true)).toContain('\u001b[31mUNAVAILABLE');
    const { log } = report(false, false, [
      digits,
      { ...digits, version: '2' },
      broken,
      waiting('a', 'not loaded'),
      waiting('b', 'not loaded'),
    ]);
    // Models are counted, not versions.
    expect(log.at(-1)).toMatchObject({ msg: 'serving 1 of 4 models, 2 not loaded', models: 4, ready: 1 });
  });

  test.each([
    ['on demand', 'curl -s http://127.0.0.1:8000/v2/models/a%20b'],
    ['not loaded', 'curl -s -X POST http://127.0.0.1:8000/v2/repository/models/a%20b/load'],
  ])('%s: the example brings one in', (state, example) => {
    expect(report(false, true, [broken, waiting('a b', state)]).output).toContain(`\ntry:\n  ${example}\n`);
    expect(report(false, true, [broken]).output).not.toContain('try:');
  });

  test('a model of texts has a call of its own to try, in words of a shell', () => {
    const alone = report(false, true, [broken, texts]).output;
    expect(alone).toMatch(/\ntry:\n {2}curl -sN http:\/\/127.0.0.1:8000\/v1\/chat\/completions -d \S.*\n+$/);
    const line = alone.trimEnd().split('\n').at(-1)!.trim();
    expect(JSON.parse(words(line).at(-1)!)).toEqual(texts.exampleCall!.body);
    const both = report(false, true, [texts, digits]).output;
    expect(both).toContain('try:\n  curl -s http://127.0.0.1:8000/v2/models/digits/infer -d ');
    expect(both).toContain(`\n  ${line}\n`);
    expect(report(false, true, [{ ...texts, state: 'UNAVAILABLE' }]).output).not.toContain('try:');
  });
});

describe('the report', () => {
  test('outside a terminal: log lines, then the table and the addresses, no control characters', () => {
    const { output, log } = report(false);
    expect(log.map((record) => [record['level'], record['msg'], record['model']])).toEqual([
      ['info', 'model loaded', 'digits'],
      ['info', 'serving 1 of 2 models', undefined],
    ]);
    expect(output).not.toContain('\u001b');
    expect(output).toContain(
      'HTTP       http://127.0.0.1:8000/v2\nWebSocket  ws://127.0.0.1:8000/v2/ws\nmetrics    http://127.0.0.1:8002/metrics\n',
    );
    expect(output).toContain('try:\n  curl -s http://127.0.0.1:8000/v2/models/digits/infer -d ');
  });

  test('on a terminal: one line that is written over while models load', () => {
    const { output, log } = report(true);
    expect(output).toContain('\r\u001b[Kloading 1/2 digits 1');
    expect(output).toContain('\r\u001b[Kloading 2/2 digits 1');
    expect(output).toContain(`\r\u001b[K\n${modelTable([digits, broken], true)}`);
    expect(log.map((record) => record['msg'])).toEqual(['serving 1 of 2 models']);
  });

  test('without a table nothing but log lines is written', () => {
    const { output, log } = report(false, false);
    expect(output).toBe('');
    expect(log.at(-1)).toMatchObject({ models: 2, ready: 1, http: 'http://127.0.0.1:8000' });
  });
});

describe('the example request', () => {
  test('is an inference of zeros that a shell passes on whole', () => {
    const name = "it's a model/../$HOME";
    const inputs = [
      { name: "i'n", datatype: 'FP32', shape: [-1, 2] },
      { name: 't', datatype: 'BYTES', shape: [1] },
      { name: 'b', datatype: 'BOOL', shape: [] },
    ];
    const [curl, silent, url, flag, body] = words(exampleRequest(urls.http!, { ...digits, name, exampleInputs: inputs }));
    expect([curl, silent, flag]).toEqual(['curl', '-s', '-d']);
    expect(url).toBe(`http://127.0.0.1:8000/v2/models/${encodeURIComponent(name)}/infer`);
    expect(JSON.parse(body!)).toEqual({
      inputs: [
        { name: "i'n", datatype: 'FP32', shape: [1, 2], data: [0, 0] },
        { name: 't', datatype: 'BYTES', shape: [1], data: ['text'] },
        { name: 'b', datatype: 'BOOL', shape: [], data: [false] },
      ],
    });
  });

  test('asks for the metadata where the inputs are large or not known', () => {
    const { exampleInputs, ...unknown } = digits;
    const large = [{ name: 'image', datatype: 'FP32', shape: [-1, 3, 224, 224] }];
    for (const model of [unknown, { ...digits, exampleInputs: large }]) {
      expect(exampleRequest(urls.http!, model)).toBe('curl -s http://127.0.0.1:8000/v2/models/digits');
    }
    expect(exampleInputs).toHaveLength(1);
  });
});
