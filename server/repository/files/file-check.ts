import type { BigIntStats } from 'node:fs';
import { constants, type FileHandle, lstat, open, stat } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { readFailure } from '../model-directory.ts';
import { checksumMismatch, hashFile } from './checksum-manifest.ts';
import { describeEntry } from './describe-entry.ts';
import { findHardLinks, inodeOf } from './find-hard-links.ts';
import { identityOf, isInside, type ResolvedPath, resolveLinks } from './resolve-links.ts';

export interface FileCheckOptions {
  /** Without links: what is opened lies inside. */
  readonly realRoot: string;
  readonly allowOutsideLinks: boolean;
  readonly maxBytes: number;
  /** What bears the bytes, for messages: `model 'm' version 3`. */
  readonly what: string;
  /** A path as it may be shown. */
  readonly show: (path: string) => string;
}

export interface LoadedManifest {
  /** As the files' paths begin, with a separator at the end. */
  readonly prefix: string;
  readonly shown: string;
  /** By absolute path. */
  readonly checksums: ReadonlyMap<string, string>;
}

interface TakenFile extends ResolvedPath {
  readonly path: string;
  readonly identity: string;
  /** Without the time of the last change to names and rights. */
  readonly content: string;
}

interface LinkedFile {
  readonly path: string;
  readonly inode: string;
  readonly links: number;
}

/** Two ticks of the slowest kernel clock that stamps files. */
const SETTLE_MS = 20;
/** What is changed all the time will have changed by the end of the load. */
const MAX_SETTLE_TRIES = 3;

/** O_NONBLOCK: a pipe that takes a checked file's place in between does not keep us waiting. Windows has neither flag. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);

/** Opens files one after the other, each once, holds them to the rules, and remembers which they were. */
export class FileCheck {
  readonly #options: FileCheckOptions;
  readonly #taken: Map<string, TakenFile> = new Map();
  /** Known to be no links, while files are taken. */
  readonly #directories: Set<string> = new Set();
  readonly #inodes: Set<string> = new Set();
  readonly #linked: LinkedFile[] = [];
  readonly #manifests: LoadedManifest[] = [];
  byteLength = 0;

  constructor(options: FileCheckOptions) {
    this.#options = options;
  }

  /** From now on, what lies below the manifest's directory is held to it. */
  addManifest(manifest: LoadedManifest): void {
    this.#manifests.push(manifest);
  }

  /**
   * Checks one file: inside the root, plain, within the bounds, as the manifests say. `use` has it open. `isNamed`: by whoever started the server, so it may be anywhere.
   *
   * @throws InferenceError, with `why` before it: what names the file. UNAVAILABLE: it is being replaced.
   */
  async take(
    path: string,
    why: string,
    use: ((file: FileHandle, byteLength: number) => Promise<void>) | null = null,
    isNamed = false,
  ): Promise<void> {
    if (this.#taken.has(path)) return;
    const { realRoot, allowOutsideLinks, show } = this.#options;
    const shown = show(path);
    let file: FileHandle | null = null;
    try {
      const { resolved, found } = await this.#settle(path);
      if (!isNamed && !allowOutsideLinks && !isInside(resolved.real, realRoot)) {
        throw invalidArgument(`${why}'${shown}' is a link that leads out of the repository; put a copy of the file there`);
      }
      await requirePlain(found, resolved.real, why, shown);
      file = await open(resolved.real, OPEN_FLAGS);
      const opened = await file.stat({ bigint: true });
      await requirePlain(opened, resolved.real, why, shown);
      // That no directory became a link since it was resolved, is seen in the end: the file that is found then is not the one that was opened.
      if (inodeOf(opened) !== inodeOf(found)) throw changed(shown);
      this.#taken.set(path, { ...resolved, path, identity: identityOf(opened), content: contentOf(opened) });
      this.#count(opened);
      if (opened.nlink > 1n && !isNamed && !allowOutsideLinks)
        this.#linked.push({ path, inode: inodeOf(opened), links: Number(opened.nlink) });
      const byteLength = Number(opened.size);
      if (use !== null) await use(file, byteLength);
      await this.#compare(path, file, byteLength);
    } catch (error) {
      if (error instanceof InferenceError) throw error;
      throw unreadable(error, why, shown);
    } finally {
      await file?.close();
    }
  }

  /** Every name of a file that has several must lie inside. `directories`: where to look, the likely ones first. */
  async requireLinksInside(directories: readonly string[]): Promise<void> {
    if (this.#linked.length === 0) return;
    const wanted = new Map(this.#linked.map(({ inode, links }) => [inode, links]));
    await findHardLinks(directories, wanted);
    for (const { path, inode, links } of this.#linked) {
      if (!wanted.has(inode)) continue;
      throw invalidArgument(
        `'${this.#options.show(path)}' is a hard link: the file has ${links} names, and not all are in the repository; put a copy of the file there`,
      );
    }
  }

  /** @throws InferenceError UNAVAILABLE when a file, or a link that led to it, is not what it was when it was taken. */
  async assertUnchanged(): Promise<void> {
    const directories = new Set<string>();
    for (const taken of this.#taken.values()) {
      const resolved = await resolveLinks(taken.path, directories).catch(() => null);
      const found = resolved === null ? null : await stat(resolved.real, { bigint: true }).catch(() => null);
      if (resolved === null || found === null || !isSame(resolved, taken) || identityOf(found) !== taken.identity) {
        throw changed(this.#options.show(taken.path));
      }
    }
  }

  /** Taken so far. */
  get paths(): string[] {
    return [...this.#taken.keys()];
  }

  /** @throws InferenceError UNAVAILABLE when one of the files has other contents than when it was taken, as far as its size and times tell. */
  async assertSame(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const found = await stat(path, { bigint: true }).catch(() => null);
      if (found !== null && contentOf(found) === this.#taken.get(path)?.content) continue;
      const shown = this.#options.show(path);
      throw new InferenceError('UNAVAILABLE', `'${shown}' is not what it was when the model was loaded; load the model anew`);
    }
  }

  /** Resolves the path; a file or link that was changed just now is given the time that it takes for another change to show. */
  async #settle(path: string): Promise<{ resolved: ResolvedPath; found: BigIntStats }> {
    for (let tries = 0; ; tries++) {
      const resolved = await resolveLinks(path, this.#directories);
      const found = await lstat(resolved.real, { bigint: true });
      const ageMs = Date.now() - Math.max(Number(found.ctimeMs), resolved.linkedMs);
      // Changed in the future, by a clock that was set back: any change from now on shows.
      if (ageMs >= SETTLE_MS || ageMs < -SETTLE_MS || tries >= MAX_SETTLE_TRIES) return { resolved, found };
      await setTimeout(SETTLE_MS);
    }
  }

  #count(opened: BigIntStats): void {
    const inode = inodeOf(opened);
    if (this.#inodes.has(inode)) return;
    this.#inodes.add(inode);
    this.byteLength += Number(opened.size);
    const { maxBytes, what } = this.#options;
    if (this.byteLength > maxBytes) {
      throw invalidArgument(
        `${what}: expected files of at most ${maxBytes} bytes together, got at least ${this.byteLength}; raise the bound, or make the model smaller`,
      );
    }
  }

  async #compare(path: string, file: FileHandle, byteLength: number): Promise<void> {
    const covering = this.#manifests.filter(({ prefix }) => path.startsWith(prefix));
    const listing = covering.filter(({ checksums }) => checksums.has(path));
    const [first] = covering;
    if (first === undefined) return;
    const shown = this.#options.show(path);
    if (listing.length === 0) {
      throw invalidArgument(
        `'${shown}' is not listed in '${first.shown}', and every file that is used must be; add its line, or remove the manifest`,
      );
    }
    const got = await hashFile(file, byteLength);
    for (const { checksums, shown: manifest } of listing) {
      const expected = checksums.get(path)!;
      if (expected !== got) throw checksumMismatch(shown, manifest, expected, got);
    }
  }
}

function isSame(a: ResolvedPath, b: ResolvedPath): boolean {
  return a.real === b.real && a.links === b.links;
}

async function requirePlain(found: BigIntStats, real: string, why: string, shown: string): Promise<void> {
  if (!found.isFile()) throw invalidArgument(`${why}'${shown}' is ${describeEntry(await stat(real))}; expected a plain file`);
}

function changed(shown: string): InferenceError {
  return new InferenceError('UNAVAILABLE', `'${shown}' changed while it was being loaded; it is to be loaded again once it is whole`, {
    retryAfterSeconds: 1,
  });
}

/** The file system's words, without its paths. */
function unreadable(error: unknown, why: string, shown: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') return error;
  const failure = readFailure({ code, path: `/${shown}` }, '/');
  return failure instanceof InferenceError ? new InferenceError(failure.code, `${why}${failure.message}`, { cause: error }) : failure;
}

function contentOf({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino} ${size} ${mtimeNs}`;
}
