/** A repository on disk, one for each test, for tests of the files that a model may have. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, expect } from 'vitest';
import type { ModelConfig } from '../../../backends/api/model-config.ts';
import { identity } from '../../../bench/models/test-models.ts';
import { emptyModelConfig } from '../../model-config/parse-model-config.ts';
import type { ModelVersionFile } from '../model-directory.ts';
import type { ModelSource } from '../model-source.ts';
import { type CheckedFiles, checkModelFiles, type FileRules } from './model-files.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'nereid-files-')));
afterAll(() => rmSync(folder, { recursive: true }));

export const rules: FileRules = { allowOutsideLinks: false, maxModelBytes: 10_000_000 };
export const model: Uint8Array = identity('FP32');
let count = 0;
/** Of each test its own: a repository `models` and a folder `outside`, beside each other. */
export let root: string;
export let outside: string;

beforeEach(() => {
  const own = join(folder, String(count++));
  root = join(own, 'models');
  outside = join(own, 'outside');
  mkdirSync(join(root, 'm', '1'), { recursive: true });
  mkdirSync(outside);
});

export function put(path: string, content: string | Uint8Array, base = root): string {
  const full = join(base, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  return full;
}

export function source(): ModelSource {
  return { name: 'm', kind: 'directory', path: join(root, 'm'), root, config: null };
}

export function version(number = 1, name = 'model.onnx'): ModelVersionFile {
  return { version: number, modelPath: join(root, 'm', String(number), name) };
}

export function config(overrides: Partial<ModelConfig> = {}): ModelConfig {
  return { ...emptyModelConfig(), name: 'm', backend: 'onnxruntime', defaultModelFilename: 'model.onnx', ...overrides };
}

export function check(
  overrides: { config?: Partial<ModelConfig>; rules?: Partial<FileRules>; file?: ModelVersionFile; source?: ModelSource } = {},
): Promise<CheckedFiles> {
  return checkModelFiles(overrides.source ?? source(), overrides.file ?? version(), config(overrides.config), {
    ...rules,
    ...overrides.rules,
  });
}

export async function refusal(checked: Promise<unknown>): Promise<string> {
  const error = await checked.then(
    () => null,
    (reason: unknown) => reason as { code: string; message: string },
  );
  expect(error?.code).toBe('INVALID_ARGUMENT');
  expect(error?.message).not.toContain(folder);
  return error!.message;
}

export const allowed: { readonly rules: Partial<FileRules> } = { rules: { allowOutsideLinks: true } };
