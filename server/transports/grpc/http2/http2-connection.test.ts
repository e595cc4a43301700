import { connect, type OutgoingHttpHeaders } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as h2 from '../../../../proto/http2-frames.ts';
import { OutputBlocks } from './connection-output.ts';
import { encodeHeaderBlock } from './header-block.ts';
import { Http2Connection } from './http2-connection.ts';
import { frameBytes, Http2Fixture, LIMITS, REQUEST_BLOCK, word } from './http2-fixture.ts';
import type { Http2Stream } from './http2-stream.ts';
import type { RequestHeaders } from './request-headers.ts';

const EMPTY = Buffer.alloc(0);
const END = h2.END_HEADERS | h2.END_STREAM;

function started(answers = true, settings: Uint8Array = EMPTY): Http2Fixture {
  const fixture = new Http2Fixture(answers);
  fixture.start(settings);
  return fixture;
}

/** The code of the only GOAWAY; -1: none. */
function goAwayCode(fixture: Http2Fixture): number {
  const [frame] = fixture.ofType(h2.GOAWAY);
  return frame === undefined ? -1 : (frame.payload as Buffer).readUInt32BE(4);
}

function resets(fixture: Http2Fixture): [number, number][] {
  return fixture.ofType(h2.RST_STREAM).map(({ streamId, payload }) => [streamId, (payload as Buffer).readUInt32BE(0)]);
}

const open = (id: number, flags: number = h2.END_HEADERS): Buffer => frameBytes(h2.HEADERS, flags, id, REQUEST_BLOCK);
const data = (id: number, bytes: number, flags = 0): Buffer => frameBytes(h2.DATA, flags, id, Buffer.alloc(bytes));
const block = (fields: Record<string, string>): Buffer => frameBytes(h2.HEADERS, END, 1, encodeHeaderBlock(fields));
const SOUND = { ':method': 'POST', ':scheme': 'http', ':path': '/' };

describe('what ends the connection', () => {
  test.each<[string, Buffer[], number]>([
    ['DATA on stream 0', [data(0, 1)], h2.PROTOCOL_ERROR],
    ['DATA on a stream that was never open', [data(1, 1)], h2.PROTOCOL_ERROR],
    ['HEADERS on an even stream', [open(2)], h2.PROTOCOL_ERROR],
    ['HEADERS on a stream that was jumped over', [open(5), open(3)], h2.PROTOCOL_ERROR],
    ['HEADERS on a stream that both sides have ended', [open(1, END), open(1, END)], h2.STREAM_CLOSED],
    [
      'HEADERS that depend on themselves',
      [frameBytes(h2.HEADERS, END | h2.HAS_PRIORITY, 1, Buffer.concat([word(1), Buffer.from([0]), REQUEST_BLOCK]))],
      h2.PROTOCOL_ERROR,
    ],
    ['more padding than a HEADERS frame has', [frameBytes(h2.HEADERS, END | h2.PADDED, 1, Buffer.from([9, 1, 2]))], h2.PROTOCOL_ERROR],
    ['a header block that is no HPACK', [frameBytes(h2.HEADERS, END, 1, Buffer.from([0x80]))], h2.COMPRESSION_ERROR],
    ['CONTINUATION of nothing', [frameBytes(h2.CONTINUATION, 0, 1, EMPTY)], h2.PROTOCOL_ERROR],
    ['another frame inside a header block', [open(1, 0), frameBytes(h2.PING, 0, 0, Buffer.alloc(8))], h2.PROTOCOL_ERROR],
    ['DATA inside a header block', [open(1, 0), data(1, 1)], h2.PROTOCOL_ERROR],
    ['CONTINUATION of another stream', [open(1, 0), frameBytes(h2.CONTINUATION, h2.END_HEADERS, 3, EMPTY)], h2.PROTOCOL_ERROR],
    ['RST_STREAM of a stream that was never open', [frameBytes(h2.RST_STREAM, 0, 1, word(8))], h2.PROTOCOL_ERROR],
    ['RST_STREAM of three bytes', [open(1), frameBytes(h2.RST_STREAM, 0, 1, Buffer.alloc(3))], h2.FRAME_SIZE_ERROR],
    ['SETTINGS on a stream', [frameBytes(h2.SETTINGS, 0, 1, EMPTY)], h2.PROTOCOL_ERROR],
    ['SETTINGS of five bytes', [frameBytes(h2.SETTINGS, 0, 0, Buffer.alloc(5))], h2.FRAME_SIZE_ERROR],
    ['an acknowledgement that says something', [frameBytes(h2.SETTINGS, h2.ACK, 0, Buffer.alloc(6))], h2.FRAME_SIZE_ERROR],
    ['push that is neither on nor off', [frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 2, 0, 0, 0, 2]))], h2.PROTOCOL_ERROR],
    ['a window that is too large', [frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 4, 0x80, 0, 0, 0]))], h2.FLOW_CONTROL_ERROR],
    ['frames that are too small', [frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 5, 0, 0, 0x3f, 0xff]))], h2.PROTOCOL_ERROR],
    ['PUSH_PROMISE', [open(1), frameBytes(h2.PUSH_PROMISE, 0, 1, Buffer.alloc(4))], h2.PROTOCOL_ERROR],
    ['PING of seven bytes', [frameBytes(h2.PING, 0, 0, Buffer.alloc(7))], h2.FRAME_SIZE_ERROR],
    ['PING on a stream', [frameBytes(h2.PING, 0, 1, Buffer.alloc(8))], h2.PROTOCOL_ERROR],
    ['GOAWAY on a stream', [frameBytes(h2.GOAWAY, 0, 1, Buffer.alloc(8))], h2.PROTOCOL_ERROR],
    ['GOAWAY of seven bytes', [frameBytes(h2.GOAWAY, 0, 0, Buffer.alloc(7))], h2.FRAME_SIZE_ERROR],
    ['WINDOW_UPDATE of no bytes', [frameBytes(h2.WINDOW_UPDATE, 0, 0, word(0))], h2.PROTOCOL_ERROR],
    ['WINDOW_UPDATE over 2 GiB', [frameBytes(h2.WINDOW_UPDATE, 0, 0, word(0x7fff_ffff))], h2.FLOW_CONTROL_ERROR],
    ['PRIORITY of four bytes', [frameBytes(h2.PRIORITY, 0, 1, Buffer.alloc(4))], h2.FRAME_SIZE_ERROR],
  ])('%s', async (_what, frames, code) => {
    const fixture = started();
    fixture.receive(...frames);
    await fixture.settle();
    expect(goAwayCode(fixture)).toBe(code);
    expect(fixture.faults).toEqual([]);
    expect(fixture.requests.every(({ closed }) => closed === 1)).toBe(true);
  });

  test('a first frame that is not SETTINGS', async () => {
    const fixture = new Http2Fixture();
    fixture.receive(h2.PREFACE, open(1));
    await fixture.settle();
    expect(goAwayCode(fixture)).toBe(h2.PROTOCOL_ERROR);
    expect(fixture.requests).toHaveLength(0);
  });
});

describe('what ends a stream', () => {
  test.each<[string, Buffer[], number]>([
    ['a header name in upper case', [block({ ...SOUND, 'X-Test': 'y' })], h2.PROTOCOL_ERROR],
    ['a pseudo-header behind others', [block({ te: 'trailers', ...SOUND })], h2.PROTOCOL_ERROR],
    ['a pseudo-header that is none', [block({ ...SOUND, ':status': '200' })], h2.PROTOCOL_ERROR],
    ['no path', [block({ ':method': 'POST', ':scheme': 'http' })], h2.PROTOCOL_ERROR],
    ['an empty path', [block({ ...SOUND, ':path': '' })], h2.PROTOCOL_ERROR],
    ['a field of the connection', [block({ ...SOUND, connection: 'close' })], h2.PROTOCOL_ERROR],
    ['te that is not trailers', [block({ ...SOUND, te: 'gzip' })], h2.PROTOCOL_ERROR],
    ['a line break in a value', [block({ ...SOUND, 'x-test': 'a\nb' })], h2.PROTOCOL_ERROR],
    ['a length that is no number', [block({ ...SOUND, 'content-length': '1e3' })], h2.PROTOCOL_ERROR],
    ['a length of bytes that do not come', [block({ ...SOUND, 'content-length': '1' })], h2.PROTOCOL_ERROR],
    [
      'too many fields',
      [block(Object.fromEntries([...Object.entries(SOUND), ...Array.from({ length: 200 }, (_, i) => [`x-${i}`, 'y'])]))],
      h2.ENHANCE_YOUR_CALM,
    ],
    [
      'too long a field',
      [
        frameBytes(h2.HEADERS, h2.END_STREAM, 1, encodeHeaderBlock({ ...SOUND, x: 'y'.repeat(16_000) })),
        frameBytes(h2.CONTINUATION, h2.END_HEADERS, 1, encodeHeaderBlock({ z: 'y'.repeat(9000) })),
      ],
      h2.ENHANCE_YOUR_CALM,
    ],
    ['DATA behind its end', [open(1, END), data(1, 1)], h2.STREAM_CLOSED],
    ['trailers behind its end', [open(1, END), open(1, END)], h2.STREAM_CLOSED],
    [
      'trailers that are not the end',
      [open(1), frameBytes(h2.HEADERS, h2.END_HEADERS, 1, encodeHeaderBlock({ x: 'y' }))],
      h2.PROTOCOL_ERROR,
    ],
    ['trailers with a pseudo-header', [open(1), open(1, END)], h2.PROTOCOL_ERROR],
    ['WINDOW_UPDATE of no bytes', [open(1), frameBytes(h2.WINDOW_UPDATE, 0, 1, word(0))], h2.PROTOCOL_ERROR],
    ['WINDOW_UPDATE over 2 GiB', [open(1), frameBytes(h2.WINDOW_UPDATE, 0, 1, word(0x7fff_ffff))], h2.FLOW_CONTROL_ERROR],
    ['more DATA than its window lets in', [open(1), ...Array.from({ length: 7 }, () => data(1, 16_384))], h2.FLOW_CONTROL_ERROR],
  ])('%s', async (_what, frames, code) => {
    const fixture = started(false);
    // It keeps what it gets, so its window does not open again.
    fixture.onRequest = (stream: Http2Stream) => {
      stream.handler = { onData: () => {}, onRequestEnd: () => {}, onDrain: () => {}, onClose: () => {} };
    };
    fixture.receive(...frames);
    fixture.receive(frameBytes(h2.PING, 0, 0, Buffer.alloc(8)));
    await fixture.settle();
    expect(resets(fixture)).toEqual([[1, code]]);
    expect([goAwayCode(fixture), fixture.ofType(h2.PING).length]).toEqual([-1, 1]);
  });

  test('a stream over the limit is refused, and those before it go on', async () => {
    const fixture = started(false);
    for (let i = 0; i <= LIMITS.maxStreams; i++) fixture.receive(open(2 * i + 1));
    await fixture.settle();
    expect(resets(fixture)).toEqual([[2 * LIMITS.maxStreams + 1, h2.REFUSED_STREAM]]);
    expect(fixture.requests).toHaveLength(LIMITS.maxStreams);
  });

  test('what is on its way on a stream that this side has reset is passed over', async () => {
    const fixture = started(false);
    fixture.receive(open(1));
    fixture.requests[0]!.stream.reset(h2.CANCEL);
    fixture.receive(data(1, 100), open(1, END), frameBytes(h2.WINDOW_UPDATE, 0, 1, word(1)), frameBytes(h2.RST_STREAM, 0, 1, word(8)));
    await fixture.settle();
    expect(resets(fixture)).toEqual([[1, h2.CANCEL]]);
    expect([goAwayCode(fixture), fixture.requests[0]!.closed]).toEqual([-1, 1]);
  });
});

describe('windows', () => {
  test('an answer waits for them, byte for byte', async () => {
    const fixture = started(true, Buffer.from([0, 4, 0, 0, 0, 3]));
    fixture.receive(open(1), data(1, 100, h2.END_STREAM));
    await fixture.settle();
    const sizes = (): unknown[] => fixture.ofType(h2.DATA).map(({ payload }) => payload);
    expect(sizes()).toEqual([3]);
    fixture.receive(frameBytes(h2.WINDOW_UPDATE, 0, 1, word(1)));
    await fixture.settle();
    // The window of all streams becomes smaller, and larger again.
    fixture.receive(frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])), frameBytes(h2.WINDOW_UPDATE, 0, 1, word(3)));
    await fixture.settle();
    expect(sizes()).toEqual([3, 1]);
    fixture.receive(frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 200])));
    await fixture.settle();
    expect(sizes()).toEqual([3, 1, 101]);
    expect([fixture.requests[0]!.closed, resets(fixture)]).toEqual([1, []]);
  });

  test('a client that has a smaller header table is told that it stays empty, once', async () => {
    const fixture = started(true, Buffer.from([0, 1, 0, 0, 0, 0]));
    fixture.receive(open(1, END), open(3, END));
    await fixture.settle();
    expect(fixture.ofType(h2.HEADERS).map(({ payload }) => (payload as Buffer)[0])).toEqual([0x20 | 0, 0, 0x88, 0]);
  });
});

describe('any bytes', () => {
  const anyPayload = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constant(Uint8Array.from(REQUEST_BLOCK)),
    fc.nat({ max: 2 ** 31 }).map((value) => Uint8Array.from(word(value))),
  );
  const anyFrame = fc
    .tuple(fc.integer({ min: 0, max: 10 }), fc.constantFrom(0, 1, 4, 5, 8, 12, 13, 32, 37, 255), fc.integer({ min: 0, max: 9 }), anyPayload)
    .map(([type, flags, streamId, payload]) => frameBytes(type, flags, streamId, payload));

  test('never make it throw, leave a stream half closed, or send what its windows do not allow', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyFrame, { maxLength: 40 }),
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        async (frames, size, answers) => {
          const fixture = started(answers);
          const bytes = Buffer.concat(frames);
          for (let at = 0; at < bytes.length; at += size) fixture.receive(bytes.subarray(at, at + size));
          await fixture.settle();
          fixture.destroy();
          await fixture.settle();
          expect(fixture.faults).toEqual([]);
          expect(fixture.isClosed).toBe(true);
          expect(fixture.requests.every(({ closed }) => closed === 1)).toBe(true);
          expect(fixture.ofType(h2.GOAWAY).length).toBeLessThan(3);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('of a sound client, with some of them changed, neither', async () => {
    const half = REQUEST_BLOCK.length >> 1;
    const session = Buffer.concat([
      frameBytes(h2.HEADERS, 0, 1, REQUEST_BLOCK.subarray(0, half)),
      frameBytes(h2.CONTINUATION, h2.END_HEADERS, 1, REQUEST_BLOCK.subarray(half)),
      data(1, 100),
      frameBytes(h2.DATA, h2.PADDED, 1, Buffer.concat([Buffer.from([20]), Buffer.alloc(50)])),
      open(3),
      frameBytes(h2.SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 9, 0, 5, 0, 0, 0x40, 0])),
      data(3, 40, h2.END_STREAM),
      frameBytes(h2.WINDOW_UPDATE, 0, 3, word(20)),
      data(1, 1, h2.END_STREAM),
      frameBytes(h2.HEADERS, h2.END_HEADERS | h2.HAS_PRIORITY, 5, Buffer.concat([word(3), Buffer.from([9]), REQUEST_BLOCK])),
      frameBytes(h2.RST_STREAM, 0, 5, word(h2.CANCEL)),
      frameBytes(h2.PING, 0, 0, Buffer.alloc(8)),
    ]);
    const anyChange = fc.tuple(fc.nat({ max: session.length - 1 }), fc.nat({ max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(anyChange, { maxLength: 6 }), fc.integer({ min: 1, max: 200 }), async (changes, size) => {
        const fixture = started();
        const bytes = Buffer.from(session);
        for (const [at, value] of changes) bytes[at] = value;
        for (let at = 0; at < bytes.length; at += size) fixture.receive(Buffer.from(bytes.subarray(at, at + size)));
        await fixture.settle();
        if (changes.length === 0) expect(fixture.requests.map(({ isEnded }) => isEnded)).toEqual([true, true, false]);
        fixture.destroy();
        await fixture.settle();
        expect([fixture.faults, fixture.isClosed]).toEqual([[], true]);
        expect(fixture.requests.every(({ closed }) => closed === 1)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('end in the same whether they come at once or one by one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyFrame, { maxLength: 15 }), async (frames) => {
        const [whole, cut] = [started(), started()];
        const bytes = Buffer.concat(frames);
        whole.receive(bytes);
        for (const byte of bytes) cut.receive(Buffer.from([byte]));
        await whole.settle();
        expect(cut.sent).toEqual(whole.sent);
        whole.destroy();
        cut.destroy();
      }),
      { numRuns: 300 },
    );
  });
});

test('reads the headers that node:http2 encodes, its dynamic table and all', async () => {
  const received: RequestHeaders[] = [];
  const server = createServer((socket) => {
    const connection = new Http2Connection(socket, LIMITS, new OutputBlocks(), {
      onReady: () => {},
      onRequest: (stream) => {
        received.push(stream.headers);
        stream.sendEnd(encodeHeaderBlock({ ':status': '204' }));
      },
      onPong: () => {},
      onClosed: () => {},
      onFault: (error) => {
        throw error;
      },
    });
    expect(connection.isOver).toBe(false);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const request = (headers: OutgoingHttpHeaders): Promise<void> =>
    new Promise((resolve, reject) => session.request(headers, { endStream: true }).on('error', reject).on('close', resolve).resume());
  const anyName = fc.stringMatching(/^x-[a-c]{1,3}$/);
  const anyValue = fc.oneof(fc.stringMatching(/^[!-~]([ -~]{0,40}[!-~])?$/), fc.constantFrom('', 'same', 'a'.repeat(300)));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(anyName, anyValue, { maxKeys: 12 }), fc.stringMatching(/^\/[a-z/]{0,30}$/), async (fields, path) => {
      await request({ ':method': 'POST', ':path': path, ...fields });
      const headers = received.pop()!;
      expect([headers.method, headers.path]).toEqual(['POST', path]);
      expect(Object.fromEntries(Object.keys(fields).map((name) => [name, headers.get(name)]))).toEqual({ ...fields });
    }),
    { numRuns: 200 },
  );
  await new Promise<void>((resolve) => session.close(resolve));
  await new Promise((resolve) => server.close(resolve));
});
