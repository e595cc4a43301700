import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeStatusMessage, MAX_STATUS_MESSAGE_BYTES } from './status-trailers.ts';

test('what fits comes back as it was, in printable ASCII', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (message) => {
      const encoded = encodeStatusMessage(message);
      expect(encoded).toMatch(/^[ -~]*$/);
      expect(decodeURIComponent(encoded)).toBe(message.toWellFormed());
    }),
  );
});

test.each(['a', 'ä', '€', '\u{1f980}', '%', 'aä\n'])('a message of many %j is cut between characters', (piece) => {
  for (const pad of ['', 'x', 'xx', 'xxx', 'xxxx']) {
    const message = pad + piece.repeat(5000);
    const encoded = encodeStatusMessage(message);
    expect(encoded.length).toBeLessThanOrEqual(MAX_STATUS_MESSAGE_BYTES);
    expect(encoded.length).toBeGreaterThan(MAX_STATUS_MESSAGE_BYTES - 15);
    expect(encoded.endsWith('...')).toBe(true);
    expect(message.startsWith(decodeURIComponent(encoded.slice(0, -3)))).toBe(true);
  }
});

test('a message of exactly the bound is not cut', () => {
  const message = 'x'.repeat(MAX_STATUS_MESSAGE_BYTES);
  expect(encodeStatusMessage(message)).toBe(message);
  expect(encodeStatusMessage(`${message}x`)).toHaveLength(MAX_STATUS_MESSAGE_BYTES);
});
