import type { BigIntStats, Dirent } from 'node:fs';
import { readdir, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { isFact, isTemporaryName, MAX_TREE_ENTRIES, TooManyFiles } from '../model-tree.ts';
import type { WatchWish, WatchWishes } from './watch-table.ts';

/** Where events tell that something in a model's directory, or on the way to it, changed. */
export interface Reach {
  readonly wishes: WatchWishes;
  /** The storage failed on the way, so that what a look finds now says nothing; null: it did not. */
  readonly failure: unknown;
}

/** Directories of one model that are watched, and links in it that are followed; what is beyond is seen by polling. */
const MAX_DIRECTORIES = 1024;
const MAX_LINKS = 256;
/** As far as `readModelTree` looks. */
const MAX_DEPTH = 8;
/** As the system's own limit. */
const MAX_HOPS = 40;

/** Every directory in a model's, links followed, and the directories of the links on the way to what they lead to. */
export async function modelReach(path: string): Promise<Reach> {
  const wishes = new Map<string, WatchWish>();
  const walk: Walk = { wishes, seen: new Set(), entriesLeft: MAX_TREE_ENTRIES, linksLeft: MAX_LINKS };
  try {
    // For a directory of its own, the repository's events tell.
    if (await linkTarget(path)) await wishLinks('/', path, wishes);
    await visit(path, 0, walk);
    return { wishes, failure: null };
  } catch (error) {
    return { wishes, failure: isFact(error) ? null : error };
  }
}

/** A repository's directory, and the directories where a link on the way to it could be made to lead elsewhere. */
export async function repositoryReach(path: string): Promise<Reach> {
  const wishes = new Map<string, WatchWish>();
  try {
    await wishLinks('/', path, wishes);
    const found = await statOrNull(path);
    if (found?.isDirectory()) wishes.set(path, { id: idOf(found), names: null });
    return { wishes, failure: null };
  } catch (failure) {
    return { wishes, failure };
  }
}

interface Walk {
  readonly wishes: Map<string, WatchWish>;
  /** Directories by id: links may lead in a circle. */
  readonly seen: Set<string>;
  entriesLeft: number;
  linksLeft: number;
}

async function visit(directory: string, depth: number, walk: Walk): Promise<void> {
  const found = await statOrNull(directory);
  if (!found?.isDirectory()) return;
  const id = idOf(found);
  if (walk.seen.has(id) || walk.wishes.size >= MAX_DIRECTORIES) return;
  walk.seen.add(id);
  walk.wishes.set(directory, { id, names: null });
  if (depth >= MAX_DEPTH) return;
  let real: string | null = null;
  for (const entry of await entriesOf(directory)) {
    if (isTemporaryName(entry.name)) continue;
    walk.entriesLeft -= 1;
    if (walk.entriesLeft < 0) throw new TooManyFiles();
    if (entry.isSymbolicLink() && walk.linksLeft > 0) {
      walk.linksLeft -= 1;
      real ??= await realpath(directory);
      await wishLinks(real, entry.name, walk.wishes);
    }
    if (entry.isDirectory() || entry.isSymbolicLink()) await visit(join(directory, entry.name), depth + 1, walk);
  }
}

/** Wishes for every link met on the way from `start` (free of links) along `path`, for the end of the way, and for the first name on it that is not there. */
async function wishLinks(start: string, path: string, wishes: Map<string, WatchWish>): Promise<void> {
  let at = start;
  let ahead = partsOf(path);
  for (let hops = 0; hops <= MAX_HOPS; ) {
    const part = ahead.shift();
    if (part === undefined) return;
    if (part === '..') {
      at = dirname(at);
      continue;
    }
    const next = join(at, part);
    const target = await linkTarget(next);
    if (target !== '' || ahead.length === 0) await wishName(at, part, wishes);
    if (target === null) return;
    if (target === '') {
      at = next;
      continue;
    }
    hops += 1;
    if (isAbsolute(target)) at = '/';
    ahead = [...partsOf(target), ...ahead];
  }
}

/** Where the link leads; '' when it is none, null when nothing is there (or cannot be told). */
async function linkTarget(path: string): Promise<string | null> {
  try {
    return await readlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return '';
    if (isFact(error)) return null;
    throw error;
  }
}

async function wishName(directory: string, name: string, wishes: Map<string, WatchWish>): Promise<void> {
  const present = wishes.get(directory);
  if (present !== undefined) {
    present.names?.add(name);
    return;
  }
  const found = await statOrNull(directory);
  if (found?.isDirectory()) wishes.set(directory, { id: idOf(found), names: new Set([name]) });
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

async function entriesOf(directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isFact(error)) return [];
    throw error;
  }
}

async function statOrNull(path: string): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (isFact(error)) return null;
    throw error;
  }
}

/** The number of a removed directory is soon given to the next one; its time of birth is not. */
function idOf(found: BigIntStats): string {
  return `${found.dev}:${found.ino}:${found.birthtimeNs}`;
}
