import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { InferenceError } from './inference-error.ts';
import { DELIMITED, type MessageFields, ProtobufReader } from './protobuf-reader.ts';

const FIELDS: MessageFields = { name: 'Message', fields: ['', 'one', 'two'] };

function reader(...bytes: number[]): ProtobufReader {
  return new ProtobufReader(Uint8Array.from(bytes), FIELDS);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof InferenceError && error.code === 'INVALID_ARGUMENT') return error.message;
    throw error;
  }
  throw new Error('was not refused');
}

/** Reads a whole message as nothing but fields. */
function walk(one: ProtobufReader): number[] {
  const fields: number[] = [];
  while (one.next()) {
    fields.push(one.field);
    one.skip();
  }
  return fields;
}

describe('ProtobufReader', () => {
  it('reads every 64-bit varint that protobufjs writes', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        const bytes = protobuf.Writer.create().uint32(8).int64(BigInt.asIntN(64, value).toString()).finish();
        const one = new ProtobufReader(bytes, FIELDS);
        expect(one.next()).toBe(true);
        one.takeVarint();
        expect(BigInt.asUintN(64, (BigInt(one.high) << 32n) | BigInt(one.low >>> 0))).toBe(BigInt.asUintN(64, value));
        const signed = BigInt.asIntN(64, value);
        const unsigned = BigInt.asUintN(64, value);
        expect(one.int64()).toBe(Number.isSafeInteger(Number(signed)) ? Number(signed) : Number.NaN);
        expect(one.uint64()).toBe(Number.isSafeInteger(Number(unsigned)) ? Number(unsigned) : Number.NaN);
        expect(one.next()).toBe(false);
      }),
    );
  });

  it('reads text, doubles and booleans, and passes over what it does not know', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 100 }), fc.double(), fc.boolean(), (text, double, flag) => {
        const writer = protobuf.Writer.create();
        writer.uint32((900 << 3) | 5).fixed32(7);
        writer.uint32((1 << 3) | 2).string(text);
        writer.uint32((901 << 3) | 2).bytes(new Uint8Array(300));
        writer.uint32((2 << 3) | 1).double(double);
        writer.uint32((3 << 3) | 0).bool(flag);
        const one = new ProtobufReader(writer.finish(), FIELDS);
        const seen: unknown[] = [];
        while (one.next()) {
          if (one.field === 1) seen.push(one.takeText(1000));
          else if (one.field === 2) seen.push(one.takeDouble());
          else if (one.field === 3) seen.push(one.takeBool());
          else one.skip();
        }
        expect(seen).toEqual([text, double, flag]);
      }),
    );
  });

  it('compares ASCII in place, and never takes other bytes for Latin-1', () => {
    const one = new ProtobufReader(Buffer.from([10, 2, 0xc3, 0xa9]), FIELDS);
    one.next();
    one.takeRange();
    expect([one.rangeIs('é'), one.rangeIs('Ã©'), one.rangeText(10)]).toEqual([false, false, 'é']);
  });

  it.each<[string, number[], RegExp]>([
    ['a tag that ends early', [0x88], /^Message: a varint that the end/],
    ['field number 0', [0x02, 0x00], /^Message: a field number of 0/],
    ['a field number above 2^29', [0x80, 0x80, 0x80, 0x80, 0x10, 0], /field number/],
    ['a start of a group', [0x0b], /^Message.one: wire type start of a group/],
    ['an end of a group', [0x14], /^Message.two: wire type end of a group/],
    ['wire type 6', [0x0e], /reserved \(6\)/],
    ['a varint that ends early', [0x08, 0xff], /^Message.one: a varint that the end/],
    ['a varint of eleven bytes', [0x08, ...new Array<number>(10).fill(0xff), 1], /more than 64 bits/],
    ['a varint above 2^64', [0x08, ...new Array<number>(9).fill(0xff), 2], /more than 64 bits/],
    ['a length beyond the message', [0x12, 5, 1], /^Message.two: a length of 5 bytes, of which the message has 1/],
    ['a length of 2 GiB', [0x12, 0xff, 0xff, 0xff, 0xff, 0x07], /a length of 2147483647 bytes/],
    ['a length of 2^64 - 1', [0x12, ...new Array<number>(9).fill(0xff), 1], /a length of 18446744073709552000 bytes/],
    ['no length', [0x12], /varint that the end/],
    ['a 32-bit number that is cut', [0x0d, 1, 2, 3], /needs 4 bytes/],
    ['a 64-bit number that is cut', [0x09, 1, 2, 3], /needs 8 bytes/],
  ])('refuses %s', (_what, bytes, text) => {
    expect(refusal(() => walk(reader(...bytes)))).toMatch(text);
  });

  it('refuses a known field of another wire type, and text that is no UTF-8 or too long', () => {
    const varint = reader(0x08, 1);
    varint.next();
    expect(refusal(() => varint.takeRange())).toMatch(/^Message.one: expected wire type length-delimited, got varint/);
    const range = reader(0x0a, 2, 0xc3, 0x28);
    range.next();
    expect(range.wireType).toBe(DELIMITED);
    expect(refusal(() => range.takeVarint())).toMatch(/expected wire type varint/);
    expect(refusal(() => range.takeDouble())).toMatch(/expected wire type 64-bit/);
    expect(refusal(() => range.takeText(10))).toMatch(/^Message.one: invalid UTF-8/);
    range.start = range.stop - 2;
    expect(refusal(() => range.rangeText(1))).toMatch(/expected at most 1 bytes, got 2/);
  });

  it('bounds how many fields a message may have', () => {
    expect(
      walk(
        new ProtobufReader(
          new Uint8Array(2 * 65_536).map((_, i) => (i % 2 === 0 ? 0x78 : 0)),
          FIELDS,
        ),
      ),
    ).toHaveLength(65_536);
    const tooMany = new ProtobufReader(
      new Uint8Array(2 * 65_537).map((_, i) => (i % 2 === 0 ? 0x78 : 0)),
      FIELDS,
    );
    expect(refusal(() => walk(tooMany))).toMatch(/at most 65536 fields/);
  });

  it('ends with a refusal, or at the end of the message, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const one = new ProtobufReader(bytes, FIELDS);
        try {
          walk(one);
          expect(one.at).toBe(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(InferenceError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
