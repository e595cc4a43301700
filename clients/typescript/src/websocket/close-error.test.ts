import { expect, test } from 'vitest';
import { errorFromClose } from './close-error.ts';

const url = 'ws://a/v2/ws';

test('a lost connection names the size of a large message, which may be why', () => {
  expect(errorFromClose(1006, '', url, 'sent', 1_000).message).toBe('ws://a/v2/ws: the connection was lost');
  expect(errorFromClose(1006, '', url, 'sent', 80_000_000).message).toBe(
    "ws://a/v2/ws: the connection was lost; the request's message of 80000000 bytes may be more than the server takes",
  );
  expect(errorFromClose(1009, '', url, 'sent', 80_000_000)).toMatchObject({
    code: 'RESOURCE_EXHAUSTED',
    message: 'ws://a/v2/ws: the server closed the connection (1009)',
  });
});
