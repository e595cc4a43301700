/** @hotpath writes the numbers of JSON answers as ASCII digits; every function returns the offset behind what it wrote */

/** More than any one number takes, its sign, quotes and a comma included. */
export const MAX_NUMBER_BYTES = 32;

const TEXT_OF_100: string[] = Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0'));
const TENS = Uint8Array.from(TEXT_OF_100, (text) => text.charCodeAt(0));
const ONES = Uint8Array.from(TEXT_OF_100, (text) => text.charCodeAt(1));

const TEN_TO = Float64Array.from({ length: 11 }, (_, i) => 10 ** i);

export function putAscii(out: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i);
  return at;
}

function digitCount(value: number): number {
  if (value < 10) return 1;
  if (value < 100) return 2;
  if (value < 1e3) return 3;
  if (value < 1e4) return 4;
  if (value < 1e5) return 5;
  if (value < 1e6) return 6;
  if (value < 1e7) return 7;
  if (value < 1e8) return 8;
  return value < 1e9 ? 9 : 10;
}

/** A whole number below 2^32, in `digits` places. */
function putDigits(out: Uint8Array, at: number, value: number, digits: number): number {
  const end = at + digits;
  let rest = value >>> 0;
  let i = end;
  while (i - at >= 2) {
    const next = (rest / 100) >>> 0;
    const pair = rest - next * 100;
    out[--i] = ONES[pair]!;
    out[--i] = TENS[pair]!;
    rest = next;
  }
  if (i > at) out[at] = 0x30 + rest;
  return end;
}

/** A whole number from -2^32 to 2^32, both excluded. */
export function putInteger(out: Uint8Array, at: number, value: number): number {
  if (value < 0) {
    out[at++] = 0x2d;
    value = -value;
  }
  if (value < 10) {
    out[at] = 0x30 + value;
    return at + 1;
  }
  return putDigits(out, at, value, digitCount(value));
}

/** A 64-bit whole number, from its two halves (0 to 2^32 - 1 each), exactly. */
export function putInteger64(out: Uint8Array, at: number, low: number, high: number, isSigned: boolean): number {
  if (isSigned && high >= 0x80000000) {
    out[at++] = 0x2d;
    low = -low >>> 0;
    high = (low === 0 ? -high : ~high) >>> 0;
  }
  if (high === 0) return putInteger(out, at, low);
  // Long division by 10^9, 32 + 16 + 16 bits: every dividend stays below 2^53.
  const q1 = Math.floor(high / 1e9);
  const second = (high - q1 * 1e9) * 65536 + (low >>> 16);
  const q2 = Math.floor(second / 1e9);
  const third = (second - q2 * 1e9) * 65536 + (low & 0xffff);
  const q3 = Math.floor(third / 1e9);
  const head = q1 * 4294967296 + q2 * 65536 + q3;
  if (head >= 1e9) {
    const top = Math.floor(head / 1e9);
    at = putInteger(out, at, top);
    at = putDigits(out, at, head - top * 1e9, 9);
  } else {
    at = putInteger(out, at, head);
  }
  return putDigits(out, at, third - q3 * 1e9, 9);
}

/** JSON has no words for these: strings, which the request side reads back. */
function putSpecial(out: Uint8Array, at: number, value: number): number {
  return putAscii(out, at, Number.isNaN(value) ? '"NaN"' : value > 0 ? '"Infinity"' : '"-Infinity"');
}

/** The shortest decimal that reads back as this double. */
export function putDouble(out: Uint8Array, at: number, value: number): number {
  if (value - value !== 0) return putSpecial(out, at, value);
  if (value === Math.floor(value) && value < 4294967296 && value > -4294967296) {
    if (value === 0 && 1 / value < 0) out[at++] = 0x2d;
    return putInteger(out, at, value);
  }
  return putAscii(out, at, String(value));
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** By biased exponent of a float32: which power of ten lifts its binade to 10^8 and more, as a power and as a number. */
const POWER = new Int8Array(255);
const SCALE = new Float64Array(255);
/** By biased exponent: half the distance of two neighbours, so lifted. At least 5.9, at most 120. */
const HALF_STEP = new Float64Array(255);
for (let biased = 1; biased < 255; biased++) {
  const low = 2 ** (biased - 127);
  let power = 8 - Math.floor(Math.log10(low));
  if (low * Number(`1e${power}`) < 1e8) power++;
  POWER[biased] = power;
  SCALE[biased] = Number(`1e${power}`);
  HALF_STEP[biased] = 2 ** (biased - 127 - 24) * SCALE[biased]!;
}

/** Far above what the scaled value can be off by (2e9 * 2^-51), far below what matters. */
const DOUBT = 1e-5;

/**
 * The shortest decimal that reads back as this float32 (which the value must be), the nearest of those of that length, written as JavaScript writes numbers.
 *
 * The value is lifted to a whole number of nine or ten digits; the roundest whole number that is still nearer to it than to its neighbours wins. All numbers
 * there are far below 2^53, so doubles tell which side of a boundary they are on, but for a sliver of {@link DOUBT} that goes the slow way.
 */
export function putFloat32(out: Uint8Array, at: number, value: number): number {
  if (value < 0 || (value === 0 && 1 / value < 0)) {
    if (value === Number.NEGATIVE_INFINITY) return putSpecial(out, at, value);
    out[at++] = 0x2d;
    value = -value;
  }
  if (value < 16777216 && value === Math.floor(value)) return putInteger(out, at, value);
  single[0] = value;
  const bits = singleBits[0]!;
  // The sign that a NaN may carry is cut off here.
  const biased = (bits >>> 23) & 0xff;
  if (biased === 255) return putSpecial(out, at, value);
  if (biased === 0) return putFloat32BySearch(out, at, value);
  const lifted = value * SCALE[biased]!;
  const above = HALF_STEP[biased]!;
  // Below a power of two the neighbours are twice as close.
  const below = (bits & 0x7fffff) === 0 ? above / 2 : above;
  // The multiple of 1000 that is nearest, where it is near enough, is the only one: whatever zeros it ends in are all there can be.
  let digits = Math.floor(lifted * 1e-3 + 0.5);
  let room = roomAround(digits * 1000, lifted, above, below);
  let power = 3 - POWER[biased]!;
  if (room <= DOUBT && room > -DOUBT) return putFloat32BySearch(out, at, value);
  if (room <= DOUBT) {
    digits = Math.floor(lifted * 1e-2 + 0.5);
    room = roomAround(digits * 100, lifted, above, below);
    power--;
    if (room <= DOUBT && room > -DOUBT) return putFloat32BySearch(out, at, value);
    if (room <= DOUBT) {
      digits = Math.floor(lifted * 1e-1 + 0.5);
      room = roomAround(digits * 10, lifted, above, below);
      power--;
      if (room <= DOUBT && room > -DOUBT) return putFloat32BySearch(out, at, value);
      if (room <= DOUBT) {
        digits = Math.floor(lifted + 0.5);
        power--;
      }
    }
  }
  // Below 2^31, so the remainders are whole-number ones.
  digits |= 0;
  while (digits % 10 === 0) {
    digits = (digits / 10) | 0;
    power++;
  }
  return putDecimal(out, at, digits, power);
}

/** How much nearer to `lifted` than the boundary `candidate` is; negative: past it. */
function roomAround(candidate: number, lifted: number, above: number, below: number): number {
  return candidate >= lifted ? above - (candidate - lifted) : below - (lifted - candidate);
}

/** `digits` * 10^`power`, digits below 2^32, in JavaScript's form: plain from 1e-6 to 1e21, else with an exponent. */
function putDecimal(out: Uint8Array, at: number, digits: number, power: number): number {
  const count = digitCount(digits);
  const point = count + power;
  if (power >= 0 && point <= 21) {
    at = putDigits(out, at, digits, count);
    for (let i = 0; i < power; i++) out[at++] = 0x30;
    return at;
  }
  if (point > 0 && point <= 21) {
    const behind = TEN_TO[-power]!;
    const whole = Math.floor(digits / behind);
    at = putDigits(out, at, whole, point);
    out[at] = 0x2e;
    return putDigits(out, at + 1, digits - whole * behind, -power);
  }
  if (point > -6 && point <= 0) {
    out[at++] = 0x30;
    out[at++] = 0x2e;
    for (let i = point; i < 0; i++) out[at++] = 0x30;
    return putDigits(out, at, digits, count);
  }
  const behind = TEN_TO[count - 1]!;
  const whole = Math.floor(digits / behind);
  out[at++] = 0x30 + whole;
  if (count > 1) {
    out[at++] = 0x2e;
    at = putDigits(out, at, digits - whole * behind, count - 1);
  }
  out[at++] = 0x65;
  if (point > 0) out[at++] = 0x2b;
  return putInteger(out, at, point - 1);
}

/** Subnormal numbers and the sliver of doubt: one precision after the other. `value` is positive. */
function putFloat32BySearch(out: Uint8Array, at: number, value: number): number {
  for (let precision = 1; precision < 9; precision++) {
    const text = value.toPrecision(precision);
    if (Math.fround(Number(text)) === value) return putAscii(out, at, String(Number(text)));
  }
  return putAscii(out, at, String(Number(value.toPrecision(9))));
}
