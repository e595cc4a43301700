import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader } from './frame-reader.ts';
import { controlFrame, FRAME_KIND, FrameError, type FrameKind, frameHeader, MAX_CONTROL_BYTES, maxPayloadBytes } from './messages.ts';

interface Frame {
  readonly kind: FrameKind;
  readonly payload: Buffer;
}

function read(chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader((kind, payload) => frames.push({ kind: kind as FrameKind, payload }));
  for (const chunk of chunks) reader.push(chunk);
  return frames;
}

/** Cut into pieces of these sizes, in turn. */
function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

const kinds = Object.values(FRAME_KIND).filter((kind) => kind !== FRAME_KIND.wake);
const frame = fc
  .record({ kind: fc.constantFrom(...kinds), payload: fc.uint8Array({ maxLength: 300 }) })
  .map(({ kind, payload }) => ({ kind, payload: Buffer.from(payload.subarray(0, maxPayloadBytes(kind))) }));

describe('FrameReader', () => {
  it('gives back every frame, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (frames, sizes) => {
        const bytes = Buffer.concat(frames.flatMap(({ kind, payload }) => [frameHeader(kind, payload.length), payload]));
        expect(read(cut(bytes, sizes))).toEqual(frames);
      }),
    );
  });

  it('never does anything but read or refuse', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          read([bytes]);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
    );
  });

  it('knows when it is inside a frame', () => {
    const reader = new FrameReader(() => {});
    const bytes = controlFrame(FRAME_KIND.done, { id: 1 });
    expect(reader.isInFrame).toBe(false);
    reader.push(bytes.subarray(0, 3));
    expect(reader.isInFrame).toBe(true);
    reader.push(bytes.subarray(3, 8));
    expect(reader.isInFrame).toBe(true);
    reader.push(bytes.subarray(8));
    expect(reader.isInFrame).toBe(false);
  });

  it('refuses unknown kinds and lengths over the bound before it allocates', () => {
    expect(() => read([Buffer.from([1, 0, 0, 0, 99])])).toThrow('unknown frame kind 99');
    expect(() => read([Buffer.from([0, 0, 0, 0, FRAME_KIND.done])])).toThrow(RangeError);
    expect(() => read([frameHeader(FRAME_KIND.done, MAX_CONTROL_BYTES + 1)])).toThrow(RangeError);
    expect(() => read([frameHeader(FRAME_KIND.wake, 1)])).toThrow(RangeError);
    expect(maxPayloadBytes(0)).toBe(-1);
    expect(() => controlFrame(FRAME_KIND.load, { text: 'x'.repeat(MAX_CONTROL_BYTES) })).toThrow(RangeError);
  });
});
