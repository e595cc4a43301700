import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Gives a file's content a piece at a time; each is written before the next is asked for, so its memory may be the same. */
export interface ContentPieces {
  /** null: no more. Called with a turn of the event loop in between; may throw. */
  next(): Uint8Array | null;
}

/** Bytes per piece that hold up the loop for a millisecond at most, whatever is done to them. */
export const PIECE_BYTES: number = 128 * 1024;

// Only ever a file of our own making: neither one that is there nor a link.
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Writes a new file, readable by this user alone. Rejects with the file system's error or what `pieces` throws; the file may then be there in part. */
export async function writeOverrideFile(path: string, pieces: ContentPieces): Promise<void> {
  const handle = await open(path, FLAGS, 0o600);
  try {
    for (let piece = pieces.next(); piece !== null; piece = pieces.next()) {
      for (let at = 0; at < piece.length; ) at += (await handle.write(piece, at, piece.length - at)).bytesWritten;
    }
  } finally {
    await handle.close();
  }
}
