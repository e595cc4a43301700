/** From a PNG file to the picture that the model `digits` reads: 8 x 8 pixels, 0 (paper) to 16 (ink). */

import { inflateSync } from 'node:zlib';

export const config = {
  maxBatchSize: 64,
  inputs: [{ name: 'png', datatype: 'BYTES', dims: [1] }],
  outputs: [{ name: 'image', datatype: 'FP32', dims: [1, 8, 8] }],
};

const SIDE = 8;
const INK = 16;
/** A small file can say that it is huge. */
const MAX_PIXELS = 2 ** 24;
const SIGNATURE = '\x89PNG\r\n\x1a\n';
/** Samples of a pixel, by colour type. */
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/** @type {import('nereid/model').ModelContext} */
let context;

export function initialize(given) {
  context = given;
}

/** @param {readonly import('nereid/model').ModelRequest[]} requests */
export function execute(requests) {
  return requests.map(({ inputs: { png }, batchSize }) => {
    const image = new Float32Array(batchSize * SIDE * SIDE);
    try {
      for (const [row, file] of png.data.entries()) image.set(toInk(decode(Buffer.from(file))), row * SIDE * SIDE);
    } catch (error) {
      return context.error('INVALID_ARGUMENT', `input 'png': ${error.message}`);
    }
    return { image: { data: image, shape: [batchSize, 1, SIDE, SIDE] } };
  });
}

/** Brightness of each pixel, 0 to 255, on white where the picture is transparent. */
function decode(file) {
  if (file.toString('latin1', 0, 8) !== SIGNATURE) throw new Error('expected a PNG file');
  const { header, palette, alphas, data } = readChunks(file);
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const depth = header[8];
  const colour = header[9];
  if (DEPTHS[colour]?.includes(depth) !== true) throw new Error(`no PNG has ${depth} bits of colour type ${colour}`);
  if (header[12] !== 0) throw new Error('the PNG is interlaced; save it without');
  if (width === 0 || height === 0 || width * height > MAX_PIXELS)
    throw new Error(`expected 1 to ${MAX_PIXELS} pixels, got ${width} x ${height}`);
  const channels = CHANNELS[colour];
  const rowBytes = Math.ceil((width * channels * depth) / 8);
  const rows = unfilter(inflateSync(data, { maxOutputLength: (rowBytes + 1) * height }), rowBytes, height, Math.ceil((channels * depth) / 8));

  const light = new Float32Array(width * height);
  const max = 2 ** depth - 1;
  const sample = (y, index) => {
    const bit = index * depth;
    const at = y * rowBytes + (bit >> 3);
    if (depth === 16) return (rows[at] * 256 + rows[at + 1]) / 257;
    return (rows[at] >> (8 - depth - (bit & 7))) & max;
  };
  const scale = depth === 16 ? 1 : 255 / max;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const first = x * channels;
      let grey = sample(y, first) * scale;
      let alpha = 255;
      if (colour === 3) {
        const entry = sample(y, first);
        if (entry * 3 + 2 >= palette.length) throw new Error(`the palette has no colour ${entry}`);
        grey = brightness(palette[entry * 3], palette[entry * 3 + 1], palette[entry * 3 + 2]);
        alpha = alphas[entry] ?? 255;
      } else if (channels >= 3) {
        grey = brightness(grey, sample(y, first + 1) * scale, sample(y, first + 2) * scale);
      }
      if (colour === 4 || colour === 6) alpha = sample(y, first + channels - 1) * scale;
      light[y * width + x] = (grey * alpha) / 255 + 255 - alpha;
    }
  }
  return { width, height, light };
}

function brightness(red, green, blue) {
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}

function readChunks(file) {
  const data = [];
  let header = null;
  let palette = Buffer.alloc(0);
  let alphas = Buffer.alloc(0);
  for (let at = SIGNATURE.length; at + 12 <= file.length; ) {
    const length = file.readUInt32BE(at);
    const kind = file.toString('latin1', at + 4, at + 8);
    const content = file.subarray(at + 8, at + 8 + length);
    if (content.length < length) throw new Error('the PNG ends early');
    if (kind === 'IHDR') header = content;
    else if (kind === 'PLTE') palette = content;
    else if (kind === 'tRNS') alphas = content;
    else if (kind === 'IDAT') data.push(content);
    else if (kind === 'IEND') break;
    at += 12 + length;
  }
  if (header === null || header.length < 13 || data.length === 0) throw new Error('the PNG has no picture in it');
  return { header, palette, alphas, data: Buffer.concat(data) };
}

/** Each row is stored as what differs from its neighbours: left (`a`), above (`b`), and above left (`c`). */
function unfilter(raw, rowBytes, height, pixelBytes) {
  if (raw.length < (rowBytes + 1) * height) throw new Error('the PNG has fewer rows than it says');
  const rows = Buffer.alloc(rowBytes * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (rowBytes + 1)];
    if (filter > 4) throw new Error(`the PNG has the unknown filter ${filter}`);
    for (let i = 0; i < rowBytes; i++) {
      const at = y * rowBytes + i;
      const a = i >= pixelBytes ? rows[at - pixelBytes] : 0;
      const b = y > 0 ? rows[at - rowBytes] : 0;
      const c = i >= pixelBytes && y > 0 ? rows[at - rowBytes - pixelBytes] : 0;
      const from = [0, a, b, (a + b) >> 1, filter === 4 ? paeth(a, b, c) : 0];
      rows[at] = raw[y * (rowBytes + 1) + 1 + i] + from[filter];
    }
  }
  return rows;
}

function paeth(a, b, c) {
  const toA = Math.abs(b - c);
  const toB = Math.abs(a - c);
  const toC = Math.abs(a + b - 2 * c);
  if (toA <= toB && toA <= toC) return a;
  return toB <= toC ? b : c;
}

/** Scaled to 8 x 8 by area. What the edge shows is paper, whichever of the two is brighter. */
function toInk({ width, height, light }) {
  const ink = new Float32Array(SIDE * SIDE);
  const isDark = edgeLight(width, height, light) < 128;
  for (let y = 0; y < SIDE; y++) {
    const rows = shares(y, height);
    for (let x = 0; x < SIDE; x++) {
      let sum = 0;
      let area = 0;
      for (const [row, rowShare] of rows) {
        for (const [column, share] of shares(x, width)) {
          sum += light[row * width + column] * rowShare * share;
          area += rowShare * share;
        }
      }
      const mean = sum / area;
      ink[y * SIDE + x] = ((isDark ? mean : 255 - mean) * INK) / 255;
    }
  }
  return ink;
}

/** The pixels that the given eighth of a side covers, and how much of each. */
function shares(eighth, size) {
  const start = (eighth * size) / SIDE;
  const end = ((eighth + 1) * size) / SIDE;
  const covered = [];
  for (let pixel = Math.floor(start); pixel < end; pixel++) covered.push([pixel, Math.min(end, pixel + 1) - Math.max(start, pixel)]);
  return covered;
}

function edgeLight(width, height, light) {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y++) {
    const step = y === 0 || y === height - 1 ? 1 : Math.max(1, width - 1);
    for (let x = 0; x < width; x += step) {
      sum += light[y * width + x];
      count++;
    }
  }
  return sum / count;
}
