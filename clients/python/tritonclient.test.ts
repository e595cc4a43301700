import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exampleRepository, ServerProcess } from '../../server/e2e/serve.ts';

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
