import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DATA, DEFAULT_FRAME_BYTES, END_STREAM, HEADERS, PADDED, putFrameHead, SETTINGS } from '../../../proto/http2-frames.ts';
import { FrameReader } from './frame-reader.ts';
import { ProtocolFault } from './protocol-fault.ts';

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

function wire({ type, flags, streamId, payload }: Frame): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  putFrameHead(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, 9);
  return bytes;
}

/** What came, as text, the pieces of DATA put together; each piece in memory that is written over afterwards. */
function read(pieces: readonly Uint8Array[]): string[] {
  const seen: string[] = [];
  let data = '';
  const reader = new FrameReader({
    onData: (streamId, bytes, from, to, isEnd) => {
      data += bytes.toString('hex', from, to);
      if (!isEnd) return;
      seen.push(`data ${streamId} ${data}`);
      data = '';
    },
    onFrame: (type, flags, streamId, bytes, from, to) => {
      seen.push(`${type} ${flags} ${streamId} ${bytes.toString('hex', from, to)}`);
    },
  });
  const shared = Buffer.alloc(DEFAULT_FRAME_BYTES * 8);
  for (const piece of pieces) {
    shared.fill(0xee).set(piece);
    reader.read(shared, piece.length);
  }
  return seen;
}

const frames = fc.array(
  fc.record({
    type: fc.constantFrom(DATA, HEADERS, SETTINGS, 99),
    flags: fc.constantFrom(END_STREAM, END_STREAM | PADDED),
    streamId: fc.nat(2 ** 31 - 1),
    payload: fc.oneof(fc.uint8Array({ maxLength: 30 }), fc.constant(new Uint8Array(DEFAULT_FRAME_BYTES).fill(7))),
  }),
  { maxLength: 6 },
);

describe('the frame reader', () => {
  it('finds the frames however the bytes are cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(60_000), { maxLength: 20 }), (list, places) => {
        const bytes = Buffer.concat(list.map(wire));
        const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
        const pieces = cuts.slice(1).map((end, i) => bytes.subarray(cuts[i], end));
        const expected = list.map(({ type, flags, streamId, payload }) => {
          const hex = Buffer.from(payload).toString('hex');
          return type === DATA && (flags & PADDED) === 0 ? `data ${streamId} ${hex}` : `${type} ${flags} ${streamId} ${hex}`;
        });
        expect(read(pieces)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('refuses frames that are too large, and knows HTTP/1.1', () => {
    expect(() => read([wire({ type: DATA, flags: 0, streamId: 1, payload: new Uint8Array(DEFAULT_FRAME_BYTES + 1) })])).toThrow(
      ProtocolFault,
    );
    expect(() => read([Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')])).toThrow('answers in HTTP/1.1');
  });

  it('hands nothing over once it is stopped', () => {
    const seen: number[] = [];
    const reader = new FrameReader({
      onData: () => {},
      onFrame: (type) => {
        seen.push(type);
        reader.stop();
      },
    });
    const bytes = Buffer.concat([1, 2, 3].map((type) => wire({ type, flags: 0, streamId: 1, payload: new Uint8Array(3) })));
    reader.read(bytes, bytes.length);
    expect(seen).toEqual([1]);
  });
});
