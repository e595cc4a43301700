/** @hotpath turns one decimal literal into a double or a float32, for each number of a floating-point `data` array */

export const MIN_POWER = -330;
export const MAX_POWER = 330;
/** 10^e as the nearest double, at e - MIN_POWER. */
export const POWERS: Float64Array = Float64Array.from({ length: MAX_POWER - MIN_POWER + 1 }, (_, i) => Number(`1e${i + MIN_POWER}`));

/** 10^e is given to 106 bits for |e| up to here: what the double nearest to it lacks, at e + MAX_EXACT_SCALE. */
const MAX_EXACT_SCALE = 80;
const POWER_TAILS = Float64Array.from({ length: 2 * MAX_EXACT_SCALE + 1 }, (_, i) => powerTail(i - MAX_EXACT_SCALE));

function powerTail(e: number): number {
  if (e >= 0) return Number(10n ** BigInt(e) - BigInt(Number(`1e${e}`)));
  // The double is mantissa / 2^bits, so the rest is (2^bits - mantissa * 10^-e) / (10^-e * 2^bits).
  const bits = 52 - Math.floor(Math.log2(Number(`1e${e}`)));
  const mantissa = BigInt(Number(`1e${e}`) * 2 ** bits);
  const ten = 10n ** BigInt(-e);
  return Number(2n ** BigInt(bits) - mantissa * ten) / Number(ten) / 2 ** bits;
}

/** 2^27 + 1: splits a double into two halves whose products are exact. */
const SPLITTER = 134217729;
/** Past this many digits the text goes to Number(); also how much of a literal's length is put up with. */
const MAX_EXACT_DIGITS = 30;
const MAX_LITERAL_BYTES = 1_024;

/**
 * Up to this mantissa, at most seven digits past the exact ones, two roundings each, and two for the scaling: the error is below 2^-47 of the value. When both ends of that interval round to the same
 * float32, so does the right double between them.
 */
export const MOST_MANTISSA = 1e22;
export const BELOW: number = 1 - 2 ** -47;
export const ABOVE: number = 1 + 2 ** -47;

/**
 * Reads numbers of JSON's grammar. One `read` leaves the literal's parts here; `toDouble` and `toFloat32` finish it. Both round exactly as JSON.parse does
 * (and Math.fround on top of it for float32), by three ways: one multiplication or division where that is exact, then arithmetic with an error bound that
 * proves the rounding, then Number() of the text.
 */
export class DecimalReader {
  /** Behind the literal. */
  end = 0;
  private start = 0;
  private isNegative = false;
  /** All digits as one integer: exact below 2^53, else within 2^-48 of it. */
  private mantissa = 0;
  private exponent = 0;

  /** False when no number of JSON's grammar stands at `at`, or one that is longer than 1,024 bytes. */
  read(bytes: Uint8Array, at: number): boolean {
    this.start = at;
    let c = bytes[at]!;
    this.isNegative = c === 0x2d;
    if (this.isNegative) c = bytes[++at]!;
    let mantissa = c - 0x30;
    if (!(mantissa >= 0 && mantissa <= 9)) return false;
    let digit = bytes[++at]! - 0x30;
    if (mantissa !== 0) {
      while (digit >= 0 && digit <= 9) {
        mantissa = mantissa * 10 + digit;
        digit = bytes[++at]! - 0x30;
      }
    }
    let exponent = 0;
    // '.'
    if (digit === -2) {
      const dot = at;
      digit = bytes[++at]! - 0x30;
      if (!(digit >= 0 && digit <= 9)) return false;
      do {
        mantissa = mantissa * 10 + digit;
        digit = bytes[++at]! - 0x30;
      } while (digit >= 0 && digit <= 9);
      exponent = dot + 1 - at;
    }
    // 'e', 'E'
    if (digit === 0x35 || digit === 0x15) {
      c = bytes[++at]!;
      const isNegative = c === 0x2d;
      if (isNegative || c === 0x2b) c = bytes[++at]!;
      digit = c - 0x30;
      if (!(digit >= 0 && digit <= 9)) return false;
      let power = 0;
      do {
        if (power < 100_000) power = power * 10 + digit;
        digit = bytes[++at]! - 0x30;
      } while (digit >= 0 && digit <= 9);
      exponent += isNegative ? -power : power;
    }
    this.mantissa = mantissa;
    this.exponent = exponent;
    this.end = at;
    return at - this.start <= MAX_LITERAL_BYTES;
  }

  /** The nearest double, ties to even; infinite when the number passes the range. */
  toDouble(bytes: Uint8Array): number {
    const mantissa = this.mantissa;
    const exponent = this.exponent;
    let value: number;
    if (mantissa < 9007199254740992 && exponent >= -22 && exponent <= 22) {
      value = exponent < 0 ? mantissa / POWERS[-exponent - MIN_POWER]! : mantissa * POWERS[exponent - MIN_POWER]!;
    } else {
      value = this.toDoubleInTwoParts(bytes);
    }
    return this.isNegative ? -value : value;
  }

  /** `toDouble` rounded to float32. */
  toFloat32(bytes: Uint8Array): number {
    const mantissa = this.mantissa;
    const exponent = this.exponent;
    let value: number;
    if (mantissa < 9007199254740992 && exponent >= -22 && exponent <= 22) {
      value = exponent < 0 ? mantissa / POWERS[-exponent - MIN_POWER]! : mantissa * POWERS[exponent - MIN_POWER]!;
    } else if (mantissa < MOST_MANTISSA && exponent >= MIN_POWER && exponent <= MAX_POWER) {
      const near = mantissa * POWERS[exponent - MIN_POWER]!;
      value = Math.fround(near * BELOW);
      if (value !== Math.fround(near * ABOVE)) value = this.toDoubleInTwoParts(bytes);
    } else {
      value = this.toDoubleInTwoParts(bytes);
    }
    return Math.fround(this.isNegative ? -value : value);
  }

  /** The magnitude, from the digits as two exact parts times a power of ten in two parts: about 100 bits, enough but for near ties. */
  private toDoubleInTwoParts(bytes: Uint8Array): number {
    let high = 0;
    let low = 0;
    let highDigits = 0;
    let lowDigits = 0;
    let at = this.isNegative ? this.start + 1 : this.start;
    for (; at < this.end; at++) {
      const digit = bytes[at]! - 0x30;
      if (digit === -2) continue;
      if (digit > 9) break;
      if (highDigits < 15) {
        high = high * 10 + digit;
        if (high !== 0) highDigits++;
      } else {
        low = low * 10 + digit;
        lowDigits++;
      }
    }
    const scale = this.exponent + MAX_EXACT_SCALE;
    if (highDigits + lowDigits > MAX_EXACT_DIGITS || scale < 0 || scale > 2 * MAX_EXACT_SCALE) return this.toDoubleByText(bytes);

    // (a, b) = high * 10^lowDigits + low
    const shift = POWERS[lowDigits - MIN_POWER]!;
    let a = high * shift;
    let b = productError(high, shift, a);
    let sum = a + low;
    b += a >= low ? low - (sum - a) : a - (sum - low);
    a = sum;
    // times 10^exponent
    const power = POWERS[this.exponent - MIN_POWER]!;
    const product = a * power;
    const rest = productError(a, power, product) + (a * POWER_TAILS[scale]! + b * power);
    const doubt = product * 2 ** -90;
    sum = product + (rest - doubt);
    return sum === product + (rest + doubt) ? sum : this.toDoubleByText(bytes);
  }

  private toDoubleByText(bytes: Uint8Array): number {
    const start = this.isNegative ? this.start + 1 : this.start;
    return Number(Buffer.from(bytes.buffer, bytes.byteOffset + start, this.end - start).toString('latin1'));
  }
}

/** a * b - product, exactly, where product is a * b rounded (Dekker). */
function productError(a: number, b: number, product: number): number {
  let t = SPLITTER * a;
  const aHigh = t - (t - a);
  const aLow = a - aHigh;
  t = SPLITTER * b;
  const bHigh = t - (t - b);
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}
