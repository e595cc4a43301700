import { constants } from 'node:fs';
import { type FileHandle, lstat, open, realpath } from 'node:fs/promises';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { describeEntry } from './describe-entry.ts';
import { findHardLinks, inodeOf } from './find-hard-links.ts';
import { isInside } from './resolve-links.ts';

export interface TextFileRules {
  /** Of the model, and the repository: what is read lies in there, by all its names. */
  readonly directory: string;
  readonly root: string;
  /** It may lie, or have names, elsewhere. */
  readonly allowOutsideLinks: boolean;
  readonly maxBytes: number;
  /** What names the file, for messages. */
  readonly what: string;
}

/** Decoded at once: far below a millisecond. */
const PIECE_BYTES = 128 * 1024;
/** O_NONBLOCK: a pipe that takes the file's place in between does not keep us waiting. Windows has neither flag. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);

/**
 * The text of a file that says something of a model, in pieces, with a turn of the event loop between two. It is opened once: what was held to the rules is what is read.
 *
 * @throws InferenceError INVALID_ARGUMENT; the file system's errors as they are.
 */
export async function* readTextFile(path: string, rules: TextFileRules): AsyncGenerator<string, void, undefined> {
  const { maxBytes, what } = rules;
  const real = await realpath(path);
  if (!rules.allowOutsideLinks && !isInside(real, await realpath(rules.root))) {
    throw invalidArgument(
      `${what}: a link that leads out of the repository; put the file inside it, or allow such links with --allow-outside-links`,
    );
  }
  const found = await lstat(real);
  // Opening a socket fails, with words that tell nobody anything.
  if (!found.isFile()) throw invalidArgument(`${what}: expected a file, found ${describeEntry(found)}`);
  const file = await open(real, OPEN_FLAGS);
  try {
    const opened = await file.stat({ bigint: true });
    if (!opened.isFile()) throw invalidArgument(`${what}: expected a file, found ${describeEntry(opened)}`);
    if (opened.size > maxBytes) throw invalidArgument(`${what}: the file has ${opened.size} bytes, expected at most ${maxBytes}`);
    if (opened.nlink > 1n && !rules.allowOutsideLinks) await requireNamesInside(inodeOf(opened), Number(opened.nlink), rules);
    yield* readPieces(file, Number(opened.size));
  } finally {
    await file.close();
  }
}

async function* readPieces(file: FileHandle, byteLength: number): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const bytes = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(1, byteLength)));
  for (let at = 0; at < byteLength; ) {
    const { bytesRead } = await file.read(bytes, 0, Math.min(bytes.length, byteLength - at), at);
    // Shorter than it was: it is being written, and looks different from now on.
    if (bytesRead === 0) break;
    at += bytesRead;
    yield decoder.decode(bytes.subarray(0, bytesRead), { stream: true });
  }
  yield decoder.decode();
}

async function requireNamesInside(inode: string, links: number, { directory, root, what }: TextFileRules): Promise<void> {
  const wanted = new Map([[inode, links]]);
  await findHardLinks([await realpath(directory), await realpath(root)], wanted);
  if (wanted.size === 0) return;
  throw invalidArgument(
    `${what}: a hard link: the file has ${links} names, and not all are in the repository; put a copy of the file there, or allow such links with --allow-outside-links`,
  );
}
