/** @hotpath JSON strings of a BYTES tensor straight to length-prefixed UTF-8; one copy out of a kept scratch buffer */

import { isUtf8 } from 'node:buffer';
import { LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { ArrayWalker } from './array-walker.ts';
import { BACKSLASH, malformedJson, QUOTE, unescapeJson } from './json-reader.ts';

/** A scratch buffer that a large request made is not kept past it. */
const MAX_KEPT_BYTES = 1024 * 1024;
const FIRST_BYTES = 16 * 1024;

let scratch: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

/** Scans the array of strings whose '[' stands at `at`; see `scanTensorData`. */
export function scanStrings(walker: ArrayWalker, at: number): Uint8Array {
  const bytes = walker.bytes;
  let out = scratch;
  let length = 0;
  let count = 0;
  for (at = walker.first(at); at >= 0; at = walker.next(at, count)) {
    if (count === walker.count) throw walker.tooMany(at);
    if (bytes[at] !== QUOTE) throw walker.wrongLeaf(at, count, 'a string');
    const start = at + 1;
    let end = start;
    let seen = 0;
    let hasEscape = false;
    for (;;) {
      const c = bytes[end];
      if (c === undefined) throw malformedJson('unterminated string', at);
      if (c === QUOTE) break;
      if (c < 0x20) throw malformedJson(`${walker.label()}.data[${count}]: raw control character in a string`, end);
      if (c === BACKSLASH) {
        hasEscape = true;
        end++;
      }
      seen |= c;
      end++;
    }
    if (seen >= 0x80 && !isUtf8(bytes.subarray(start, end))) {
      throw malformedJson(`${walker.label()}.data[${count}]: invalid UTF-8 in a string`, at);
    }
    const needed = length + LENGTH_PREFIX_BYTES + end - start;
    if (needed > out.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * out.length));
      out.copy(larger, 0, 0, length);
      out = larger;
      if (out.length <= MAX_KEPT_BYTES) scratch = out;
    }
    const text = length + LENGTH_PREFIX_BYTES;
    let textEnd = text;
    if (hasEscape) {
      textEnd = unescapeElement(walker, start, end, out, text, count);
    } else if (end - start < 64) {
      for (let i = start; i < end; i++) out[textEnd++] = bytes[i]!;
    } else {
      out.set(bytes.subarray(start, end), text);
      textEnd += end - start;
    }
    const size = textEnd - text;
    out[length] = size;
    out[length + 1] = size >>> 8;
    out[length + 2] = size >>> 16;
    out[length + 3] = size >>> 24;
    length = textEnd;
    count++;
    at = end + 1;
  }
  if (count !== walker.count) throw walker.tooFew(count);
  const data = Buffer.allocUnsafe(length);
  out.copy(data, 0, 0, length);
  return data;
}

function unescapeElement(walker: ArrayWalker, start: number, end: number, out: Uint8Array, to: number, index: number): number {
  try {
    return unescapeJson(walker.bytes, start, end, out, to);
  } catch (error) {
    throw invalidArgument(`${walker.label()}.data[${index}]: ${InferenceError.from(error).message}`);
  }
}
