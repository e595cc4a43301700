/** Frames of RFC 6455 as a client writes them. */

/** Opcodes. Source: RFC 6455, 5.2. */
export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

/** The most that a control frame may carry. Source: RFC 6455, 5.5. */
export const MAX_CONTROL_BYTES = 125;

const FIN = 0x80;
const MASKED = 0x80;
const MASK_KEY_BYTES = 4;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/** Bytes before the payload of a client's frame, its mask key included. */
export function frameHeadBytes(payloadBytes: number): number {
  return 2 + MASK_KEY_BYTES + (payloadBytes <= MAX_CONTROL_BYTES ? 0 : payloadBytes <= 0xffff ? 2 : 8);
}

/**
 * Writes what stands before the payload of an unfragmented frame, and gives where the payload goes.
 *
 * The mask key is zero, so that the payload goes out as it is and nobody touches its bytes. RFC 6455 (5.3, 10.3) wants a key that cannot be predicted, because a page in a browser chooses
 * the bytes and could have a proxy on the way take them for an HTTP request of its own. Here whoever chooses the bytes has the socket as well, and could write anything to the proxy
 * without WebSocket. Servers cannot tell one key from another: they apply what they get.
 */
export function writeFrameHead(into: Uint8Array, at: number, opcode: number, payloadBytes: number): number {
  into[at++] = FIN | opcode;
  if (payloadBytes <= MAX_CONTROL_BYTES) {
    into[at++] = MASKED | payloadBytes;
  } else if (payloadBytes <= 0xffff) {
    into[at++] = MASKED | LENGTH_16;
    into[at++] = payloadBytes >>> 8;
    into[at++] = payloadBytes & 0xff;
  } else {
    into[at++] = MASKED | LENGTH_64;
    at = putUint32(into, at, Math.floor(payloadBytes / 2 ** 32));
    at = putUint32(into, at, payloadBytes % 2 ** 32);
  }
  return putUint32(into, at, 0);
}

function putUint32(into: Uint8Array, at: number, value: number): number {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
  return at + 4;
}

/** The payload of a close frame: a code, and a reason as far as it fits. */
export function closePayload(code: number, reason: string): Buffer {
  const text = Buffer.from(reason, 'utf8');
  // Not through the middle of a character: the reason has to be UTF-8.
  let bytes = Math.min(text.length, MAX_CONTROL_BYTES - 2);
  while (bytes < text.length && (text[bytes]! & 0xc0) === 0x80) bytes--;
  const payload = Buffer.allocUnsafe(2 + bytes);
  payload.writeUInt16BE(code, 0);
  text.copy(payload, 2, 0, bytes);
  return payload;
}
