import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResponseParser } from './response-parser.ts';

interface Read {
  readonly status: number;
  readonly jsonBytes: number;
  readonly keepsAlive: boolean;
  readonly isDone: boolean;
  readonly fault: string;
  readonly body: string;
  readonly heard: string;
  /** Bytes behind the answer. */
  readonly left: number;
}

/** Reads `bytes` cut at `cuts`, through a buffer that is used again for each piece, as sockets do; `closes`: the connection ends behind them. */
function read(bytes: Buffer, cuts: readonly number[], closes = false, keepsBody = true): Read {
  const heard: Buffer[] = [];
  const parser = new ResponseParser({ onBody: (piece, from, to) => heard.push(Buffer.from(piece.subarray(from, to))) });
  parser.begin(keepsBody);
  const shared = Buffer.alloc(bytes.length);
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  let left = 0;
  let body = '';
  for (const end of [...ends, bytes.length]) {
    bytes.copy(shared, 0, from, end);
    const wasDone = parser.isDone;
    const at = parser.parse(shared, 0, end - from);
    if (parser.isDone && !wasDone) body = parser.body.toString('latin1');
    left += end - from - at;
    shared.fill(0xee);
    from = end;
  }
  if (closes && !parser.isDone && parser.finish()) body = parser.body.toString('latin1');
  const { status, jsonBytes, keepsAlive, isDone, fault } = parser;
  return { status, jsonBytes, keepsAlive, isDone, fault, body, heard: Buffer.concat(heard).toString('latin1'), left };
}

const whole = (text: string, closes = false): Read => read(Buffer.from(text, 'latin1'), [], closes);
const allCuts = (length: number): number[] => Array.from({ length }, (_, i) => i + 1);

/** What Node's server writes. */
async function rawAnswer(listener: RequestListener): Promise<Buffer> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  try {
    socket.end('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n');
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    return Buffer.concat(pieces);
  } finally {
    socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

describe('any cutting of an answer gives the same', () => {
  const text = `${'x'.repeat(300)}\r\n\r\n0\r\n`;
  const answers: Record<string, RequestListener> = {
    'content-length': (_, response) => response.writeHead(200, { 'content-length': text.length }).end(text),
    chunked: (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const size of [1, 15, 16, 200, text.length]) response.write(text.slice(0, size));
      response.end();
    },
    'chunked with trailers': (_, response) => {
      response.writeHead(200, { trailer: 'x-end', 'transfer-encoding': 'chunked' });
      response.write(text);
      response.addTrailers({ 'x-end': 'yes' });
      response.end();
    },
    'an interim answer before it': (_, response) => {
      response.writeProcessing();
      response.writeEarlyHints({ link: '</a>; rel=preload' });
      response.writeHead(200, { 'inference-header-content-length': '123', 'content-length': text.length }).end(text);
    },
    'without a body': (_, response) => response.writeHead(204).end(),
    'an empty body': (_, response) => response.writeHead(200, { 'content-length': 0 }).end(),
    error: (_, response) => response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"no"}'),
    'connection: close': (_, response) => response.writeHead(200, { connection: 'close', 'content-length': 3 }).end('abc'),
  };

  test.each(Object.entries(answers))('%s', async (name, listener) => {
    const bytes = await rawAnswer(listener);
    const once = read(bytes, []);
    expect(once).toMatchObject({ isDone: true, fault: '', left: 0, jsonBytes: name.includes('interim') ? 123 : -1 });
    expect(once.status).toBe(Number(/HTTP\/1\.1 ([2-5]\d\d)/.exec(bytes.toString('latin1'))![1]));
    expect(once.keepsAlive).toBe(!/connection: close/i.test(bytes.toString('latin1')));
    if (name === 'content-length' || name.includes('trailers') || name.includes('interim')) expect(once.body).toBe(text);
    if (name === 'error') expect(once).toMatchObject({ body: '{"error":"no"}', heard: '' });
    else expect(once.heard).toBe(once.body);
    expect(read(bytes, allCuts(bytes.length))).toEqual(once);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 12 }), (cuts) => {
        expect(read(bytes, cuts)).toEqual(once);
      }),
    );
    // Its own bytes end the answer, wherever others begin.
    const two = Buffer.concat([bytes, bytes]);
    fc.assert(
      fc.property(fc.array(fc.nat(two.length), { maxLength: 6 }), (cuts) => {
        expect(read(two, cuts)).toEqual({ ...once, left: bytes.length });
      }),
    );
  });

  test('one that ends with the connection', () => {
    const bytes = Buffer.from('HTTP/1.0 200 OK\r\nServer: x\r\n\r\nall of it');
    const once = read(bytes, [], true);
    expect(once).toMatchObject({ status: 200, isDone: true, keepsAlive: false, body: 'all of it', heard: 'all of it' });
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 6 }), (cuts) => {
        expect(read(bytes, cuts, true)).toEqual(once);
      }),
    );
  });

  test('and no cutting hangs or throws on bytes that were changed', () => {
    const good = Buffer.from(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n5;a=b\r\nabcde\r\n0\r\nX: y\r\n\r\n',
    );
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.array(fc.nat(good.length), { maxLength: 5 }), (at, byte, cuts) => {
        const bytes = Buffer.from(good);
        bytes[at] = byte;
        const { left, ...once } = read(bytes, []);
        const { left: ofCut, ...cut } = read(bytes, cuts);
        // Of a head that is none the reader lets go where it sees it.
        if (once.fault === '') expect(ofCut).toBe(left);
        else expect(once.isDone).toBe(false);
        expect(cut).toEqual(once);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('heads', () => {
  test('names in any case, spaces, LF alone, no reason', () => {
    expect(whole('HTTP/1.1 200\ncONTENT-lENGTH:\t 2 \nX-Content-Length: 9\n\nab')).toMatchObject({ status: 200, body: 'ab', isDone: true });
    expect(whole('\r\nHTTP/1.1 404 Not Found At All\r\nContent-Length:0\r\n\r\n')).toMatchObject({ status: 404, isDone: true, left: 0 });
  });

  test('the connection', () => {
    const keeps = (head: string): boolean => whole(`${head}\r\ncontent-length: 0\r\n\r\n`).keepsAlive;
    expect(keeps('HTTP/1.1 200 OK')).toBe(true);
    expect(keeps('HTTP/1.1 200 OK\r\nConnection: Keep-Alive')).toBe(true);
    expect(keeps('HTTP/1.1 200 OK\r\nConnection: x, CLOSE')).toBe(false);
    expect(keeps('HTTP/1.1 200 OK\r\nConnection: closed')).toBe(true);
    expect(keeps('HTTP/1.0 200 OK')).toBe(false);
    expect(keeps('HTTP/1.0 200 OK\r\nConnection: keep-alive')).toBe(true);
    expect(whole('HTTP/1.1 200 OK\r\n\r\nabc')).toMatchObject({ isDone: false, keepsAlive: false });
  });

  test('chunked wins over a length, and other codings end with the connection', () => {
    expect(whole('HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n')).toMatchObject({
      body: 'a',
      isDone: true,
    });
    expect(whole('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: gzip\r\n\r\nabc', true)).toMatchObject({
      body: 'abc',
      keepsAlive: false,
    });
  });

  test.each([
    ['GET / HTTP/1.1\r\n\r\n', 'expected a status line of HTTP/1.1, got "GET / HTTP/1.1"'],
    ['HTTP/2 200\r\n\r\n', 'expected a status line'],
    ['HTTP/1.1 2000 OK\r\n\r\n', 'expected a status line'],
    ['HTTP/1.1 099 OK\r\n\r\n', 'expected a status line'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n', 'content-length: expected one number, got "5, 5"'],
    ['HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n', 'content-length: expected one number'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n', 'content-length: expected one number'],
    ['HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n', 'content-length: expected one number'],
    ['HTTP/1.1 200 OK\r\ninference-header-content-length: x\r\n\r\n', 'inference-header-content-length is no number'],
    ['HTTP/1.1 101 Switching Protocols\r\n\r\n', 'the server changed protocols'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n', 'expected the size of a chunk, got byte 0x78'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n', 'a chunk is longer than its size says'],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffff\r\n', 'a chunk of more than 2^40 bytes'],
    [`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;${'x'.repeat(70_000)}`, 'bytes of chunk extensions and trailers'],
  ])('%j is no answer', (text, fault) => {
    const once = whole(text);
    expect(once.fault).toContain(fault);
    expect(once.isDone).toBe(false);
    expect(read(Buffer.from(text), [1, 5, 20, 40]).fault).toBe(once.fault);
  });

  test('a head is bounded', () => {
    const bytes = Buffer.from(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(70_000)}`);
    expect(read(bytes, [1000, 2000]).fault).toBe('a head of more than 65536 bytes');
  });

  test('an answer that is cut is not complete when the connection ends', () => {
    for (const text of [
      '',
      'HTTP/1.1 200 OK\r\n',
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n',
    ]) {
      expect(whole(text, true).isDone).toBe(false);
    }
  });
});

describe('bodies', () => {
  test('are not kept unless asked for, but for errors, of which the beginning is', () => {
    const body = 'e'.repeat(100_000);
    const answer = (status: number): Buffer => Buffer.from(`HTTP/1.1 ${status} X\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    expect(read(answer(200), [5000, 6000], false, false)).toMatchObject({ isDone: true, body: '', heard: body });
    expect(read(answer(200), [5000, 6000], false, true)).toMatchObject({ isDone: true, body });
    expect(read(answer(500), [5000, 6000], false, false)).toMatchObject({ isDone: true, body: body.slice(0, 65_536), heard: '' });
  });

  test('one parser reads one answer after the other', () => {
    const parser = new ResponseParser(null);
    for (const body of ['first one, longer', '', 'x', 'y'.repeat(2_000_000), 'z']) {
      const bytes = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      parser.begin(true);
      expect(parser.parse(bytes, 0, 30)).toBe(30);
      expect(parser.parse(bytes, 30, bytes.length)).toBe(bytes.length);
      expect(parser.isDone).toBe(true);
      expect(parser.body.toString()).toBe(body);
    }
  });
});
