import { existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tinyLlama } from '../../bench/models/gguf/small-models.ts';
import { addSub, endlessLoop, identity } from '../../bench/models/test-models.ts';
import { exampleRepository } from '../e2e/serve.ts';
import { captureOutput } from './captured-output.case.ts';
import { checkCommand } from './check-command.ts';
import { checkRepository } from './check-repository.ts';

const lyingHost = join(import.meta.dirname, '../execution/fixtures/lying-host.mjs');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'check-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(files: Readonly<Record<string, string | Uint8Array>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}

interface Report {
  readonly models: readonly {
    name: string;
    path: string;
    findings: readonly { severity: string; file: string; field: string; line: number | null; message: string }[];
  }[];
  readonly errors: number;
  readonly warnings: number;
}

async function check(...argv: string[]): Promise<{ code: number; report: Report; lines: string[] }> {
  const { code, stdout, stderr } = await captureOutput(() => checkCommand([...argv, '--json']));
  expect(stderr).toBe('');
  const report = JSON.parse(stdout) as Report;
  const lines = report.models.flatMap(({ findings }) =>
    findings.map(
      ({ severity, file, field, line, message }) =>
        `${severity} ${file}${line === null ? '' : `:${line}`}${field === '' ? '' : ` ${field}`}: ${message}`,
    ),
  );
  return { code, report, lines };
}

/** The findings are exactly those that contain these texts, in any order. */
function expectFindings(lines: readonly string[], texts: readonly string[]): void {
  for (const text of texts) expect(lines).toContainEqual(expect.stringContaining(text));
  expect(lines).toHaveLength(texts.length);
}

describe('nereid check', () => {
  it('finds nothing in the example repository, in one of its models, and in a model file', async () => {
    const whole = await captureOutput(() => checkCommand([exampleRepository]));
    expect(whole).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^digit_label {2}ok\n[\s\S]*: 0 errors, 0 warnings\n$/),
    });
    const { report } = await check(join(exampleRepository, 'digits'));
    expect(report.models).toEqual([{ name: 'digits', path: join(exampleRepository, 'digits'), findings: [] }]);
    expect((await check(join(exampleRepository, 'simple/1/model.onnx'))).report).toMatchObject({ errors: 0, models: [{ name: 'model' }] });
  });

  it('GGUF models: what is wrong with the file shows without loading it, and so do parameters', async () => {
    const model = tinyLlama();
    const parameter = (key: string, value: string): string => `parameters { key: "${key}" value { string_value: "${value}" } }\n`;
    write({
      'good/1/model.gguf': model,
      'named/1/story.Q4_K.gguf': model,
      'short/1/model.gguf': model.subarray(0, model.length - 100),
      'zeros/1/model.gguf': new Uint8Array(1000),
      'unknown/config.pbtxt': `backend: "llamacpp"\n${parameter('context_sise', '512')}`,
      'unknown/1/model.gguf': model,
      'range/config.pbtxt': `backend: "llamacpp"\n\n${parameter('sequences', '0')}`,
      'range/1/model.gguf': model,
      'stray/model.gguf': model,
      'batches/config.pbtxt': 'backend: "llamacpp"\nmax_batch_size: 8\n',
      'batches/1/model.gguf': model,
    });
    const { code, lines } = await check('--no-load', folder);
    expect(code).toBe(1);
    const of = (name: string): string[] => lines.filter((line) => line.includes(` ${name}`));
    expect([of('good'), of('named')]).toEqual([[], []]);
    expectFindings(of('short'), ['error short/1/model.gguf: is not loaded: ']);
    expectFindings(of('zeros'), ['error zeros/1/model.gguf: is not loaded: ']);
    expectFindings(of('unknown'), [
      'error unknown/config.pbtxt:2 parameters["context_sise"]: parameters[\'context_sise\']: no parameter of the llamacpp backend',
    ]);
    expect(of('unknown')[0]).toContain("did you mean 'context_size'?");
    expectFindings(of('range'), ['error range/config.pbtxt:3 parameters["sequences"]: ']);
    expect(of('stray').join('\n')).toContain('move stray/model.gguf there');
    expect((await check(join(folder, 'named/1/story.Q4_K.gguf'))).report).toMatchObject({ errors: 0, models: [{ name: 'story.Q4_K' }] });
    expect((await check(join(folder, 'good'))).report).toMatchObject({ errors: 0, warnings: 0 });
    expect((await check(join(folder, 'zeros'))).lines).toHaveLength(1);
  }, 30_000);

  it('every mistake of a configuration, and what they lead to once', async () => {
    write({
      'm/config.pbtxt': `name: "m"
max_batchsize: 4
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FLOAT32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] label_filename: "labels.txt" },
  { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
instance_group [ { count: 1 gpus: [ 0 ] } ]
optimization { priority: PRIORITY_MAX }
version_policy { specific { versions: [ 1, 7 ] } }
`,
      'm/1/model.onnx': identity('FP32'),
      'm/old/model.onnx': '',
      'm/stray.onnx': 'x',
      'm/README.md': 'text',
    });
    const { code, lines } = await check(folder);
    expect(code).toBe(1);
    expectFindings(lines, [
      "error m/config.pbtxt:2 max_batchsize: unknown field; did you mean 'max_batch_size'?",
      'error m/config.pbtxt:4 input[0].data_type: expected one of',
      "error m/config.pbtxt:6 output[1].name: 'OUTPUT0' is already the name of output[0]",
      'error m/config.pbtxt:7 instance_group[0].gpus: not supported',
      'warning m/config.pbtxt:8 optimization.priority: PRIORITY_MAX is has no effect',
      'warning m/config.pbtxt:9 version_policy.specific.versions[1]: version 7 has no directory',
      "error m/config.pbtxt:5 output[0].label_filename: 'labels.txt' is not there",
      'warning m/old: is no version',
      'warning m/stray.onnx: is used by nothing',
    ]);
  });

  it('the configuration against the file, labels, versions and warm-ups', async () => {
    const golden = (value: number): string =>
      JSON.stringify({
        request: { inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'FP32', shape: [1, 2], data: [1, 1] })) },
        response: { outputs: [{ name: 'OUTPUT0', datatype: 'FP32', shape: [1, 2], data: [2, value] }] },
      });
    write({
      'shapes/config.yaml':
        'max_batch_size: 4\ninput:\n  - {name: INPUT0, data_type: TYPE_FP32, dims: [3]}\noutput:\n  - {name: OUTPUT1, data_type: TYPE_FP32, dims: [16]}\n',
      'shapes/1/model.onnx': identity('FP32'),
      'labels/config.json': '{"output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [16],\n "label_filename": "l.txt"}]}',
      'labels/l.txt': 'a\nb\n',
      'labels/1/model.onnx': identity('FP32'),
      'versions/config.yaml': 'version_policy: {all: {}}\ninput: [{name: INPUT0, data_type: TYPE_FP32, dims: [5]}]\n',
      'versions/1/model.onnx': identity('FP32'),
      'versions/2/model.onnx': identity('FP32', ['batch', 4]),
      'versions/3/modle.onnx': identity('FP32'),
      'empty/config.yaml': 'backend: onnxruntime\n',
      'garbage/1/model.onnx': 'no model',
      'warm/config.yaml': [
        'golden_check: [{file: right.json}, {file: wrong.json}, {file: missing.json}]',
        'warmup_requests: [r.jsonl]',
        'model_warmup:',
        '  - name: ok',
        '    batch_size: 1',
        '    inputs:',
        '      INPUT0: {data_type: TYPE_FP32, dims: [2], zero_data: true}',
        '      INPUT1: {data_type: TYPE_FP32, dims: [2], zero_data: true}',
        '  - name: misfit',
        '    batch_size: 1',
        '    inputs:',
        '      INPUT0: {data_type: TYPE_FP32, dims: [2], zero_data: true}',
        '      INPUT1: {data_type: TYPE_FP32, dims: [2], input_data_file: data}',
        '',
      ].join('\n'),
      'warm/1/model.onnx': addSub('FP32', ['batch', 2]),
      'warm/golden/right.json': golden(2),
      'warm/golden/wrong.json': golden(3),
      'warm/warmup/r.jsonl': '{"inputs":[]}\n',
      'warm/warmup/data': 'abc',
    });
    const { code, lines, report } = await check(folder);
    expect(code).toBe(1);
    expectFindings(lines, [
      'error shapes/config.yaml:3 input[0].dims[0]: the model expects shape [16]',
      "error shapes/config.yaml:5 output[0].name: unexpected inference output 'OUTPUT1', allowed outputs are: OUTPUT0; did you mean 'OUTPUT0'?",
      "error labels/config.json:2 output[0].label_filename: 'l.txt' has 2 labels, expected 16",
      "error versions/3/model.onnx: the model's file is missing: the directory has modle.onnx; rename 'modle.onnx'",
      'error versions/config.yaml:2 input[0].dims[0]: version 1: the model expects shape [16]',
      'error versions/config.yaml:2 input[0].dims[0]: version 2: the model expects shape [4]',
      'warning versions: versions differ in what they take and give',
      'error empty: no version directory',
      'error garbage/1/model.onnx: ',
      'error warm/config.yaml:1 golden_check[1]: golden check',
      "error warm/config.yaml:1 golden_check[2].file: no file 'golden/missing.json'",
      'error warm/config.yaml:2 warmup_requests[0]: ',
      "error warm/config.yaml:9 model_warmup[1]: failed to run warm-up sample 'misfit'",
    ]);
    expect(report).toMatchObject({ errors: 12, warnings: 1 });
    const quick = await check(folder, '--no-load');
    expect(quick.lines.some((line) => line.includes('misfit'))).toBe(false);
    expect(quick.lines).toContainEqual(expect.stringContaining("'l.txt' has 2 labels, expected 16"));
    expect((await check(folder, '--model', 'labels', '--model=shapes')).report.models.map(({ name }) => name)).toEqual([
      'labels',
      'shapes',
    ]);
  }, 60_000);

  it('version labels, a repository without models, an ensemble without a version directory', async () => {
    write({ 'm/config.yaml': 'version_labels:\n  stable: 1\n  canary: 9\n', 'm/1/model.onnx': identity('FP32'), 'files/model.onnx': '' });
    const { lines } = await check(join(folder, 'm'), '--no-load');
    expect(lines).toContainEqual(expect.stringContaining('error m/config.yaml:3 version_labels["canary"]: version 9 is not served (1)'));
    expect(lines.some((line) => line.includes('stable'))).toBe(false);
    const none = await captureOutput(() => checkCommand([join(folder, 'files')]));
    expect(none).toMatchObject({ code: 1, stderr: expect.stringMatching(/no models in .*name it: .*model\.onnx/) });
    write({ 'e/config.yaml': 'ensemble_scheduling: {step: []}\n' });
    expect((await check(join(folder, 'e'))).lines).toContainEqual(expect.stringContaining('which may be empty'));
  });

  it('goes on after a model that ends its process, and one that never answers', async () => {
    write({
      'crash/1/model.onnx': identity('FP32'),
      'endless/config.yaml':
        'model_warmup: [{name: w, batch_size: 1, inputs: {INPUT0: {data_type: TYPE_FP32, dims: [1], zero_data: true}}}]\n',
      'endless/1/model.onnx': endlessLoop(),
      'good/1/model.onnx': identity('FP32'),
    });
    const options = { models: [], loads: true, configName: '', onProgress: () => {} };
    const findings = async (hosts: object): Promise<string[]> => {
      const models = await checkRepository([folder], { ...options, hosts });
      return models.flatMap(({ findings: { all } }) =>
        all.map(({ severity, file, field, message }) => `${severity} ${file} ${field}: ${message}`),
      );
    };
    expect(await findings({ executionTimeoutMs: 300 })).toEqual([
      expect.stringContaining("error endless/config.yaml model_warmup[0]: failed to run warm-up sample 'w'"),
    ]);
    const crashed = await findings({ entry: lyingHost });
    expect(crashed).toContainEqual(expect.stringMatching(/^error crash\/1\/model\.onnx : .*while it loaded model 'crash:1'/));
    expect(crashed.some((line) => line.includes('good') && line.includes('while it loaded'))).toBe(false);
  }, 30_000);

  it('files that are on their way, and links that lead out', async () => {
    write({
      'repository/half/1/model.onnx': identity('FP32').subarray(0, 90),
      'repository/copied/1/model.onnx': identity('FP32'),
      'repository/copied/1/weights.part': '',
      'repository/labels/config.yaml': 'output: [{name: OUTPUT0, data_type: TYPE_FP32, dims: [1], label_filename: l.txt}]\n',
      'repository/labels/1/model.onnx': identity('FP32', ['batch', 1]),
      'repository/link/1/.keep': '',
      'secret.txt': 'a\n',
      'outside.onnx': identity('FP32'),
    });
    symlinkSync(join(folder, 'secret.txt'), join(folder, 'repository/labels/l.txt'));
    symlinkSync(join(folder, 'outside.onnx'), join(folder, 'repository/link/1/model.onnx'));
    const { lines } = await check(join(folder, 'repository'));
    expectFindings(lines, [
      'error half/1/model.onnx: is not loaded: ',
      "error copied/1/model.onnx: is not loaded: version 1 is still being written: 'weights.part'",
      "error labels/config.yaml:1 output[0].label_filename: 'l.txt': a link that leads out of the repository",
      'error link/1/model.onnx: ',
    ]);
    expect(lines.join()).not.toContain(join(folder, 'secret.txt'));
  });

  it('configurations and labels with a name outside, of which it shows nothing, and entries that lead to files', async () => {
    const parameters = { 'session.optimized_model_filepath': { string_value: join(folder, 'written.onnx') } };
    write({
      'repository/config/1/model.onnx': identity('FP32'),
      'repository/labels/config.yaml': 'output: [{name: OUTPUT0, data_type: TYPE_FP32, dims: [1], label_filename: l.txt}]\n',
      'repository/labels/1/model.onnx': identity('FP32', ['batch', 1]),
      'repository/writes/1/model.onnx': identity('FP32'),
      'repository/writes/config.json': JSON.stringify({ parameters }),
      'secret.pbtxt': 'do_not_show: 1\n',
    });
    linkSync(join(folder, 'secret.pbtxt'), join(folder, 'repository/config/config.pbtxt'));
    linkSync(join(folder, 'secret.pbtxt'), join(folder, 'repository/labels/l.txt'));
    const { lines } = await check(join(folder, 'repository'));
    expectFindings(lines, [
      'error config/config.pbtxt: config.pbtxt: a hard link: the file has 3 names',
      "error labels/config.yaml:1 output[0].label_filename: 'l.txt': a hard link: the file has 3 names",
      "error writes/1/model.onnx: parameters['session.optimized_model_filepath']: ",
    ]);
    expect(lines.join()).not.toContain('do_not_show');
    expect(existsSync(join(folder, 'written.onnx'))).toBe(false);
  });

  it('takes configs/NAME in every form, as the server does', async () => {
    write({ 'm/1/model.onnx': identity('FP32'), 'm/configs/prod.yaml': 'max_batch_sise: 1\n', 'm/config.pbtxt': '' });
    expectFindings((await check(folder, '--model-config-name', 'prod')).lines, ['error m/configs/prod.yaml:1 max_batch_sise: ']);
    expectFindings((await check(folder)).lines, []);
  });

  it('a directory with more files than can be watched, and does not list them all', async () => {
    write({ 'm/1/model.onnx': identity('FP32') });
    for (let i = 0; i < 10_001; i++) writeFileSync(join(folder, 'm', `${i}.bin`), '');
    const { lines } = await check(folder);
    expect(lines).toContainEqual(expect.stringMatching(/^error m: the model's directory has more than 10000 files and directories/));
    expect(lines).toContainEqual(expect.stringMatching(/^warning m: 9981 more files are used by nothing/));
    expect(lines).toHaveLength(22);
  });

  it('the graph of an ensemble', async () => {
    const tensor = (name: string): string => `{ name: "${name}" data_type: TYPE_FP32 dims: [ 16 ] }`;
    const graph = (steps: string): string =>
      `platform: "ensemble"\nmax_batch_size: 4\ninput [ ${tensor('IN')} ]\noutput [ ${tensor('OUT')} ]\nensemble_scheduling { step [\n${steps}\n] }\n`;
    const step = (model: string, from: string, to: string): string =>
      `{ model_name: "${model}" model_version: -1 input_map { key: "INPUT0" value: "${from}" } output_map { key: "OUTPUT0" value: "${to}" } }`;
    write({
      'a/1/model.onnx': identity('FP32'),
      'right/config.pbtxt': graph(`${step('a', 'IN', 'x')},\n${step('a', 'x', 'OUT')}`),
      'right/1/.keep': '',
      'circle/config.pbtxt': graph(`${step('a', 'y', 'x')},\n${step('a', 'x', 'y')},\n${step('a', 'IN', 'OUT')}`),
      'circle/1/.keep': '',
      'wrong/config.pbtxt': graph(
        `${step('b', 'IN', 'x')},\n${step('a', 'inn', 'x').replaceAll('INPUT0', 'INPUT_0')},\n${step('a', 'IN', 'z')}`,
      ),
      'wrong/1/.keep': '',
      'i/1/model.onnx': identity('INT64'),
      'types/config.pbtxt': graph(`${step('a', 'IN', 'x')},\n${step('i', 'x', 'OUT')}`),
      'types/1/.keep': '',
    });
    const { lines } = await check(folder);
    expectFindings(lines, [
      `error types/config.pbtxt:7 ensemble_scheduling.step[1].input_map["INPUT0"]: expected TYPE_FP32, which the output 'OUTPUT0' of 'a' gives, got TYPE_INT64`,
      `error types/config.pbtxt:4 output[0].data_type: expected TYPE_INT64, which the output 'OUTPUT0' of 'i' gives, got TYPE_FP32`,
      'error circle/config.pbtxt:5 ensemble_scheduling.step: the steps wait for each other: ',
      "error wrong/config.pbtxt:6 ensemble_scheduling.step[0].model_name: no model 'b' in the repository",
      'error wrong/config.pbtxt:7 ensemble_scheduling.step[1].output_map["OUTPUT0"]: the tensor \'x\' is made by ensemble_scheduling.step[0].output_map["OUTPUT0"] too',
      "error wrong/config.pbtxt:7 ensemble_scheduling.step[1].input_map: expected every input of 'a', missing INPUT0",
      "error wrong/config.pbtxt:4 output[0].name: no step makes the output 'OUT'",
      'error wrong/config.pbtxt:6 ensemble_scheduling.step[0].output_map["OUTPUT0"]: the tensor \'x\' is used by no step',
      'error wrong/config.pbtxt:8 ensemble_scheduling.step[2].output_map["OUTPUT0"]: the tensor \'z\' is used by no step',
      "error wrong/config.pbtxt:7 ensemble_scheduling.step[1].input_map[\"INPUT_0\"]: nothing makes the tensor 'inn': it is no input of the ensemble and no step's output; did you mean 'IN'?",
    ]);
  });

  it('names that are not unique, --model-config-name, warnings as errors', async () => {
    write({
      'one/m/1/model.onnx': identity('FP32'),
      'one/m/x.onnx': '',
      'one/m/configs/big.pbtxt': 'max_batch_size: 64 nonsense: 1',
      'two/m/1/model.onnx': identity('FP32'),
    });
    const both = await check(join(folder, 'one'), join(folder, 'two'), '--no-load');
    expectFindings(both.lines, [
      'error m: the name is not unique',
      'error m: the name is not unique',
      'warning m/x.onnx: is used by nothing',
    ]);
    expect((await check(join(folder, 'one'), '--no-load')).code).toBe(0);
    expect((await check(join(folder, 'one'), '--no-load', '--warnings-as-errors')).code).toBe(1);
    const named = await check(join(folder, 'one'), '--no-load', '--model-config-name', 'big');
    expect(named.lines).toContainEqual(expect.stringContaining('error m/configs/big.pbtxt:1 nonsense: unknown field'));
  });

  it.each([
    [[], 2, 'expected DIR, got none'],
    [['x', '--jsn'], 2, "did you mean '--json'?"],
    [['x', '--model-config-name', '../x'], 2, '--model-config-name'],
    [['/nowhere'], 1, "no file or directory '/nowhere'"],
    [['EXAMPLES', '--model', 'simpel'], 1, "did you mean 'simple'?"],
  ])('%j ends with %i', async (argv, code, text) => {
    const result = await captureOutput(() => checkCommand(argv.map((word) => word.replace('EXAMPLES', exampleRepository))));
    expect(result).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) });
  });
});
