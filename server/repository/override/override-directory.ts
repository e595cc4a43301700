import { lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { OverrideFile } from '../load-parameters.ts';
import { checkOverridePaths, isPathComponent, parameterName, wrongPath } from './override-path.ts';

export interface OverrideLimits {
  /** Of all files of one load request together. */
  readonly maxBytes: number;
}

/** As much as one gRPC message brings. */
export const DEFAULT_OVERRIDE_LIMITS: OverrideLimits = { maxBytes: 2 ** 31 - 1 };

/** The files of a load request, on disk. Whoever has it removes it. */
export interface StagedOverride {
  /** Absolute path of the model's directory, named after the model. */
  readonly path: string;
  /** The folder that holds it and nothing else, which only this user may enter. */
  readonly root: string;
  /** Removes all of it; a second call does nothing. Rejects with the file system's error. */
  remove(): Promise<void>;
}

const PREFIX = 'nereid-';
/** What `mkdtemp` makes of `nereid-<pid>-`. */
const ROOT_NAME = /^nereid-([1-9][0-9]{0,9})-[A-Za-z0-9]{6}$/;

/** Roots that this process has made and not removed. */
const liveRoots = new Set<string>();

/**
 * Makes a directory of the files that a load request brought, in the system's folder for temporary files (TMPDIR). Rejects with INVALID_ARGUMENT
 * for paths or contents that cannot be, RESOURCE_EXHAUSTED when they are too large or the disk is full, INTERNAL for other faults of the file
 * system; nothing is left behind then.
 */
export async function stageOverride(
  name: string,
  files: ReadonlyMap<string, OverrideFile>,
  limits: OverrideLimits = DEFAULT_OVERRIDE_LIMITS,
): Promise<StagedOverride> {
  if (!isPathComponent(name))
    throw invalidArgument(`model name ${JSON.stringify(name.slice(0, 80))}: expected one that a directory can have`);
  checkOverridePaths(files.keys());
  const bytes = checkTotal(files, limits);
  const root = await makeRoot();
  const path = join(root, name);
  try {
    await mkdir(path, { mode: 0o700 });
    const made = new Set(['.']);
    for (const [below, file] of files) {
      const folder = dirname(below);
      if (!made.has(folder)) await mkdir(join(path, folder), { recursive: true, mode: 0o700 });
      made.add(folder);
      await file.writeTo(join(path, below)).catch((error: unknown) => {
        throw stagingFailure(error, below, bytes);
      });
    }
  } catch (error) {
    // What cannot be removed now is stale when the next server starts.
    await removeRoot(root).catch(() => {});
    throw stagingFailure(error, '', bytes);
  }
  return { path, root, remove: () => removeRoot(root) };
}

/**
 * Removes all that this process has staged: call it at the end of an orderly exit, when no model is loaded any more. Faults are passed over: the
 * next start tries again.
 */
export async function removeOwnOverrides(): Promise<void> {
  await Promise.allSettled([...liveRoots].map(removeRoot));
}

/**
 * Removes what earlier processes of this user left behind: call it at start, before anything is staged. Resolves with the number of directories
 * removed; faults are passed over.
 */
export async function removeStaleOverrides(): Promise<number> {
  const folder = tmpdir();
  let removed = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    const match = ROOT_NAME.exec(name);
    if (match === null) continue;
    const root = join(folder, name);
    if (liveRoots.has(root) || !isGone(Number(match[1]))) continue;
    const found = await lstat(root).catch(() => null);
    if (found === null || !found.isDirectory() || found.uid !== process.getuid?.()) continue;
    await rm(root, { recursive: true }).then(
      () => removed++,
      () => {},
    );
  }
  return removed;
}

/** This process's number on a directory that it has not made is that of an earlier one: a container's server has the same one each time. */
function isGone(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function checkTotal(files: ReadonlyMap<string, OverrideFile>, { maxBytes }: OverrideLimits): number {
  let bytes = 0;
  for (const file of files.values()) bytes += file.byteLength;
  if (bytes > maxBytes) {
    throw new InferenceError('RESOURCE_EXHAUSTED', `parameters: expected files of at most ${maxBytes} bytes together, got ${bytes}`);
  }
  return bytes;
}

async function makeRoot(): Promise<string> {
  try {
    const root = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
    liveRoots.add(root);
    return root;
  } catch (error) {
    throw stagingFailure(error, '', 0);
  }
}

async function removeRoot(root: string): Promise<void> {
  if (!liveRoots.has(root)) return;
  await rm(root, { recursive: true, force: true });
  liveRoots.delete(root);
}

/** The file system's error without its path. `below`: the file, '' when it is none. */
function stagingFailure(error: unknown, below: string, bytes: number): InferenceError {
  if (error instanceof InferenceError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const what = below === '' ? 'parameters' : parameterName(below);
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new InferenceError(
        'RESOURCE_EXHAUSTED',
        `${what}: the server's folder for temporary files has no room for the ${bytes} bytes of this load request (${code}): make room there, or put the files into the repository`,
        { cause: error },
      );
    case 'EEXIST':
    case 'ENAMETOOLONG':
    case 'EILSEQ':
    case 'EINVAL':
      return wrongPath(below, `the server's folder for temporary files does not take this name beside the others (${code})`);
    default:
      return new InferenceError(
        'INTERNAL',
        `${what}: cannot be written to the server's folder for temporary files (${code ?? 'the server log has the details'})`,
        { cause: error },
      );
  }
}
