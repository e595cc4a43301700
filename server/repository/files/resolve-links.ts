import type { BigIntStats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, parse, sep } from 'node:path';

export interface ResolvedPath {
  /** Without links. */
  readonly real: string;
  /** Every link on the way and its identity: compared for equality, and nothing else. */
  readonly links: string;
  /** When a link on the way was changed last, ms since 1970; 0: there is none. */
  readonly linkedMs: number;
}

/** As many as Linux follows. */
const MAX_LINKS = 40;

/**
 * What `realpath` does, and which links it took: a link that was turned elsewhere and back is another link, though the file at its end is the same. `directories` keeps what
 * is known to be no link; one for a pass over files that lie together. `path` is absolute. Rejects with the file system's error.
 */
export async function resolveLinks(path: string, directories: Set<string>): Promise<ResolvedPath> {
  const { root } = parse(path);
  const names = partsOf(path.slice(root.length)).reverse();
  const links: string[] = [];
  let real = root;
  let linkedMs = 0;
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    if (name === '..') {
      real = dirname(real);
      continue;
    }
    const at = join(real, name);
    if (directories.has(at)) {
      real = at;
      continue;
    }
    const entry = await lstat(at, { bigint: true });
    if (!entry.isSymbolicLink()) {
      if (entry.isDirectory()) directories.add(at);
      real = at;
      continue;
    }
    links.push(`${at} ${identityOf(entry)}`);
    linkedMs = Math.max(linkedMs, Number(entry.ctimeMs));
    if (links.length > MAX_LINKS) throw Object.assign(new Error('too many links'), { code: 'ELOOP', path });
    const target = await readlink(at);
    if (isAbsolute(target)) real = parse(target).root;
    names.push(...partsOf(isAbsolute(target) ? target.slice(real.length) : target).reverse());
  }
  return { real, links: links.join('\n'), linkedMs };
}

/**
 * Two of a file are equal when nothing was done to it in between: not written, replaced, renamed, linked or changed in its rights. The clock of file systems ticks every few
 * milliseconds, so a file that was changed at this very moment may be changed again unseen.
 */
export function identityOf(entry: BigIntStats): string {
  return `${entry.dev}:${entry.ino} ${entry.size} ${entry.mtimeNs} ${entry.ctimeNs}`;
}

/** Both absolute and without links. */
export function isInside(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith(sep) ? directory : directory + sep);
}

function partsOf(path: string): string[] {
  return path.split(sep).filter((part) => part !== '' && part !== '.');
}
