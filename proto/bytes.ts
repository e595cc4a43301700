/** @hotpath walks the elements of every BYTES tensor, in and out */

import { invalidArgument } from './inference-error.ts';

/**
 * BYTES elements as the binary tensor extension has them: a 4-byte little-endian length, then that many bytes; no terminator, no padding.
 * Source: Open Inference Protocol, binary tensor data extension.
 */
export const LENGTH_PREFIX_BYTES = 4;

function lengthAt(data: Uint8Array, at: number): number {
  return (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
}

/**
 * Offset behind the element that starts at `at`, or -1 when the data ends before the element does.
 */
export function skipBytesElement(data: Uint8Array, at: number): number {
  if (at + LENGTH_PREFIX_BYTES > data.length) return -1;
  const end = at + LENGTH_PREFIX_BYTES + lengthAt(data, at);
  return end > data.length ? -1 : end;
}

/** How many whole elements the data holds. Throws INVALID_ARGUMENT, in the name of `what`, when the last one is cut. */
export function countBytesElements(data: Uint8Array, what: string): number {
  let count = 0;
  for (let at = 0; at < data.length; count++) {
    const end = skipBytesElement(data, at);
    if (end < 0) {
      const left = data.length - at;
      throw invalidArgument(
        left < LENGTH_PREFIX_BYTES
          ? `incomplete string length indicator for ${what}: element ${count} needs ${LENGTH_PREFIX_BYTES} bytes for its length, ${left} are left`
          : `incomplete string data for ${what}: element ${count} says ${lengthAt(data, at)} bytes, ${left - LENGTH_PREFIX_BYTES} are left`,
      );
    }
    at = end;
  }
  return count;
}

/** Offset behind `count` elements from `at` on; -1 when the data ends earlier. Splits a batch's output by rows. */
export function skipBytesElements(data: Uint8Array, at: number, count: number): number {
  for (let i = 0; i < count; i++) {
    at = skipBytesElement(data, at);
    if (at < 0) return -1;
  }
  return at;
}

/** The elements, as views of `data`. */
export function decodeBytes(data: Uint8Array, what: string): Uint8Array[] {
  const elements: Uint8Array[] = [];
  for (let at = 0; at < data.length; ) {
    const end = skipBytesElement(data, at);
    if (end < 0) countBytesElements(data, what);
    elements.push(data.subarray(at + LENGTH_PREFIX_BYTES, end));
    at = end;
  }
  return elements;
}

const utf8 = new TextEncoder();
/** Up to here a loop over the characters is quicker than a call of the encoder. */
const SHORT_TEXT = 24;

/** Elements (strings as UTF-8; a lone surrogate becomes U+FFFD) to a tensor's bytes. Without Node's Buffer: clients in browsers use it too. */
export function encodeBytes(elements: readonly (string | Uint8Array)[]): Uint8Array {
  // Text is taken for ASCII until it proves otherwise.
  let left = 0;
  for (let i = 0; i < elements.length; i++) left += LENGTH_PREFIX_BYTES + elements[i]!.length;
  let out = new Uint8Array(left);
  let at = 0;
  for (let i = 0; i < elements.length; i++) {
    const element = elements[i]!;
    const start = at + LENGTH_PREFIX_BYTES;
    left -= LENGTH_PREFIX_BYTES + element.length;
    if (typeof element === 'string') {
      at = writeText(out, start, out.length - left, element);
      if (at < 0) {
        // Room for all that may still come, so this happens once. No UTF-16 unit takes more than three bytes.
        out = grow(out, start + 3 * element.length + 3 * left);
        at = start + utf8.encodeInto(element, out.subarray(start)).written;
      }
    } else {
      out.set(element, start);
      at = start + element.length;
    }
    const length = at - start;
    out[start - 4] = length;
    out[start - 3] = length >>> 8;
    out[start - 2] = length >>> 16;
    out[start - 1] = length >>> 24;
  }
  return at === out.length ? out : out.slice(0, at);
}

/** Offset behind the text, or -1 when it does not fit in front of `end`. */
function writeText(out: Uint8Array, at: number, end: number, text: string): number {
  if (text.length <= SHORT_TEXT) {
    let i = 0;
    for (; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x80) break;
      out[at + i] = c;
    }
    if (i === text.length) return at + i;
  }
  const { read, written } = utf8.encodeInto(text, out.subarray(at, end));
  return read === text.length ? at + written : -1;
}

function grow(out: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(size);
  larger.set(out);
  return larger;
}
