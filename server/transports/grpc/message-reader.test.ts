import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InferenceError } from '../../../proto/inference-error.ts';
import { MessageReader, type MessageSink } from './message-reader.ts';

class Sink implements MessageSink {
  readonly messages: [string, boolean][] = [];
  error: InferenceError | null = null;
  reservedBytes = 0;
  room = Number.POSITIVE_INFINITY;
  onTaken: () => void = () => {};

  reserve(bytes: number): boolean {
    this.reservedBytes += bytes;
    return this.reservedBytes <= this.room;
  }

  assemble(parts: readonly Buffer[], bytes: number): Buffer {
    return Buffer.concat(parts, bytes);
  }

  onMessage(message: Buffer, isCompressed: boolean): void {
    this.messages.push([message.toString('latin1'), isCompressed]);
    this.onTaken();
  }

  onBadFraming(error: InferenceError): void {
    this.error = error;
  }
}

function encode(messages: readonly (readonly [string, boolean])[]): Buffer {
  return Buffer.concat(
    messages.flatMap(([text, isCompressed]) => {
      const head = Buffer.alloc(5);
      head[0] = isCompressed ? 1 : 0;
      head.writeUInt32BE(text.length, 1);
      return [head, Buffer.from(text, 'latin1')];
    }),
  );
}

const anyMessages = fc.array(fc.tuple(fc.string({ unit: 'binary-ascii', maxLength: 2000 }), fc.boolean()), { maxLength: 8 });

/** The bytes, cut at random places into buffers of their own. */
function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes.length === 0 ? bytes.length : sizes[i % sizes.length]!;
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}

describe('MessageReader', () => {
  test('finds the messages however the bytes are cut', () => {
    fc.assert(
      fc.property(anyMessages, fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 10 }), (messages, sizes) => {
        const sink = new Sink();
        const reader = new MessageReader(sink, 2000);
        const bytes = encode(messages);
        for (const piece of cut(bytes, sizes)) reader.read(piece);
        expect(sink.messages).toEqual(messages);
        expect(sink.reservedBytes).toBe(messages.reduce((sum, [text]) => sum + text.length, 0));
        expect([reader.isBetweenMessages, reader.receivedBytes, sink.error]).toEqual([true, bytes.length, null]);
      }),
    );
  });

  test('gives out none while held, and loses none', () => {
    fc.assert(
      fc.property(anyMessages, fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 10 }), (messages, sizes) => {
        const sink = new Sink();
        const reader = new MessageReader(sink, 2000);
        sink.onTaken = () => {
          reader.isHeld = true;
        };
        const pieces = cut(encode(messages), sizes);
        for (let taken = 0; taken < messages.length; taken++) {
          while (sink.messages.length === taken) {
            if (reader.isHeld) reader.release();
            else reader.read(pieces.shift()!);
          }
          expect(sink.messages).toHaveLength(taken + 1);
        }
        for (const piece of pieces) reader.read(piece);
        expect(sink.messages).toEqual(messages);
      }),
    );
  });

  test('a message in one piece is not copied', () => {
    const bytes = encode([['abc', false]]);
    let message: Buffer | null = null;
    const sink = new Sink();
    sink.onMessage = (received) => {
      message = received;
    };
    new MessageReader(sink, 10).read(bytes);
    expect(message!.buffer).toBe(bytes.buffer);
  });

  test('300 KB in pieces of one byte takes memory for itself, not for its pieces', () => {
    const sink = new Sink();
    const reader = new MessageReader(sink, 1_000_000);
    const bytes = encode([['x'.repeat(300_000), false]]);
    for (const byte of bytes) reader.read(Buffer.from([byte]));
    expect(sink.messages).toEqual([['x'.repeat(300_000), false]]);
  });

  test('refuses at the prefix, and reads nothing after', () => {
    for (const [prefix, text] of [
      [[0, 0xff, 0xff, 0xff, 0xff], '4294967295 bytes long, more than the 10 bytes'],
      [[0, 0, 0, 0, 11], '11 bytes long, more than the 10 bytes'],
      [[2], 'got 2'],
    ] as const) {
      const sink = new Sink();
      const reader = new MessageReader(sink, 10);
      reader.read(Buffer.from(prefix));
      expect(sink.error!.message).toContain(text);
      reader.read(encode([['a', false]]));
      expect([sink.messages, sink.reservedBytes]).toEqual([[], 0]);
    }
  });

  test('stops where there is no room', () => {
    const sink = new Sink();
    sink.room = 5;
    const reader = new MessageReader(sink, 10);
    for (const text of ['abc', 'def', 'g']) reader.read(encode([[text, false]]));
    expect(sink.messages).toEqual([['abc', false]]);
  });

  test('knows when it is inside a message', () => {
    const bytes = encode([['abc', false]]);
    for (let length = 0; length <= bytes.length; length++) {
      const reader = new MessageReader(new Sink(), 10);
      reader.read(bytes.subarray(0, length));
      expect(reader.isBetweenMessages).toBe(length === 0 || length === bytes.length);
    }
  });
});
