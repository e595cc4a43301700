const view = new DataView(new ArrayBuffer(4));

/** The bits of the IEEE half-precision number nearest to `value` (ties to even); too large becomes infinity. */
export function halfFloatBits(value: number): number {
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200);
  const scaled = exponent - 112;
  if (scaled >= 31) return sign | 0x7c00;
  if (scaled < -10) return sign;
  // Subnormal halves lose their leading one into the fraction.
  const shift = scaled <= 0 ? 14 - scaled : 13;
  const whole = scaled <= 0 ? fraction | 0x800000 : (scaled << 23) | fraction;
  const rest = whole & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const rounded = whole >>> shift;
  return sign | (rounded + (rest > half || (rest === half && (rounded & 1) === 1) ? 1 : 0));
}

/** The number that the half-precision `bits` stand for. */
export function halfFloatValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}
