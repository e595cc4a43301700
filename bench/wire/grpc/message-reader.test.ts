import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frameMessage } from './message-prefix.ts';
import { MessageReader } from './message-reader.ts';

describe('the message reader', () => {
  it('finds the messages however the bytes are cut, and keeps as much as is asked for', () => {
    const keeps = fc.constantFrom(0, 3, Number.POSITIVE_INFINITY);
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 6 }),
        fc.array(fc.nat(150), { maxLength: 12 }),
        keeps,
        (list, places, keep) => {
          const bytes = Buffer.concat(list.map(frameMessage));
          const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
          const reader = new MessageReader();
          const shared = Buffer.alloc(200);
          const seen: [number, string][] = [];
          for (let i = 1; i < cuts.length; i++) {
            const piece = bytes.subarray(cuts[i - 1], cuts[i]);
            shared.fill(0xee).set(piece, 7);
            for (let at = 7; at < 7 + piece.length; ) {
              at = reader.read(shared, at, 7 + piece.length, keep);
              if (reader.isWhole) seen.push([reader.length, reader.bytes.toString('hex', reader.start, reader.end)]);
            }
          }
          expect(seen).toEqual(list.map((message) => [message.length, Buffer.from(message.subarray(0, keep)).toString('hex')]));
          expect(reader.isInside).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('tells a message that is cut off, and a compressed one', () => {
    const reader = new MessageReader();
    const bytes = frameMessage(Buffer.from('abc'));
    reader.read(bytes, 0, bytes.length - 1, 0);
    expect([reader.isWhole, reader.isInside]).toEqual([false, true]);
    reader.reset();
    bytes[0] = 1;
    reader.read(bytes, 0, bytes.length, 0);
    expect([reader.isWhole, reader.isCompressed]).toEqual([true, true]);
  });
});
