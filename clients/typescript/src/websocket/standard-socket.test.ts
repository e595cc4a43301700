import { expect, test } from 'vitest';
import { openStandardSocket, type StandardWebSocketClass } from './standard-socket.ts';

const target = { url: 'ws://127.0.0.1:1/v2/ws', headers: {}, tls: null };
const events = { onText() {}, onBinary() {}, onSent() {}, onClose() {} };

/** A runtime whose WebSocket tells of a failed handshake by these events. */
function failing(...types: string[]): StandardWebSocketClass {
  return class extends EventTarget {
    binaryType = 'blob';
    readonly bufferedAmount = 0;
    readonly readyState = 0;

    constructor() {
      super();
      queueMicrotask(() => {
        for (const type of types)
          this.dispatchEvent(Object.assign(new Event(type), { message: type === 'error' ? 'no route' : undefined }));
      });
    }

    send(): void {}

    close(): void {}
  } as unknown as StandardWebSocketClass;
}

// Node 22 gives an error alone, browsers both.
test.each([
  [['error'], 'no route'],
  [['error', 'close'], 'no route'],
  [['close'], 'it was closed'],
])('a handshake that fails with %j is refused at once', async (types, detail) => {
  const opening = openStandardSocket(failing(...types), target, events, new AbortController().signal);
  await expect(opening).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    phase: 'refused',
    message: `ws://127.0.0.1:1/v2/ws: no connection: ${detail}`,
  });
});
