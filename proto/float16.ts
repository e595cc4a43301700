/** @hotpath rounds and widens the 16-bit floating-point types, where they come or go as JSON */

/** IEEE half: 10 bits behind the point, exponents from -14. */
const FP16_BITS = 10;
const FP16_MIN_EXPONENT = -14;
const FP16_MAX_BITS = 0x7c00;
/** The upper half of an IEEE single. */
const BF16_BITS = 7;
const BF16_MIN_EXPONENT = -126;
const BF16_MAX_BITS = 0x7f80;

/** 2^e at e + 149; `**` with an exponent that is no constant costs more than all else here. */
const TWO_TO = Float64Array.from({ length: 300 }, (_, i) => 2 ** (i - 149));
const TWO_TO_ZERO = 149;

const double = new Float64Array(1);
const doubleWords = new Uint32Array(double.buffer);
const single = new Float32Array(1);
const singleWords = new Uint32Array(single.buffer);

/** Nearest FP16 of a double, ties to even; -1 when a finite value passes its range. NaN gives the quiet one. */
export function toFp16(value: number): number {
  return round(value, FP16_BITS, FP16_MIN_EXPONENT, FP16_MAX_BITS);
}

/** Nearest BF16 of a double, ties to even; -1 when a finite value passes its range. NaN gives the quiet one. */
export function toBf16(value: number): number {
  return round(value, BF16_BITS, BF16_MIN_EXPONENT, BF16_MAX_BITS);
}

function round(value: number, fractionBits: number, minExponent: number, infinity: number): number {
  double[0] = value;
  const sign = (doubleWords[1]! >>> 16) & 0x8000;
  if (Number.isNaN(value)) return infinity | (1 << (fractionBits - 1));
  const magnitude = Math.abs(value);
  if (magnitude === Number.POSITIVE_INFINITY) return sign | infinity;
  const exponent = Math.max(((doubleWords[1]! >>> 20) & 0x7ff) - 1023, minExponent);
  if (exponent > 1 - minExponent) return -1;
  // In units of the last place; adding and taking away 2^52 rounds to a whole number, ties to even. A carry runs on into the exponent, as it should.
  const units = magnitude * TWO_TO[fractionBits - exponent + TWO_TO_ZERO]! + 4503599627370496 - 4503599627370496;
  const bits = (exponent - minExponent) * (1 << fractionBits) + units;
  return bits >= infinity ? -1 : sign | bits;
}

/** The value of FP16 bits; exact. */
export function fromFp16(bits: number): number {
  const exponent = (bits >>> FP16_BITS) & 0x1f;
  const fraction = bits & 0x3ff;
  const magnitude =
    exponent === 0x1f
      ? fraction === 0
        ? Number.POSITIVE_INFINITY
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -24
        : (fraction + 1024) * TWO_TO[exponent - 25 + TWO_TO_ZERO]!;
  return bits >= 0x8000 ? -magnitude : magnitude;
}

/** The value of BF16 bits; exact. */
export function fromBf16(bits: number): number {
  singleWords[0] = bits * 0x10000;
  return single[0]!;
}
