/** HPACK's Huffman code. Source: RFC 7541, section 5.2 and Appendix B. */

import { ProtocolFault } from './protocol-fault.ts';

/**
 * How many bits the code of each octet has, and of the end of the string last: `count x bits`, in the order of the octets. The code is canonical (codes of a length follow each other in the
 * order of their octets, shorter ones before longer), so this is all of Appendix B.
 */
const LENGTHS =
  '13 23 7x28 24 30 2x28 30 8x28 30 9x28 6 2x10 12 13 6 8 11 2x10 8 11 8 3x6 3x5 7x6 7 8 15 6 12 10 13 6 22x7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 3x6 5 2x7 3x6 5 6 7 6 2x5 6 5x7 15 11 14 13 28 ' +
  '20 22 2x20 3x22 23 22 5x23 24 23 2x24 22 23 24 4x23 21 22 23 22 2x23 24 22 21 20 2x22 2x23 21 23 2x22 24 21 22 2x23 2x21 22 21 23 22 2x23 20 3x22 23 2x22 23 2x26 20 19 22 23 22 25 3x26 2x27 26 ' +
  '24 25 19 21 26 2x27 26 27 24 2x21 2x26 28 3x27 20 24 20 21 22 2x21 23 2x22 2x25 2x24 26 23 26 27 2x26 5x27 28 5x27 26 30';

const END_OF_STRING = 256;
const MAX_BITS = 30;

/** By number of bits: the first code, how many there are, and where their octets begin in {@link OCTETS}. */
const FIRST: number[] = [];
const COUNT: number[] = [];
const BEGIN: number[] = [];
const OCTETS: number[] = [];

const lengths = LENGTHS.split(' ').flatMap((run) => {
  const [count, bits] = run.includes('x') ? run.split('x').map(Number) : [1, Number(run)];
  return Array<number>(count!).fill(bits!);
});
for (let bits = 0, code = 0; bits <= MAX_BITS; bits++, code *= 2) {
  FIRST.push(code);
  BEGIN.push(OCTETS.length);
  lengths.forEach((length, octet) => {
    if (length === bits) OCTETS.push(octet);
  });
  COUNT.push(OCTETS.length - BEGIN[bits]!);
  code += COUNT[bits]!;
}

/** `bytes[from, to)` as Latin-1 text. Throws ProtocolFault for padding that is none. */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number): string {
  let text = '';
  let code = 0;
  let bits = 0;
  for (let at = from; at < to; at++) {
    for (let mask = 0x80; mask > 0; mask >>= 1) {
      code = code * 2 + ((bytes[at]! & mask) === 0 ? 0 : 1);
      bits++;
      const place = code - FIRST[bits]!;
      if (place >= COUNT[bits]!) {
        // No code is longer: the last one of all, the end of the string, has been found before.
        continue;
      }
      const octet = OCTETS[BEGIN[bits]! + place]!;
      if (octet === END_OF_STRING) throw new ProtocolFault('a Huffman code for the end of the string inside a header');
      text += String.fromCharCode(octet);
      code = 0;
      bits = 0;
    }
  }
  // What is left is the beginning of the end-of-string code: ones, fewer than eight.
  if (bits > 7 || code !== 2 ** bits - 1) throw new ProtocolFault('a header whose Huffman code ends in the middle');
  return text;
}
