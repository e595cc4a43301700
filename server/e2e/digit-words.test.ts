/** The example models in JavaScript, with `digits` between them. */

import { deflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digitPixels, readDigits } from '../../bench/models/digits-data.ts';
import { exampleRepository, ServerProcess } from './serve.ts';

const words = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'];

let own: ServerProcess;
beforeAll(async () => {
  own = await ServerProcess.start([`--model-repository=${exampleRepository}`]);
});
afterAll(() => own.kill());

describe('the example: a PNG file to a word', () => {
  /** Each digit 8 x 8, drawn four times as large, black on white. */
  function png(pixels: Float32Array, colourType: number, filter: number, isInverted = false): Buffer {
    const side = 32;
    const channels = colourType === 2 ? 3 : colourType === 6 ? 4 : 1;
    const rows = Buffer.alloc(side * (side * channels + 1));
    const raw = Buffer.alloc(side * side * channels);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const ink = Math.round((pixels[Math.floor(y / 4) * 8 + Math.floor(x / 4)]! * 255) / 16);
        const grey = isInverted ? ink : 255 - ink;
        const pixel = colourType === 3 ? [255 - grey] : [grey, grey, grey, 255].slice(0, channels);
        raw.set(channels === 4 ? [0, 0, 0, 255 - grey] : pixel, (y * side + x) * channels);
      }
    }
    const at = (y: number, i: number): number => (y < 0 || i < 0 ? 0 : raw[y * side * channels + i]!);
    for (let y = 0; y < side; y++) {
      rows[y * (side * channels + 1)] = filter;
      for (let i = 0; i < side * channels; i++) {
        const a = i < channels ? 0 : at(y, i - channels);
        const b = at(y - 1, i);
        const c = i < channels ? 0 : at(y - 1, i - channels);
        const p = a + b - c;
        const nearest = [a, b, c].reduce((best, one) => (Math.abs(p - one) < Math.abs(p - best) ? one : best));
        rows[y * (side * channels + 1) + 1 + i] = at(y, i) - [0, a, b, (a + b) >> 1, nearest][filter]!;
      }
    }
    const header = Buffer.alloc(13);
    header.writeUInt32BE(side, 0);
    header.writeUInt32BE(side, 4);
    header[8] = 8;
    header[9] = colourType;
    const palette = Buffer.from(Array.from({ length: 256 }, (_, i) => [255 - i, 255 - i, 255 - i]).flat());
    const chunks = [
      chunk('IHDR', header),
      ...(colourType === 3 ? [chunk('PLTE', palette)] : []),
      chunk('IDAT', deflateSync(rows)),
      chunk('IEND', Buffer.alloc(0)),
    ];
    return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...chunks]);
  }

  function chunk(kind: string, content: Buffer): Buffer {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(content.length);
    return Buffer.concat([length, Buffer.from(kind, 'latin1'), content, Buffer.alloc(4)]);
  }

  it('reads digits in every form of PNG', async () => {
    const { test } = readDigits();
    const forms: [number, number, boolean][] = [];
    for (const colourType of [0, 2, 3, 6])
      for (const filter of [0, 1, 2, 3, 4]) forms.push([colourType, filter, filter === 2 && colourType === 0]);
    let right = 0;
    for (const [i, [colourType, filter, isInverted]] of forms.entries()) {
      const pixels = test.pixels.subarray(i * digitPixels, (i + 1) * digitPixels);
      const file = png(pixels, colourType, filter, isInverted);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(file.length);
      const json = Buffer.from(
        JSON.stringify({ inputs: [{ name: 'png', datatype: 'BYTES', shape: [1, 1], parameters: { binary_data_size: file.length + 4 } }] }),
      );
      const headers = { 'inference-header-content-length': String(json.length) };
      const prepared = await own.post('/v2/models/digit_preprocess/infer', Buffer.concat([json, length, file]), headers);
      expect([prepared.status, prepared.json]).toEqual([200, expect.anything()]);
      const image: number[] = prepared.json.outputs[0].data;
      // Eight bits of grey carry seventeen steps of ink to within rounding.
      for (const [at, value] of image.entries()) expect(Math.abs(value - pixels[at]!)).toBeLessThan(0.05);
      // The same file through all three models.
      const said = await own.post('/v2/models/read_digit/infer', Buffer.concat([json, length, file]), headers);
      expect([said.status, said.json]).toEqual([200, expect.anything()]);
      const [text] = said.json.outputs[0].data;
      expect(text).toMatch(/^[a-z]+ \([01]\.\d\d\)$/);
      if (text.startsWith(`${words[test.labels[i]!]} (`)) right++;
    }
    expect(right).toBeGreaterThanOrEqual(forms.length - 1);
    for (const bytes of [Buffer.from('no picture'), png(test.pixels, 0, 0).subarray(0, 60)]) {
      const answer = await own.post('/v2/models/read_digit/infer', {
        inputs: [{ name: 'png', datatype: 'BYTES', shape: [1, 1], data: [bytes.toString('latin1')] }],
      });
      expect([answer.status, answer.json.error]).toEqual([400, expect.stringMatching(/input 'png':/)]);
    }
  });
});
