import { existsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { InspectModule, ModelFileInspection, NamedFile } from '../../../backends/api/inspect.ts';
import type { ModelConfig } from '../../../backends/api/model-config.ts';

const NAME = /^[a-z][a-z0-9_-]{0,63}$/;

/** By backend; only those that have one, so a configuration's inventions take no memory. */
const modules: Map<string, Promise<InspectModule>> = new Map();

/**
 * What the model file says of itself, by the `inspect` module of the backend; null: the backend has none, or there is no such backend. `byteLength` is the file's size.
 * Rejects with the file system's error.
 */
export async function inspectModelFile(backend: string, file: FileHandle, byteLength: number): Promise<ModelFileInspection | null> {
  const module = findModule(backend);
  return module === null ? null : (await module).inspectModelFile(file, byteLength);
}

/** The files that the configuration names in parameters of its backend. Rejects with INVALID_ARGUMENT. */
export async function namedFiles(config: ModelConfig): Promise<readonly NamedFile[]> {
  return (await findModule(config.backend))?.namedFiles?.(config) ?? [];
}

function findModule(backend: string): Promise<InspectModule> | null {
  const known = modules.get(backend);
  if (known !== undefined) return known;
  if (!NAME.test(backend) || backend === 'api') return null;
  // The sibling in the same layout: dist/ when built, the sources when a test runs them.
  const url = new URL(`../../../backends/${backend}/inspect${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
  if (!existsSync(url)) return null;
  const module: Promise<InspectModule> = import(/* @vite-ignore */ url.href);
  modules.set(backend, module);
  module.catch(() => modules.delete(backend));
  return module;
}
