import { deflateSync } from 'node:zlib';

/** Each pixel of the digit, drawn as a square of so many. */
const SCALE = 4;

/** A picture of a digit, black on white: `ink` is `side` x `side`, 0 (paper) to 16, row by row. An 8-bit greyscale PNG. */
export function digitPng(ink: readonly number[], side: number): Buffer {
  const width = side * SCALE;
  const rows = Buffer.alloc(width * (width + 1));
  for (let y = 0; y < width; y++) {
    // The first byte of a row names its filter: none.
    for (let x = 0; x < width; x++) {
      const value = ink[Math.floor(y / SCALE) * side + Math.floor(x / SCALE)]!;
      rows[y * (width + 1) + 1 + x] = 255 - Math.round((value * 255) / 16);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(width, 4);
  header[8] = 8;
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  // Level 0: the same bytes whatever the version of zlib.
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows, { level: 0 })), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(kind: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind, 'latin1'), content]);
  const whole = Buffer.alloc(body.length + 8);
  whole.writeUInt32BE(content.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), body.length + 4);
  return whole;
}

/** Of PNG, annex D. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}
