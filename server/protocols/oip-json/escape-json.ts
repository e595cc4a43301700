/** @hotpath the bytes of a text as the inside of a JSON string (measured by encode-chunk.bench.ts) */

/** Bytes that a JSON string cannot hold as they are: the letter of their short escape, or `u`. 0: as it is. */
export const ESCAPES: Uint8Array = new Uint8Array(256);
ESCAPES.fill(0x75, 0, 0x20);
for (const [byte, letter] of [
  [0x22, '"'],
  [0x5c, '\\'],
  [0x08, 'b'],
  [0x0c, 'f'],
  [0x0a, 'n'],
  [0x0d, 'r'],
  [0x09, 't'],
] as const) {
  ESCAPES[byte] = letter.charCodeAt(0);
}
const HEX = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));

/** Writes `data[start, end)`, which is UTF-8, to `out` from `at` on: at most six bytes for one. Returns the offset behind it. */
export function putEscapedBytes(out: Uint8Array, at: number, data: Uint8Array, start: number, end: number): number {
  for (let i = start; i < end; i++) {
    const c = data[i]!;
    const letter = ESCAPES[c]!;
    if (letter === 0) {
      out[at++] = c;
      continue;
    }
    out[at++] = 0x5c;
    out[at++] = letter;
    if (letter === 0x75) {
      out[at++] = 0x30;
      out[at++] = 0x30;
      out[at++] = HEX[c >> 4]!;
      out[at++] = HEX[c & 15]!;
    }
  }
  return at;
}
