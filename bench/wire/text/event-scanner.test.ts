import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventScanner } from './event-scanner.ts';

/** The data of the events in `bytes`, cut at `cuts`, through a buffer that is used again for each piece. */
function eventsOf(bytes: Buffer, cuts: readonly number[] = []): string[] {
  const events: string[] = [];
  const scanner = new EventScanner({ onEvent: (piece, from, to) => events.push(piece.toString('utf8', from, to)) });
  scanner.begin();
  const shared = Buffer.alloc(bytes.length + 3);
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const end of [...ends, bytes.length]) {
    bytes.copy(shared, 3, from, end);
    scanner.feed(shared, 3, 3 + end - from);
    shared.fill(0xee);
    from = end;
  }
  scanner.end();
  expect(scanner.fault).toBe('');
  return events;
}

/** As the standard says it, on the whole text. */
function oracle(text: string): string[] {
  const events: string[] = [];
  let data: string[] = [];
  for (const line of [...text.split(/\r\n|\n|\r/), '']) {
    if (line === '') {
      if (data.length > 0) events.push(data.join('\n'));
      data = [];
    } else if (line === 'data') data.push('');
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  return events;
}

describe('events', () => {
  test.each([
    ['data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', '[DONE]']],
    ['data:x\r\n\r\ndata:  y\r\n\r\n', ['x', ' y']],
    ['data: x\r\rdata: y\r\r', ['x', 'y']],
    [': comment\n\nevent: token\nid: 7\ndata: {"t":"é"}\nretry: 1\n\n', ['{"t":"é"}']],
    ['data: a\ndata\ndata: b\n\n', ['a\n\nb']],
    ['database: x\n\ndata: y\n', ['y']],
    ['data: no line end', ['no line end']],
    ['data:\n\n', ['']],
    ['', []],
  ])('%j', (text, events) => {
    const bytes = Buffer.from(text);
    expect(eventsOf(bytes)).toEqual(events);
    expect(oracle(text)).toEqual(events);
    expect(eventsOf(bytes, Array.from(bytes.keys()))).toEqual(events);
  });

  test('any stream, cut anywhere', () => {
    const line = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 8 }).map((text) => `data: ${text.replaceAll(/[\r\n]/g, '')}`),
      fc.constantFrom('', '', 'data', 'data:', 'data:x', ': c', 'event: e', 'dat', 'datax: 1'),
    );
    const stream = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 30 });
    fc.assert(
      fc.property(stream, fc.array(fc.nat(400), { maxLength: 10 }), (lines, cuts) => {
        const text = lines.map(([one, end]) => one + end).join('');
        expect(eventsOf(Buffer.from(text), cuts)).toEqual(oracle(text));
      }),
      { numRuns: 1000 },
    );
  });
});

test('an event without an end is bounded, and the next stream is read again', () => {
  const events: string[] = [];
  const scanner = new EventScanner({ onEvent: (bytes, from, to) => events.push(bytes.toString('utf8', from, to)) });
  scanner.begin();
  const piece = Buffer.alloc(1024 * 1024, 'data');
  for (let i = 0; i < 18; i++) scanner.feed(piece, 0, piece.length);
  expect(scanner.fault).toBe('an event of more than 16777216 bytes');
  scanner.end();
  expect(events).toEqual([]);
  scanner.begin();
  const bytes = Buffer.from('data: x\n\n');
  scanner.feed(bytes, 0, bytes.length);
  expect(events).toEqual(['x']);
});
