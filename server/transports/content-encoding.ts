/** gzip and deflate (zlib format) of request and response bodies, worked off the loop in node:zlib's thread pool. */

import { constants, createUnzip, deflate, gzip } from 'node:zlib';

export type ContentCoding = 'identity' | 'gzip' | 'deflate';

/** Bodies below this gain less than compressing them costs, bytes. */
export const MIN_COMPRESSED_BODY_BYTES = 1024;
/** Sent with a 415, so that the client learns what to send. */
export const ACCEPTED_CODINGS = 'gzip, deflate';

/** Latency counts more than the last few per cent of size. */
const COMPRESS_OPTIONS = { level: constants.Z_BEST_SPEED };
/** Inflated output comes in pieces of at most this, and is counted piece by piece. */
const INFLATE_CHUNK_BYTES = 64 * 1024;

/** A request's Content-Encoding; null: one that is not supported. Names are case-insensitive (RFC 9110 8.4.1). */
export function parseContentEncoding(value: string): ContentCoding | null {
  if (value === '') return 'identity';
  switch (value.toLowerCase()) {
    case 'identity':
      return 'identity';
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
      return 'deflate';
    default:
      return null;
  }
}

/**
 * The coding for a response, from Accept-Encoding: the highest q of identity, deflate and gzip, the first one named on a tie. `*` and entries with a q
 * that is none are passed over, as Triton does; q=0 forbids.
 */
export function chooseResponseCoding(acceptEncoding: string): ContentCoding {
  if (acceptEncoding === '') return 'identity';
  let best: ContentCoding = 'identity';
  let bestWeight = 0;
  for (const entry of acceptEncoding.split(',', 32)) {
    const [name = '', ...parameters] = entry.split(';');
    const coding = name.trim().toLowerCase();
    if (coding !== 'identity' && coding !== 'gzip' && coding !== 'deflate') continue;
    let weight = 1;
    for (const parameter of parameters) {
      const text = parameter.trim().toLowerCase();
      if (text.startsWith('q=')) weight = /^q=(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(text) ? Number(text.slice(2)) : -1;
    }
    if (weight > bestWeight) {
      best = coding;
      bestWeight = weight;
    }
  }
  return best;
}

/** Told as an inflating body grows: false stops it. Bytes are of the piece just inflated. */
export interface InflateBudget {
  reserveInflated(bytes: number): boolean;
}

export type InflateResult =
  | { readonly outcome: 'done'; readonly body: Buffer }
  /** Over `maxBytes`; the bomb was not inflated any further. */
  | { readonly outcome: 'too-large' }
  /** The budget said no. */
  | { readonly outcome: 'no-room' }
  | { readonly outcome: 'corrupt' };

/**
 * Undoes gzip or deflate; which of the two is told from the stream itself, as Triton does. Never throws. `body` must not change until `done` is called,
 * which happens once, never before this returns.
 */
export function inflateBody(body: Uint8Array, maxBytes: number, budget: InflateBudget, done: (result: InflateResult) => void): void {
  const pieces: Buffer[] = [];
  let totalBytes = 0;
  let isOver = false;
  const stream = createUnzip({ chunkSize: INFLATE_CHUNK_BYTES });
  const finish = (result: InflateResult): void => {
    if (isOver) return;
    isOver = true;
    stream.destroy();
    done(result);
  };
  stream.on('data', (piece: Buffer) => {
    if (isOver) return;
    totalBytes += piece.length;
    if (totalBytes > maxBytes) finish({ outcome: 'too-large' });
    else if (!budget.reserveInflated(piece.length)) finish({ outcome: 'no-room' });
    else pieces.push(piece);
  });
  // Even one piece is copied: it is a view of a whole inflate chunk.
  stream.on('end', () => finish({ outcome: 'done', body: Buffer.concat(pieces, totalBytes) }));
  stream.on('error', () => finish({ outcome: 'corrupt' }));
  stream.end(body);
}

/** Compresses a response's body; an error is node:zlib's own, out of memory. */
export function compressBody(body: Buffer | string, coding: 'gzip' | 'deflate', done: (error: Error | null, body: Buffer) => void): void {
  if (coding === 'gzip') gzip(body, COMPRESS_OPTIONS, done);
  else deflate(body, COMPRESS_OPTIONS, done);
}
