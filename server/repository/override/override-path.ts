import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';

export const MAX_OVERRIDE_FILES = 1_000;
export const MAX_OVERRIDE_PATH_BYTES = 1_024;
/** What Linux file systems take. */
const MAX_COMPONENT_BYTES = 255;
const MAX_SHOWN = 80;

/**
 * Checks where a load request's files are to go: paths below the model's directory, of plain components, each path once and none both a file and a
 * directory. INVALID_ARGUMENT names the parameter (reference section 6.6: paths that escape the directory are rejected).
 */
export function checkOverridePaths(paths: Iterable<string>): void {
  const files = new Set<string>();
  const directories = new Set<string>();
  for (const path of paths) {
    checkOverridePath(path);
    // Two spellings of one name in Unicode are one file on some file systems and two on others.
    const normal = path.normalize('NFC');
    if (files.has(normal)) throw wrongPath(path, 'expected each path once, got two that differ in the form of their letters at most');
    files.add(normal);
    if (files.size > MAX_OVERRIDE_FILES) throw invalidArgument(`parameters: expected at most ${MAX_OVERRIDE_FILES} files`);
    for (let slash = normal.indexOf('/'); slash >= 0; slash = normal.indexOf('/', slash + 1)) directories.add(normal.slice(0, slash));
  }
  for (const path of files) if (directories.has(path)) throw wrongPath(path, 'another file has it as a directory');
}

function checkOverridePath(path: string): void {
  if (path === '') throw wrongPath(path, "expected a path below the model's directory, such as file:1/model.onnx, got none");
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_OVERRIDE_PATH_BYTES) throw wrongPath(path, `expected a path of at most ${MAX_OVERRIDE_PATH_BYTES} bytes, got ${bytes}`);
  if (path.startsWith('/'))
    throw wrongPath(path, "expected a path below the model's directory, such as file:1/model.onnx, got an absolute one");
  for (const component of path.split('/')) checkPathComponent(component, path);
}

function checkPathComponent(component: string, path: string): void {
  if (component === '') throw wrongPath(path, "expected single '/' between names, and none at the end");
  if (component === '.' || component === '..') throw wrongPath(path, `expected a path below the model's directory without '${component}'`);
  if (hasForbiddenLetter(component)) throw wrongPath(path, "expected '/' between names, and no backslash or control character");
  const bytes = Buffer.byteLength(component);
  if (bytes > MAX_COMPONENT_BYTES) throw wrongPath(path, `expected names of at most ${MAX_COMPONENT_BYTES} bytes, got ${bytes}`);
}

/** Whether a name is safe as one component of a path. */
export function isPathComponent(name: string): boolean {
  const isPlain = name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !hasForbiddenLetter(name);
  return isPlain && Buffer.byteLength(name) <= MAX_COMPONENT_BYTES;
}

function hasForbiddenLetter(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code < 0x20 || code === 0x7f || code === 0x5c) return true;
  }
  return !name.isWellFormed();
}

export function wrongPath(path: string, text: string): InferenceError {
  return invalidArgument(`${parameterName(path)}: ${text}`);
}

/** A file's parameter as messages name it; what a client sent is quoted where it is not plain. */
export function parameterName(path: string): string {
  const shown = path.length > MAX_SHOWN ? `${path.slice(0, MAX_SHOWN)}...` : path;
  const quoted = JSON.stringify(shown).slice(1, -1);
  return `parameters.file:${quoted}`;
}
