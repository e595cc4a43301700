import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { ProtobufReader } from './protobuf-reader.ts';
import { int64Size, ProtobufWriter, textSize, varintSize } from './protobuf-writer.ts';

describe('ProtobufWriter', () => {
  it('writes what protobufjs writes, in as many bytes as were counted', () => {
    const parts = fc.record({
      text: fc.string({ unit: 'binary', maxLength: 100 }),
      bytes: fc.uint8Array({ maxLength: 300 }),
      flag: fc.boolean(),
      double: fc.double(),
      int: fc.maxSafeInteger(),
    });
    fc.assert(
      fc.property(parts, ({ text, bytes, flag, double, int }) => {
        const expected = protobuf.Writer.create()
          .uint32((1 << 3) | 2)
          .string(text)
          .uint32((2 << 3) | 2)
          .bytes(bytes)
          .uint32(3 << 3)
          .bool(flag)
          .uint32((4 << 3) | 1)
          .double(double)
          .uint32(5 << 3)
          .int64(int)
          .finish();
        const size = textSize(text);
        const writer = new ProtobufWriter(
          1 + varintSize(size) + size + 1 + varintSize(bytes.length) + bytes.length + 2 + 9 + 1 + int64Size(int),
        );
        writer.text(1, text, size);
        writer.bytes(2, bytes);
        writer.bool(3, flag);
        writer.double(4, double);
        writer.int64Field(5, int);
        expect(writer.at).toBe(writer.buffer.length);
        expect(writer.buffer.equals(expected)).toBe(true);
      }),
    );
  });

  it('counts and writes varints up to 2^53', () => {
    for (let bits = 0; bits <= 53; bits++) {
      for (const value of [2 ** bits - 1, bits === 53 ? 2 ** 53 - 1 : 2 ** bits]) {
        const writer = new ProtobufWriter(varintSize(value));
        writer.varint(value);
        expect(writer.at).toBe(writer.buffer.length);
        const one = new ProtobufReader(Buffer.concat([Buffer.from([0x08]), writer.buffer]), { name: 'Message', fields: [] });
        one.next();
        one.takeVarint();
        expect(one.uint64()).toBe(value);
      }
    }
  });
});
