/** @hotpath HPACK's Huffman code. Source: RFC 7541, section 5.2 and Appendix B (measured by grpc-transport.bench.ts) */

import { HpackFault } from './hpack-fault.ts';

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

/** The code as a tree, walked four bits at a time: no code has fewer than five, so a step finds one octet at most. */
const STATES = 256;
/** An entry of {@link STEPS}: the next state in the low bits, then whether an octet was found, then the octet; FAILS: the bits mean the end of the string, which no string contains. */
const FOUND = 0x100;
const OCTET_SHIFT = 9;
const FAILS = -1;
const STEPS = new Int32Array(STATES * 16);
/** 1: the string may end here, since what was read of a code is the beginning of the end-of-string code and shorter than an octet. */
const MAY_END = new Uint8Array(STATES);

/** Latin-1 text is made from here; a longer string has a place of its own. */
const SCRATCH: Buffer = Buffer.allocUnsafeSlow(4096);
/** The shortest code has five bits. */
const MOST_OCTETS_PER_BYTE = 8 / 5;

fillTables();

function fillTables(): void {
  const lengths = LENGTHS.split(' ').flatMap((run) => {
    const [count, bits] = run.includes('x') ? run.split('x').map(Number) : [1, Number(run)];
    return Array<number>(count!).fill(bits!);
  });
  /** Two children a node: another node, or `~octet`. */
  const children: [number, number][] = [[0, 0]];
  let code = 0;
  for (let bits = 1; bits <= MAX_BITS; bits++, code *= 2) {
    lengths.forEach((length, octet) => {
      if (length !== bits) return;
      addCode(children, code, bits, octet);
      code += 1;
    });
  }
  for (let state = 0; state < children.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++) STEPS[state * 16 + nibble] = step(children, state, nibble);
  }
  for (let bits = 0, state = 0; bits < 8; bits++) {
    MAY_END[state] = 1;
    state = children[state]![1];
  }
}

function addCode(children: [number, number][], code: number, bits: number, octet: number): void {
  let node = 0;
  for (let bit = bits - 1; bit > 0; bit--) {
    const side = ((code >>> bit) & 1) as 0 | 1;
    if (children[node]![side] === 0) children[node]![side] = children.push([0, 0]) - 1;
    node = children[node]![side];
  }
  children[node]![(code & 1) as 0 | 1] = ~octet;
}

function step(children: readonly (readonly [number, number])[], from: number, nibble: number): number {
  let state = from;
  let found = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[state]![((nibble >>> bit) & 1) as 0 | 1];
    if (next === ~END_OF_STRING) return FAILS;
    if (next < 0) found = FOUND | (~next << OCTET_SHIFT);
    state = next < 0 ? 0 : next;
  }
  return state | found;
}

/** `bytes[from, to)` as Latin-1 text. Throws HpackFault for padding that is none. */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number): string {
  const most = Math.floor((to - from) * MOST_OCTETS_PER_BYTE);
  const into = most <= SCRATCH.length ? SCRATCH : Buffer.allocUnsafe(most);
  let count = 0;
  let state = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    let entry = STEPS[(state << 4) | (byte >>> 4)]!;
    if (entry === FAILS) throw endInside();
    if ((entry & FOUND) !== 0) into[count++] = entry >>> OCTET_SHIFT;
    entry = STEPS[((entry & 0xff) << 4) | (byte & 0xf)]!;
    if (entry === FAILS) throw endInside();
    if ((entry & FOUND) !== 0) into[count++] = entry >>> OCTET_SHIFT;
    state = entry & 0xff;
  }
  if (MAY_END[state] === 0) throw new HpackFault('a string whose Huffman code ends in the middle');
  return into.toString('latin1', 0, count);
}

function endInside(): HpackFault {
  return new HpackFault('a Huffman code for the end of the string inside a string');
}
