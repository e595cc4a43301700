/** @hotpath the numbers of a floating-point `data` array (measured by number-scanner.bench.ts) */

import { type ArrayWalker, nextLeaf } from './array-walker.ts';
import { ABOVE, BELOW, DecimalReader, MAX_POWER, MIN_POWER, MOST_MANTISSA, POWERS } from './decimal-reader.ts';
import { malformedJson } from './json-reader.ts';

const LETTER_I = 0x49;
const LETTER_N = 0x4e;

const decimal = new DecimalReader();

/** Four ASCII digits: exclusive or with this makes each byte its digit. */
const ZEROS = 0x30303030;
/** Of what is no digit, some of the high halves is set before or after this was added. */
const SIXES = 0x06060606;
const HIGH_HALVES = 0xf0f0f0f0 | 0;

/** From here on a part before the point gets no further digit: eight more fit behind it without a loss. */
const MOST_WHOLE = 100_000_000;
/** Past what any power of ten is looked up for. */
const NO_DIGITS = 1_000_000;

/**
 * Most bytes of JSON requests are the digits behind the points of such numbers: they are taken eight at a time, in integers, where a chain of multiplications and additions of doubles would wait for
 * each of them. What is no number, or rounds in a way that this does not prove, is left to `decimal`.
 */
export function scanFp32(walker: ArrayWalker, at: number, out: Float32Array, room: number): number {
  const bytes = walker.bytes;
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lastEight = bytes.length - 8;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    const start = at;
    const isNegative = bytes[at] === 0x2d;
    if (isNegative) at++;
    let whole = bytes[at]! - 0x30;
    if (whole >= 0 && whole <= 9) {
      let digit = bytes[++at]! - 0x30;
      if (whole !== 0) {
        while (digit >= 0 && digit <= 9 && whole < MOST_WHOLE) {
          whole = whole * 10 + digit;
          digit = bytes[++at]! - 0x30;
        }
      }
      let mantissa = whole;
      let fraction = 0;
      // '.'
      if (digit === -2) {
        const first = ++at;
        while (at <= lastEight && bytes[at + 2]! > 0x2f) {
          const low = words.getInt32(at, true) ^ ZEROS;
          if ((((low + SIXES) | low) & HIGH_HALVES) !== 0) break;
          const high = words.getInt32(at + 4, true) ^ ZEROS;
          if ((((high + SIXES) | high) & HIGH_HALVES) !== 0) {
            mantissa = mantissa * 1e4 + fourDigits(low);
            at += 4;
            break;
          }
          mantissa = mantissa * 1e8 + (fourDigits(low) * 10_000 + fourDigits(high));
          at += 8;
        }
        digit = bytes[at]! - 0x30;
        while (digit >= 0 && digit <= 9) {
          mantissa = mantissa * 10 + digit;
          digit = bytes[++at]! - 0x30;
        }
        fraction = at === first ? NO_DIGITS : at - first;
      }
      const hasExponent = digit === 0x35 || digit === 0x15;
      // A digit here stands behind a leading zero, or behind nine others.
      if (mantissa < 9007199254740992 && fraction <= 22 && !hasExponent && !(digit >= 0 && digit <= 9)) {
        const value = mantissa / POWERS[fraction - MIN_POWER]!;
        out[i++] = isNegative ? -value : value;
        continue;
      }
      if (mantissa < MOST_MANTISSA && !(digit >= 0 && digit <= 9)) {
        let scale = -fraction;
        if (hasExponent) {
          const sign = bytes[++at]!;
          if (sign === 0x2d || sign === 0x2b) at++;
          const first = at;
          let power = 0;
          digit = bytes[at]! - 0x30;
          while (digit >= 0 && digit <= 9 && at - first < 4) {
            power = power * 10 + digit;
            digit = bytes[++at]! - 0x30;
          }
          scale += sign === 0x2d ? -power : power;
          if (at === first || (digit >= 0 && digit <= 9)) scale = -NO_DIGITS;
        }
        if (scale >= MIN_POWER && scale <= MAX_POWER) {
          const near = mantissa * POWERS[scale - MIN_POWER]!;
          const value = Math.fround(near * BELOW);
          if (value === Math.fround(near * ABOVE) && value - value === 0) {
            out[i++] = isNegative ? -value : value;
            continue;
          }
        }
      }
    }
    if (decimal.read(bytes, start)) {
      const value = decimal.toFloat32(bytes);
      if (value - value !== 0) throw walker.wrongLeaf(start, i, 'a number within its range');
      out[i++] = value;
      at = decimal.end;
    } else {
      out[i] = specialValue(walker, start, i);
      i++;
      at = specialEnd;
    }
  }
  return i;
}

/** The number that four digits make, the first of them in the lowest byte. */
function fourDigits(digits: number): number {
  const pairs = (Math.imul(digits, 10) + (digits >>> 8)) & 0x00ff00ff;
  return Math.imul(pairs & 0xff, 100) + (pairs >>> 16);
}

export function scanFp64(walker: ArrayWalker, at: number, out: Float64Array, room: number): number {
  const bytes = walker.bytes;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    if (decimal.read(bytes, at)) {
      const value = decimal.toDouble(bytes);
      if (value - value !== 0) throw walker.wrongLeaf(at, i, 'a number within its range');
      out[i++] = value;
      at = decimal.end;
    } else {
      out[i] = specialValue(walker, at, i);
      i++;
      at = specialEnd;
    }
  }
  return i;
}

export function scanFloats16(walker: ArrayWalker, at: number, out: Uint16Array, room: number, round: (value: number) => number): number {
  const bytes = walker.bytes;
  let i = 0;
  for (at = walker.first(at); at >= 0; at = nextLeaf(walker, bytes, at, i)) {
    if (i === room) throw walker.tooMany(at);
    if (decimal.read(bytes, at)) {
      const value = decimal.toDouble(bytes);
      const bits = value - value === 0 ? round(value) : -1;
      if (bits < 0) throw walker.wrongLeaf(at, i, 'a number within its range');
      out[i++] = bits;
      at = decimal.end;
    } else {
      out[i] = round(specialValue(walker, at, i));
      i++;
      at = specialEnd;
    }
  }
  return i;
}

/** Behind what {@link specialValue} took. */
let specialEnd = 0;

const SPECIALS: readonly (readonly [string, number])[] = [
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['Inf', Number.POSITIVE_INFINITY],
  ['-Inf', Number.NEGATIVE_INFINITY],
];

/** Not-a-number and the infinities, bare or in quotes; refuses everything else. */
function specialValue(walker: ArrayWalker, at: number, index: number): number {
  const bytes = walker.bytes;
  const isQuoted = bytes[at] === 0x22;
  const start = isQuoted ? at + 1 : at;
  const first = bytes[start] === 0x2d ? bytes[start + 1] : bytes[start];
  if (first === LETTER_I || first === LETTER_N) {
    for (const [word, value] of SPECIALS) {
      let length = 0;
      while (length < word.length && bytes[start + length] === word.charCodeAt(length)) length++;
      if (length < word.length) continue;
      const next = bytes[start + length]!;
      if (isQuoted ? next !== 0x22 : (next | 0x20) >= 0x61 && (next | 0x20) <= 0x7a) continue;
      specialEnd = start + length + (isQuoted ? 1 : 0);
      return value;
    }
  }
  if (bytes[at] === undefined) throw malformedJson(`${walker.label()}.data: unterminated array`, at);
  throw walker.wrongLeaf(at, index, 'a number, or NaN, Infinity, -Infinity');
}
