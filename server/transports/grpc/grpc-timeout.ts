/** @hotpath the `grpc-timeout` header of each call that has one (measured by grpc-transport.bench.ts) */

const MS_OF_UNIT: ReadonlyMap<string, number> = new Map([
  ['H', 3_600_000],
  ['M', 60_000],
  ['S', 1000],
  ['m', 1],
  ['u', 0.001],
  ['n', 0.000_001],
]);

/** At most 8 digits and a unit, as the gRPC protocol says: milliseconds; -1 for anything else. */
export function parseGrpcTimeout(value: string): number {
  const digits = value.length - 1;
  if (digits < 1 || digits > 8) return -1;
  const unit = MS_OF_UNIT.get(value[digits]!);
  if (unit === undefined) return -1;
  let amount = 0;
  for (let i = 0; i < digits; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    amount = amount * 10 + digit;
  }
  return amount * unit;
}
