import fc from 'fast-check';
import { expect, test } from 'vitest';
import { countBytesElements, decodeBytes, encodeBytes } from './bytes.ts';

/** As Node's Buffer has them, and one by one. */
function encodeSimply(elements: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    elements.flatMap((element) => {
      const bytes = Buffer.from(element as string);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}

test('elements of every length and script become what Buffer makes of them, and come back', () => {
  // Any 16-bit units: lone surrogates too.
  const units = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 }).map((codes) => String.fromCharCode(...codes));
  const element = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.string({ unit: 'binary', maxLength: 60 }),
    units,
    fc.uint8Array({ maxLength: 60 }),
  );
  fc.assert(
    fc.property(fc.array(element, { maxLength: 20 }), (elements) => {
      const data = encodeBytes(elements);
      expect(Buffer.compare(data, encodeSimply(elements))).toBe(0);
      expect(countBytesElements(data, 'X')).toBe(elements.length);
      expect(decodeBytes(data, 'X').map((one) => Buffer.from(one))).toEqual(elements.map((one) => Buffer.from(Buffer.from(one as string))));
    }),
    { numRuns: 500 },
  );
});

test('text that is long, or ends where its room does, is whole', () => {
  for (const elements of [['é'], ['a', 'é'.repeat(24)], ['é'.repeat(25), 'b'], ['日'.repeat(5_000), 'x', '😀'.repeat(30)], [''], []]) {
    expect(Buffer.compare(encodeBytes(elements), encodeSimply(elements))).toBe(0);
  }
});

test('works where there is no Buffer', () => {
  const { Buffer: nodeBuffer } = globalThis;
  try {
    Reflect.deleteProperty(globalThis, 'Buffer');
    expect(encodeBytes(['é', Uint8Array.of(7)])).toEqual(Uint8Array.of(2, 0, 0, 0, 0xc3, 0xa9, 1, 0, 0, 0, 7));
  } finally {
    globalThis.Buffer = nodeBuffer;
  }
});

test('a cut element is named', () => {
  expect(() => countBytesElements(Uint8Array.of(1, 0, 0), 'X')).toThrow(
    'incomplete string length indicator for X: element 0 needs 4 bytes',
  );
  expect(() => decodeBytes(Uint8Array.of(0, 0, 0, 0, 2, 0, 0, 0, 9), 'X')).toThrow(
    'incomplete string data for X: element 1 says 2 bytes, 1 are left',
  );
});
