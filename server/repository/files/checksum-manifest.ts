import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { whyNotBelow } from './path-below.ts';

export const MANIFEST_NAME = 'SHA256SUMS';
/** Some ten thousand files. */
export const MAX_MANIFEST_BYTES: number = 1024 * 1024;
/** Hashed at once: under a millisecond. */
const PIECE_BYTES = 256 * 1024;

/**
 * What `sha256sum` writes: `<64 hex digits>  <path>` a line, `*` before the path for binary mode; empty lines and comments (#) are passed over. By path relative to the manifest's
 * directory, in lower case. `shown` names the manifest in errors. Throws INVALID_ARGUMENT for any other line, a path that leads out, a path with two checksums.
 */
export function parseChecksumManifest(text: string, shown: string): Map<string, string> {
  const checksums = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const where = `'${shown}' line ${index + 1}`;
    const match = /^([0-9a-f]{64}) [ *](.+)$/i.exec(line);
    if (match === null) throw invalidArgument(`${where}: expected '<64 hexadecimal digits>  <path>', as the tool sha256sum writes it`);
    const path = match[2]!
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/');
    const fault = whyNotBelow(match[2]!);
    if (fault !== null) throw invalidArgument(`${where}: the path ${fault}; expected one below the directory that '${shown}' lies in`);
    const checksum = match[1]!.toLowerCase();
    const known = checksums.get(path);
    if (known !== undefined && known !== checksum)
      throw invalidArgument(`${where}: '${path}' has another checksum in a line above; remove one of the two`);
    checksums.set(path, checksum);
  }
  return checksums;
}

/** SHA-256 of the first `byteLength` bytes, in lower-case hex. */
export async function hashFile(file: FileHandle, byteLength: number): Promise<string> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(1, byteLength)));
  for (let at = 0; at < byteLength; ) {
    const { bytesRead } = await file.read(piece, 0, Math.min(piece.length, byteLength - at), at);
    // Shorter than it was: the checksum will tell.
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

export function checksumMismatch(shown: string, manifest: string, expected: string, got: string): InferenceError {
  return invalidArgument(
    `'${shown}' is not the file that '${manifest}' lists: expected SHA-256 ${expected.slice(0, 12)}..., got ${got.slice(0, 12)}...; copy the file again, or write the manifest anew`,
  );
}
