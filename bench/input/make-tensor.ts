import { encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, type Datatype } from '../../proto/datatype.ts';
import { toBf16, toFp16 } from '../../proto/float16.ts';
import type { SeededRandom } from '../statistics/seeded-random.ts';

/** Letters and digits: every wire carries them as they are, without escapes. */
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** Whole numbers stay below it: every integer type holds them, and as token ids or indices they are in range of most models. */
const INTEGER_BOUND = 128;

/** Bytes that `count` made elements take, in the binary tensor extension's layout. */
export function madeByteSize(datatype: Datatype, count: number, stringLength: number): number {
  return count * (datatype === 'BYTES' ? 4 + stringLength : byteSizeOf(datatype));
}

/** `count` elements of zeros; strings are empty. */
export function zeroTensor(datatype: Datatype, count: number): Uint8Array {
  return new Uint8Array(madeByteSize(datatype, count, 0));
}

/** Floating-point numbers from [0, 1), whole numbers from 0 to 127, strings of `stringLength` letters and digits. */
export function randomTensor(datatype: Datatype, count: number, stringLength: number, random: SeededRandom): Uint8Array {
  if (datatype === 'BYTES') return encodeBytes(Array.from({ length: count }, () => randomText(stringLength, random)));
  const data = new Uint8Array(madeByteSize(datatype, count, 0));
  fillRandom(datatype, data.buffer, random);
  return data;
}

function fillRandom(datatype: Exclude<Datatype, 'BYTES'>, buffer: ArrayBuffer, random: SeededRandom): void {
  switch (datatype) {
    case 'BOOL':
      fill(new Uint8Array(buffer), () => random.below(2));
      return;
    case 'UINT8':
    case 'INT8':
      fill(new Uint8Array(buffer), () => random.below(INTEGER_BOUND));
      return;
    case 'UINT16':
    case 'INT16':
      fill(new Uint16Array(buffer), () => random.below(INTEGER_BOUND));
      return;
    case 'UINT32':
    case 'INT32':
      fill(new Uint32Array(buffer), () => random.below(INTEGER_BOUND));
      return;
    case 'UINT64':
    case 'INT64': {
      const words = new Uint32Array(buffer);
      for (let i = 0; i < words.length; i += 2) words[i] = random.below(INTEGER_BOUND);
      return;
    }
    // Of the half-precision formats the nearest one may be 1: a step below it is not.
    case 'FP16':
      fill(new Uint16Array(buffer), () => toFp16(random.below(1024) / 1024));
      return;
    case 'BF16':
      fill(new Uint16Array(buffer), () => toBf16(random.below(128) / 128));
      return;
    case 'FP32':
      fill(new Float32Array(buffer), () => random.below(2 ** 24) / 2 ** 24);
      return;
    case 'FP64':
      fill(new Float64Array(buffer), () => random.next());
      return;
  }
}

function fill(array: Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array, next: () => number): void {
  for (let i = 0; i < array.length; i++) array[i] = next();
}

function randomText(length: number, random: SeededRandom): string {
  let text = '';
  for (let i = 0; i < length; i++) text += LETTERS[random.below(LETTERS.length)];
  return text;
}
