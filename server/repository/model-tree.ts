import type { BigIntStats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceError } from '../../proto/inference-error.ts';
import { parseVersionName } from './version-policy.ts';

/**
 * What a model's directory looks like from outside. The texts are compared for equality and nothing else: a clock set back, or a link that leads elsewhere now, is a
 * change like any other.
 */
export interface ModelTree {
  /** The configuration files; whether what they say has changed is another question. */
  readonly config: string;
  /** Everything else beside the version directories: labels, warm-up files. */
  readonly common: string;
  /** By version number: its directory. */
  readonly versions: ReadonlyMap<number, string>;
  /** All of it. */
  readonly whole: string;
}

/** Files and directories below a model's directory; with more, it cannot be told whether it changed. */
export const MAX_TREE_ENTRIES = 10_000;
/** No fault of the storage's, and none that passes by itself. */
export class TooManyFiles extends InferenceError {
  constructor() {
    super(
      'INVALID_ARGUMENT',
      `the model's directory has more than ${MAX_TREE_ENTRIES} files and directories, too many to tell whether it changed; keep what the model does not need elsewhere`,
    );
  }
}

/** Deeper than any layout there is; links may lead in a circle. */
const MAX_DEPTH = 8;

/** Looks at every file and directory, following links, temporary ones left out. Rejects with the file system's error when `path` itself cannot be read or the storage fails, with {@link TooManyFiles}. */
export async function readModelTree(path: string): Promise<ModelTree> {
  const root = await stat(path, { bigint: true });
  if (!root.isDirectory()) {
    const text = mark('', root);
    return { config: '', common: '', versions: new Map([[1, text]]), whole: text };
  }
  const config: string[] = [];
  const common: string[] = [];
  const versions = new Map<number, string>();
  const budget = { left: MAX_TREE_ENTRIES };
  for (const name of await namesIn(path, budget)) {
    const version = parseVersionName(name);
    const lines: string[] = [];
    await look(join(path, name), name, [idOf(root)], lines, budget);
    if (version !== null) versions.set(version, lines.join('\n'));
    else if (name === 'configs' || name.startsWith('config.')) config.push(...lines);
    else common.push(...lines);
  }
  const texts = { config: config.join('\n'), common: common.join('\n') };
  return { ...texts, versions, whole: [texts.config, texts.common, ...versions.values()].join('\n') };
}

/** `above`: the directories on the way, by id. */
async function look(path: string, name: string, above: readonly string[], lines: string[], budget: { left: number }): Promise<void> {
  const found = await stat(path, { bigint: true }).catch(orAbsent(null));
  if (found === null) {
    // A link that leads nowhere, or a file that went: that it is not there is what there is to see.
    lines.push(`${name} -`);
    return;
  }
  lines.push(mark(name, found));
  if (!found.isDirectory() || above.length >= MAX_DEPTH) return;
  const id = idOf(found);
  // A link that leads back up: what is there is looked at already, and several of them would multiply it.
  if (above.includes(id)) return;
  for (const below of await namesIn(path, budget)) await look(join(path, below), `${name}/${below}`, [...above, id], lines, budget);
}

function idOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

async function namesIn(path: string, budget: { left: number }): Promise<string[]> {
  const names = (await readdir(path).catch(orAbsent([]))).filter((name) => !isTemporaryName(name));
  budget.left -= names.length;
  if (budget.left < 0) throw new TooManyFiles();
  return names.sort();
}

/** `absent` for what is not there or may not be read; a storage that fails tells nothing of what is there, and that error goes on. */
function orAbsent<Value>(absent: Value): (error: unknown) => Value {
  return (error) => {
    if (isFact(error)) return absent;
    throw error;
  };
}

/** Whether a file system's error is an answer about the file; any other says that the storage, or this process, is in trouble. */
export function isFact(error: unknown): boolean {
  return FACTS.has((error as NodeJS.ErrnoException).code ?? '');
}

const FACTS: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'EINVAL']);

/** A directory's own times change with what comes and goes in it, temporary files among it; what is in it is listed anyway. */
function mark(name: string, found: BigIntStats): string {
  return found.isDirectory() ? `${name}/` : `${name} ${found.dev}:${found.ino} ${found.size} ${found.mtimeNs}`;
}

/** Names of files and directories that are on their way to another name, or beside it: hidden ones, and what editors, rsync, browsers and downloaders leave. */
export function isTemporaryName(name: string): boolean {
  return (
    name.startsWith('.') ||
    /~$|\.(?:tmp|temp|part|partial|filepart|crdownload|download|swp|swx|bak|lock|incomplete)$|^#.*#$|\._COPYING_$/i.test(name)
  );
}
