import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeOnnxModel, type OnnxValue } from '../../bench/models/onnx-model.ts';
import { exampleRepository, makeRepository, ServerProcess } from '../../server/e2e/serve.ts';

const script = fileURLToPath(new URL('./infer_with_tritonclient.py', import.meta.url));
/** PYTHON chooses another one than the first on the path. */
const python = process.env['PYTHON'] ?? 'python3';

/** Why the example cannot run, or null. */
function missing(): string | null {
  try {
    execFileSync(python, ['-c', 'import tritonclient.grpc, tritonclient.http'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? `no ${python}`
      : `${python} has no tritonclient: pip install "tritonclient[http,grpc]"`;
  }
}

const reason = missing();

describe.skipIf(reason !== null)(reason === null ? "NVIDIA's Python client" : `NVIDIA's Python client (skipped: ${reason})`, () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`]);
  });
  afterAll(() => server?.stop());

  test('the example runs as it stands', async () => {
    const { stdout } = await promisify(execFile)(
      python,
      [script, '--http', new URL(server.http).host, '--grpc', new URL(server.grpc).host],
      {
        timeout: 60_000,
      },
    );
    expect(stdout).toContain('gRPC  repeat_int32   [4, 2, 0, 1]');
    expect(stdout).toMatch(/HTTP {2}an error {7}400: .*INPUT1/);
    expect(stdout).toMatch(/gRPC {2}an error {7}StatusCode\.INVALID_ARGUMENT: .*INPUT1/);
    expect(stdout.trim().endsWith('PASS')).toBe(true);
  });

  test('sends sequences', async () => {
    const value = (name: string): OnnxValue => ({ name, elementType: 'INT32', dims: ['batch', 1] });
    const adds = encodeOnnxModel({
      name: 'adds',
      inputs: [value('INPUT'), value('BEFORE')],
      outputs: [value('OUTPUT'), value('AFTER')],
      nodes: [
        { op: 'Add', inputs: ['BEFORE', 'INPUT'], outputs: ['OUTPUT'] },
        { op: 'Identity', inputs: ['OUTPUT'], outputs: ['AFTER'] },
      ],
    });
    const state = 'state: [{ input_name: BEFORE, output_name: AFTER, data_type: TYPE_INT32, dims: [1] }]';
    const repository = makeRepository({
      'simple_sequence/1/model.onnx': adds,
      'simple_sequence/config.yaml': `max_batch_size: 4\nsequence_batching: { ${state} }\n`,
    });
    const own = await ServerProcess.start([`--model-repository=${repository.path}`]);
    try {
      const sequences = fileURLToPath(new URL('./sequence_with_tritonclient.py', import.meta.url));
      const { stdout } = await promisify(execFile)(
        python,
        [sequences, '--http', new URL(own.http).host, '--grpc', new URL(own.grpc).host],
        { timeout: 60_000 },
      );
      expect(stdout).toContain('gRPC  a stream    [11, 18, 23, 26, 28, 28, 29]');
      expect(stdout).toMatch(/HTTP {2}an error {4}400: .*START flag/);
      expect(stdout).toMatch(/gRPC {2}an error {4}StatusCode\.INVALID_ARGUMENT: .*START flag/);
      expect(stdout.trim().endsWith('PASS')).toBe(true);
    } finally {
      await own.stop();
      repository.remove();
    }
  });

  test('loads models with what the request brings', async () => {
    const own = await ServerProcess.start([
      `--model-repository=${exampleRepository}`,
      '--model-control-mode=explicit',
      '--load-model=simple',
    ]);
    try {
      const loading = fileURLToPath(new URL('./load_with_tritonclient.py', import.meta.url));
      const model = join(exampleRepository, 'simple/1/model.onnx');
      const { stdout } = await promisify(execFile)(
        python,
        [loading, model, '--http', new URL(own.http).host, '--grpc', new URL(own.grpc).host],
        { timeout: 60_000 },
      );
      expect(stdout).toMatch(/HTTP {2}400: parameters\.file:\.\.\/model\.onnx: /);
      expect(stdout).toMatch(/gRPC {2}StatusCode\.INVALID_ARGUMENT: parameters\.file:\.\.\/model\.onnx: /);
      expect(stdout.trim().endsWith('PASS')).toBe(true);
    } finally {
      await own.stop();
    }
  });
});
