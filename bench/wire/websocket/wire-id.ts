/** The `id` of a request on a WebSocket: a 32-bit number in eight lower-case hexadecimal digits, so that it can be written over in place. */

export const WIRE_ID_BYTES = 8;

const DIGITS = Buffer.from('0123456789abcdef');
const VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < DIGITS.length; i++) VALUES[DIGITS[i]!] = i;

export function writeWireId(into: Uint8Array, at: number, id: number): void {
  for (let i = WIRE_ID_BYTES - 1; i >= 0; i--) {
    into[at + i] = DIGITS[id & 15]!;
    id >>>= 4;
  }
}

/** -1: no such id. */
export function readWireId(bytes: Uint8Array, at: number): number {
  let id = 0;
  for (let i = 0; i < WIRE_ID_BYTES; i++) {
    const value = VALUES[bytes[at + i]!]!;
    if (value < 0) return -1;
    id = id * 16 + value;
  }
  return id;
}
