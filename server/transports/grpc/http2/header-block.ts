/** Header blocks of answers: literals without a table, so that a block is the same bytes on every connection and can be made once. Source: RFC 7541, section 6.2.2 */

import { STATIC_NAMES, STATIC_VALUES } from '../../../../proto/hpack/static-table.ts';

const NOT_INDEXED_BITS = 4;
const LENGTH_BITS = 7;

/** Names in lower case, pseudo-header fields first; values in Latin-1. */
export function encodeHeaderBlock(fields: Readonly<Record<string, string>>): Buffer {
  const pieces: Buffer[] = [];
  for (const [name, value] of Object.entries(fields)) {
    const whole = STATIC_NAMES.findIndex((known, index) => known === name && STATIC_VALUES[index] === value && value !== '');
    if (whole > 0) {
      pieces.push(integer(0x80, LENGTH_BITS, whole));
      continue;
    }
    const index = STATIC_NAMES.indexOf(name);
    pieces.push(integer(0, NOT_INDEXED_BITS, Math.max(index, 0)));
    if (index <= 0) pieces.push(text(name));
    pieces.push(text(value));
  }
  return Buffer.concat(pieces);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([integer(0, LENGTH_BITS, bytes.length), bytes]);
}

/** Section 5.1, behind the bits of `first`. */
function integer(first: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
