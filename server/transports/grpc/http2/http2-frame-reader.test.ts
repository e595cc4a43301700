import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DATA, FRAME_SIZE_ERROR, PADDED, PROTOCOL_ERROR, putFrameHead } from '../../../../proto/http2-frames.ts';
import { Http2Fault } from './http2-fault.ts';
import { type FrameHandler, FrameReader } from './http2-frame-reader.ts';

/** What was read, with the pieces of DATA put together. */
class Recorder implements FrameHandler {
  readonly events: string[] = [];
  #data = '';

  onDataFrame(streamId: number, flags: number, length: number): void {
    this.events.push(`DATA ${streamId} ${flags} ${length}`);
    this.#data = '';
  }

  onDataBytes(bytes: Buffer, from: number, to: number): void {
    this.#data += bytes.toString('hex', from, to);
  }

  onDataEnd(flags: number): void {
    this.events.push(`${this.#data} end ${flags}`);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
    this.events.push(`${type} ${flags} ${streamId} ${bytes.toString('hex', from, to)}`);
  }
}

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
  readonly padding: number;
}

const anyFrame: fc.Arbitrary<Frame> = fc.record({
  type: fc.integer({ min: 0, max: 12 }),
  flags: fc.integer({ min: 0, max: 255 }),
  streamId: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  payload: fc.uint8Array({ maxLength: 600 }),
  padding: fc.integer({ min: 0, max: 255 }),
});

function encode({ type, flags, streamId, payload, padding }: Frame): Buffer {
  const isPadded = type === DATA && (flags & PADDED) !== 0;
  const body = isPadded ? Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]) : Buffer.from(payload);
  const head = Buffer.alloc(9);
  putFrameHead(head, 0, body.length, type, flags, streamId);
  return Buffer.concat([head, body]);
}

function expected({ type, flags, streamId, payload, padding }: Frame): string[] {
  const hex = Buffer.from(payload).toString('hex');
  if (type !== DATA) return [`${type} ${flags} ${streamId} ${hex}`];
  return [`DATA ${streamId} ${flags} ${payload.length + ((flags & PADDED) === 0 ? 0 : 1 + padding)}`, `${hex} end ${flags}`];
}

test('finds the frames however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 10 }),
      (frames, sizes) => {
        const recorder = new Recorder();
        const reader = new FrameReader(recorder);
        const bytes = Buffer.concat(frames.map(encode));
        for (let at = 0, i = 0; at < bytes.length; at += sizes[i % sizes.length]!, i++) {
          reader.read(Buffer.from(bytes.subarray(at, at + sizes[i % sizes.length]!)), 0);
        }
        expect(recorder.events).toEqual(frames.flatMap(expected));
      },
    ),
  );
});

test.each([
  ['a frame that is too large', Buffer.from([0, 0x40, 1, 0, 0, 0, 0, 0, 1]), FRAME_SIZE_ERROR],
  ['more padding than bytes', Buffer.from([0, 0, 2, 0, 8, 0, 0, 0, 1, 2, 0]), PROTOCOL_ERROR],
  ['padding without its length', Buffer.from([0, 0, 0, 0, 8, 0, 0, 0, 1]), FRAME_SIZE_ERROR],
])('%s is a fault', (_what, bytes, code) => {
  let fault: unknown = null;
  try {
    new FrameReader(new Recorder()).read(bytes, 0);
  } catch (error) {
    fault = error;
  }
  expect(fault).toBeInstanceOf(Http2Fault);
  expect((fault as Http2Fault).code).toBe(code);
});

test('reads nothing more once it is stopped, of the same bytes neither', () => {
  const recorder = new Recorder();
  const reader = new FrameReader(recorder);
  recorder.onFrame = () => {
    recorder.events.push('first');
    reader.stop();
  };
  const ping = Buffer.alloc(17);
  putFrameHead(ping, 0, 8, 6, 0, 0);
  reader.read(Buffer.concat([ping, ping]), 0);
  reader.read(ping, 0);
  expect(recorder.events).toEqual(['first']);
});
