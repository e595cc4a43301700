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

/** Elements (strings as UTF-8) to a tensor's bytes. */
export function encodeBytes(elements: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = elements.map((element) => (typeof element === 'string' ? Buffer.from(element, 'utf8') : element));
  const out = Buffer.allocUnsafe(parts.reduce((total, part) => total + LENGTH_PREFIX_BYTES + part.length, 0));
  let at = 0;
  for (const part of parts) {
    at = out.writeUInt32LE(part.length, at);
    out.set(part, at);
    at += part.length;
  }
  return out;
}
