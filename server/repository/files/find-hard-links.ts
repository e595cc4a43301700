import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';

/** Files and directories looked at; what is not found among them counts as not found. */
export const MAX_SEARCHED_ENTRIES = 100_000;
/** Looked at together. */
const CHUNK = 32;

/** Which inode a file is: `<device>:<inode>`. */
export function inodeOf(entry: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${entry.dev}:${entry.ino}`;
}

/**
 * Looks for the names of files that have several, below `directories` in their order (links are not followed, nothing is counted twice). `wanted`: names to find by inode; what
 * is left of it, is what lies elsewhere. Stops as soon as all are found.
 */
export async function findHardLinks(directories: readonly string[], wanted: Map<string, number>): Promise<void> {
  let left = MAX_SEARCHED_ENTRIES;
  const open = [...directories].reverse();
  const seen = new Set<string>();
  for (let directory = open.pop(); directory !== undefined && wanted.size > 0 && left > 0; directory = open.pop()) {
    if (seen.has(directory)) continue;
    seen.add(directory);
    const entries = await opendir(directory).catch(() => null);
    if (entries === null) continue;
    const below: string[] = [];
    const files: string[] = [];
    for await (const entry of entries) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) below.push(path);
      else if (entry.isFile()) files.push(path);
      if (--left <= 0) break;
    }
    for (let i = 0; i < files.length && wanted.size > 0; i += CHUNK)
      await Promise.all(files.slice(i, i + CHUNK).map((path) => count(path, wanted)));
    open.push(...below);
  }
}

async function count(path: string, wanted: Map<string, number>): Promise<void> {
  const entry = await lstat(path, { bigint: true }).catch(() => null);
  if (entry === null) return;
  const inode = inodeOf(entry);
  const left = wanted.get(inode);
  if (left === undefined) return;
  if (left <= 1) wanted.delete(inode);
  else wanted.set(inode, left - 1);
}
