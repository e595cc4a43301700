import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type FrameListener, FrameReader, KEPT_HEAD_BYTES } from './frame-reader.ts';
import { BINARY, CLOSE, CONTINUATION, closePayload, PING, PONG, TEXT } from './frames.ts';

const MAX = 100_000;

class Log implements FrameListener {
  readonly lines: string[] = [];
  isGreedy = true;

  wantsAll(isText: boolean, bytes: Buffer, start: number, end: number): boolean {
    this.lines.push(`asked ${isText} ${bytes.toString('latin1', start, end).length}`);
    return this.isGreedy;
  }

  onMessage(isText: boolean, bytes: Buffer, start: number, end: number): void {
    this.lines.push(`${isText ? 'text' : 'binary'} ${bytes.toString('base64', start, end)}`);
  }

  onPing(bytes: Buffer, start: number, end: number): void {
    this.lines.push(`ping ${bytes.toString('base64', start, end)}`);
  }

  onCloseFrame(code: number, reason: string): void {
    this.lines.push(`close ${code} ${reason}`);
  }

  onFault(what: string): void {
    this.lines.push(`fault ${what}`);
  }

  get events(): string[] {
    return this.lines.filter((line) => !line.startsWith('asked'));
  }
}

/** As servers write it: no mask. */
function frame(opcode: number, payload: Uint8Array, isLast = true): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length <= 0xffff ? 4 : 10);
  head[0] = (isLast ? 0x80 : 0) | opcode;
  if (length < 126) head[1] = length;
  else if (length <= 0xffff) head.writeUInt16BE(length, head.writeUInt8(126, 1));
  else head.writeBigUInt64BE(BigInt(length), head.writeUInt8(127, 1));
  return Buffer.concat([head, payload]);
}

function read(bytes: Buffer, cuts: readonly number[], isGreedy = true): Log {
  const log = new Log();
  log.isGreedy = isGreedy;
  const reader = new FrameReader(log, MAX);
  // In a buffer that is written over for each read, as sockets have it.
  const shared = Buffer.alloc(bytes.length + 3);
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    shared.fill(0xee);
    bytes.copy(shared, 3, from, end);
    reader.push(shared, 3, 3 + end - from);
    from = end;
  }
  return log;
}

const piece = fc.oneof(
  { weight: 5, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  { weight: 1, arbitrary: fc.integer({ min: 65_000, max: 66_500 }).map((length) => new Uint8Array(length).fill(length & 0xff)) },
);
const ping = fc.uint8Array({ maxLength: 125 });
const message = fc.record({
  isText: fc.boolean(),
  pieces: fc.array(fc.record({ bytes: piece, pings: fc.array(ping, { maxLength: 2 }) }), { minLength: 1, maxLength: 4 }),
});

test('whatever the fragments and wherever the bytes are cut, messages come whole and in order', () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 5 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      fc.boolean(),
      (messages, cuts, isByteByByte) => {
        const frames: Buffer[] = [];
        const expected: string[] = [];
        for (const { isText, pieces } of messages) {
          const whole = Buffer.concat(pieces.map(({ bytes }) => bytes));
          if (whole.length > MAX) continue;
          for (const [index, { bytes, pings }] of pieces.entries()) {
            const opcode = index > 0 ? CONTINUATION : isText ? TEXT : BINARY;
            const isLast = index === pieces.length - 1;
            frames.push(frame(opcode, bytes, isLast));
            if (isLast) expected.push(`${isText ? 'text' : 'binary'} ${whole.toString('base64')}`);
            for (const payload of pings) {
              frames.push(frame(PING, payload), frame(PONG, payload));
              expected.push(`ping ${Buffer.from(payload).toString('base64')}`);
            }
          }
        }
        const bytes = Buffer.concat(frames);
        const isSmall = bytes.length < 2000;
        expect(read(bytes, isByteByByte && isSmall ? [...bytes.keys()] : cuts).events).toEqual(expected);
      },
    ),
    { numRuns: 150 },
  );
});

test('of a message that nobody wants, the beginning is kept', () => {
  const bytes = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i & 0xff));
  const kept = `binary ${bytes.subarray(0, KEPT_HEAD_BYTES).toString('base64')}`;
  const wire = Buffer.concat([
    frame(BINARY, bytes.subarray(0, 20_000), false),
    frame(CONTINUATION, bytes.subarray(20_000)),
    frame(TEXT, Buffer.from('{}')),
  ]);
  expect(read(wire, [1, 3, 4000, 5000, 30_000], false).lines).toEqual([
    'asked false 4096',
    kept,
    `text ${Buffer.from('{}').toString('base64')}`,
  ]);
});

test('a close frame ends the reading', () => {
  const wire = Buffer.concat([frame(CLOSE, closePayload(1001, 'going')), frame(TEXT, Buffer.from('{}'))]);
  expect(read(wire, []).lines).toEqual(['close 1001 going']);
  expect(read(frame(CLOSE, new Uint8Array(0)), []).lines).toEqual(['close 1005 ']);
});

test.each([
  ['reserved bits', Buffer.of(0xc1, 0), /reserved bits/],
  ['a mask', Buffer.of(0x81, 0x80, 0, 0, 0, 0), /masked/],
  ['a reserved opcode', Buffer.of(0x83, 0), /reserved opcode 3/],
  ['a continuation of nothing', Buffer.of(0x80, 0), /continuation of no message/],
  ['a message in a message', Buffer.of(0x01, 0, 0x81, 0), /within the fragments/],
  ['a ping in fragments', Buffer.of(0x09, 0), /control frame in fragments/],
  ['a long ping', frame(PING, new Uint8Array(126)), /control frame of 126 bytes/],
  ['too much', frame(BINARY, new Uint8Array(MAX + 1)), /message of 100001 bytes/],
  [
    'too much in fragments',
    Buffer.concat([frame(BINARY, new Uint8Array(MAX), false), frame(CONTINUATION, new Uint8Array(1))]),
    /100001 bytes/,
  ],
  ['a length of 64 bits', Buffer.of(0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255), /a message of/],
])('%s is a fault, told once', (_, bytes, what) => {
  const log = read(Buffer.concat([bytes, frame(TEXT, Buffer.from('{}'))]), [1]);
  expect(log.events).toHaveLength(1);
  expect(log.events[0]).toMatch(/^fault /);
  expect(log.events[0]).toMatch(what);
});

test('a reason that is cut is still UTF-8', () => {
  const payload = closePayload(1002, 'ü'.repeat(100));
  expect(payload.length).toBeLessThanOrEqual(125);
  expect(new TextDecoder('utf-8', { fatal: true }).decode(payload.subarray(2))).toBe('ü'.repeat(61));
});
