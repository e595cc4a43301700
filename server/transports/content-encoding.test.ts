import { deflateRawSync, deflateSync, gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseResponseCoding, compressBody, type InflateResult, inflateBody, parseContentEncoding } from './content-encoding.ts';

const roomy = { reserveInflated: () => true };

function inflate(
  body: Uint8Array,
  maxBytes = 1_000_000,
  budget: { reserveInflated(bytes: number): boolean } = roomy,
): Promise<InflateResult> {
  return new Promise((resolve) => inflateBody(body, maxBytes, budget, resolve));
}

describe('parseContentEncoding', () => {
  it.each([
    ['', 'identity'],
    ['identity', 'identity'],
    ['gzip', 'gzip'],
    ['GZip', 'gzip'],
    ['deflate', 'deflate'],
    ['br', null],
    ['gzip, deflate', null],
    ['gzip;q=1', null],
  ])('%j is %s', (value, coding) => expect(parseContentEncoding(value)).toBe(coding));
});

describe('chooseResponseCoding', () => {
  it.each([
    ['', 'identity'],
    ['gzip', 'gzip'],
    ['deflate, gzip', 'deflate'],
    ['gzip, deflate', 'gzip'],
    ['gzip;q=0.5, deflate;q=0.8', 'deflate'],
    ['deflate ; Q=0.2 , gzip ; q=0.9', 'gzip'],
    ['identity, gzip', 'identity'],
    ['identity;q=0.1, gzip;q=0.2', 'gzip'],
    ['gzip;q=0', 'identity'],
    ['gzip;q=2, deflate', 'deflate'],
    ['gzip;q=x', 'identity'],
    ['*', 'identity'],
    ['br, zstd;q=0.9, *;q=0.1', 'identity'],
    ['br, gzip;q=0.001', 'gzip'],
  ])('%j is %s', (value, coding) => expect(chooseResponseCoding(value)).toBe(coding));
});

describe('inflateBody', () => {
  it('undoes what was done, whichever framing was announced', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), fc.boolean(), async (bytes, isGzip) => {
        const result = await inflate(isGzip ? gzipSync(bytes) : deflateSync(bytes));
        expect(result).toMatchObject({ outcome: 'done' });
        if (result.outcome === 'done') expect(result.body.equals(bytes)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('calls every damaged or cut stream corrupt', async () => {
    const whole = gzipSync(Buffer.from('some body that is long enough to be cut anywhere'));
    for (let length = 1; length < whole.length; length += 1)
      expect(await inflate(whole.subarray(0, length))).toEqual({ outcome: 'corrupt' });
    const damaged = Buffer.from(whole);
    damaged[whole.length - 6]! ^= 1;
    expect(await inflate(damaged)).toEqual({ outcome: 'corrupt' });
    expect(await inflate(deflateRawSync('raw'))).toEqual({ outcome: 'corrupt' });
  });

  it('stops at the limit and at the budget, not after them', async () => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    let inflatedBytes = 0;
    const counting = {
      reserveInflated: (bytes: number) => {
        inflatedBytes += bytes;
        return true;
      },
    };
    expect(await inflate(bomb, 1_000_000, counting)).toEqual({ outcome: 'too-large' });
    expect(inflatedBytes).toBeLessThanOrEqual(1_000_000);
    let room = 500_000;
    const tight = {
      reserveInflated: (bytes: number) => {
        room -= bytes;
        return room >= 0;
      },
    };
    expect(await inflate(bomb, 200_000_000, tight)).toEqual({ outcome: 'no-room' });
  });
});

describe('compressBody', () => {
  it('makes what gzip undoes', async () => {
    const body = Buffer.alloc(10_000, 'abc');
    const compressed = await new Promise<Buffer>((resolve, reject) =>
      compressBody(body, 'gzip', (error, result) => (error === null ? resolve(result) : reject(error))),
    );
    expect(compressed.length).toBeLessThan(1000);
    expect(gunzipSync(compressed).equals(body)).toBe(true);
  });
});
