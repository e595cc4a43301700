import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../../proto/float16.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { scanTensorData } from './number-scanner.ts';

function scan(text: string | Uint8Array, datatype: Datatype, shape: number[]): Uint8Array {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const count = shape.reduce((product, dim) => product * dim, 1);
  const scanned = scanTensorData(bytes, 0, 2, 'X', datatype, shape, count);
  expect(scanned.end).toBe(bytes.length);
  return scanned.data;
}

function refusal(text: string | Uint8Array, datatype: Datatype, shape: number[]): string {
  try {
    scan(text, datatype, shape);
  } catch (error) {
    expect(error).toBeInstanceOf(InferenceError);
    expect((error as InferenceError).code).toBe('INVALID_ARGUMENT');
    return (error as InferenceError).message;
  }
  throw new Error(`not refused: ${text}`);
}

const f32 = (data: Uint8Array): number[] => [...new Float32Array(data.buffer, data.byteOffset, data.length / 4)];
const f64 = (data: Uint8Array): number[] => [...new Float64Array(data.buffer, data.byteOffset, data.length / 8)];
const u16 = (data: Uint8Array): number[] => [...new Uint16Array(data.buffer, data.byteOffset, data.length / 2)];

/** The list written with spacing and nesting that vary with the seed, but always regular. */
function written(literals: readonly string[], style: number): string {
  const gap = ['', ' ', '\n\t ', '\r\n'][style % 4]!;
  const open = '['.repeat(1 + (style % 3));
  const close = ']'.repeat(1 + (style % 3));
  if (style % 5 === 0 && literals.length > 0) return `[${gap}${literals.map((one) => `[${gap}${one}${gap}]`).join(`${gap},${gap}`)}${gap}]`;
  return `${open}${gap}${literals.join(`${gap},${gap}`)}${gap}${close}`;
}

describe('integers', () => {
  const views = {
    INT8: Int8Array,
    INT16: Int16Array,
    INT32: Int32Array,
    INT64: BigInt64Array,
    UINT8: Uint8Array,
    UINT16: Uint16Array,
    UINT32: Uint32Array,
    UINT64: BigUint64Array,
  } as const;
  const range = (datatype: keyof typeof views): [bigint, bigint] => {
    const bits = BigInt(views[datatype].BYTES_PER_ELEMENT * 8);
    return datatype.startsWith('U') ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
  };

  for (const datatype of Object.keys(views) as (keyof typeof views)[]) {
    const [min, max] = range(datatype);

    test(`${datatype} is exact over its whole range, however the list is written`, () => {
      const value = fc.oneof(
        fc.bigInt(min, max),
        fc.bigInt(-200n, 200n).filter((small) => small >= min && small <= max),
        fc.constantFrom(min, max, 0n, max / 2n, max / 2n + 1n),
      );
      fc.assert(
        fc.property(fc.array(value, { maxLength: 40 }), fc.nat(), (values, style) => {
          const data = scan(written(values.map(String), style), datatype, [values.length]);
          const view = new views[datatype](data.buffer as ArrayBuffer, data.byteOffset, values.length);
          expect([...view].map(BigInt)).toEqual(values);
        }),
        { numRuns: 500 },
      );
    });

    test(`${datatype} refuses what does not fit`, () => {
      for (const outside of [min - 1n, max + 1n, min - 1000n, max * 10n + 9n, 10n ** 19n * 9n * 10n, -(10n ** 30n)]) {
        if (outside >= min && outside <= max) continue;
        const message = refusal(`[0, ${outside}]`, datatype, [2]);
        expect(message).toContain('inputs[2] (X).data[1]');
        expect(message).toContain(`expected an integer from ${min} to ${max}`);
        expect(message).toContain(`got ${outside}`);
      }
    });
  }

  test.each(['1.0', '1e3', '1E0', '01', '"1"', 'true', 'null', '-', '+1', '[]x', '{}', 'NaN', '0x10', '.5', '--1'])(
    'refuses %s',
    (literal) => {
      for (const datatype of ['INT32', 'INT64', 'UINT64', 'UINT8'] as const) expect(refusal(`[3,${literal}]`, datatype, [2])).toMatch(/X/);
    },
  );

  test('names what came', () => {
    expect(refusal('[1,"abc"]', 'INT32', [2])).toContain('inputs[2] (X).data[1]: expected an integer from -2147483648 to 2147483647');
    expect(refusal('[1,"abc"]', 'INT32', [2])).toContain('for INT32, got "abc"');
    expect(refusal('[null]', 'INT64', [1])).toContain('for INT64, got null');
  });
});

describe('floating point', () => {
  /** Decimals as people and programs write them: shortest, long, short, far apart. */
  const literal = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.float({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.tuple(fc.bigInt(-(10n ** 19n), 10n ** 19n), fc.integer({ min: -60, max: 30 })).map(([digits, power]) => `${digits}e${power}`),
    fc.tuple(fc.bigInt(0n, 10n ** 40n), fc.bigInt(0n, 10n ** 25n)).map(([whole, fraction]) => `${whole}.${fraction}`),
    fc.tuple(fc.integer({ min: -999999, max: 999999 }), fc.nat(9999)).map(([whole, fraction]) => `${whole}.${fraction}`),
    fc
      .tuple(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 1, max: 60 }))
      .map(([value, n]) => value.toPrecision(n)),
  );

  test('FP64 is what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.array(literal, { maxLength: 20 }), fc.nat(), (literals, style) => {
        const expected = literals.map((text) => JSON.parse(text) as number);
        fc.pre(expected.every(Number.isFinite));
        expect(f64(scan(written(literals, style), 'FP64', [literals.length]))).toEqual(expected);
      }),
      { numRuns: 5_000 },
    );
  });

  test('FP32 is Math.fround of what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.array(literal, { maxLength: 20 }), fc.nat(), (literals, style) => {
        const expected = literals.map((text) => Math.fround(JSON.parse(text) as number));
        fc.pre(expected.every(Number.isFinite));
        expect(f32(scan(written(literals, style), 'FP32', [literals.length]))).toEqual(expected);
      }),
      { numRuns: 5_000 },
    );
  });

  test('FP32 of every number of digits before and behind the point, at every distance from the end of the bytes', () => {
    const digits = '98765432109876543210123456';
    for (let whole = 1; whole <= 12; whole++) {
      for (let fraction = 0; fraction <= 26; fraction++) {
        for (const ending of ['', 'e-7', 'E+3', 'e0012']) {
          const text = `${digits.slice(0, whole)}${fraction === 0 ? '' : `.${digits.slice(26 - fraction)}`}${ending}`;
          for (const sign of ['', '-']) {
            const expected = Math.fround(JSON.parse(`${sign}${text}`) as number);
            const written = `[0.${digits.slice(0, fraction)}1,${sign}${text}]`;
            const first = Math.fround(JSON.parse(`0.${digits.slice(0, fraction)}1`) as number);
            expect(f32(scan(written, 'FP32', [2])), written).toEqual([first, expected]);
          }
        }
      }
    }
  });

  test('decimals at and beside the middle of two doubles, and of two float32s, round as JSON.parse does', () => {
    const word = new DataView(new ArrayBuffer(8));
    fc.assert(
      fc.property(
        fc.bigInt(0x3000000000000000n, 0x47dfffffffffffffn),
        fc.constantFrom(-1n, 0n, 1n),
        fc.boolean(),
        (bits, nudge, ofFloat32) => {
          word.setBigUint64(0, ofFloat32 ? bits & ~0x1fffffffn : bits);
          const low = word.getFloat64(0);
          word.setBigUint64(0, ofFloat32 ? (bits & ~0x1fffffffn) + 0x20000000n : bits + 1n);
          // The middle, exactly, as digits e-400; nudged in the last of them.
          const scaled = (value: number): bigint => {
            const exponent = Math.max(-1100, Math.floor(Math.log2(value)) - 60);
            const mantissa = BigInt(value * 2 ** -exponent);
            return exponent >= 0 ? (mantissa << BigInt(exponent)) * 10n ** 400n : (mantissa * 10n ** 400n) >> BigInt(-exponent);
          };
          const middle = (scaled(low) + scaled(word.getFloat64(0))) / 2n;
          const digits = String(middle + nudge);
          const text = `${digits}e-400`;
          expect(f64(scan(`[${text}]`, 'FP64', [1]))).toEqual([JSON.parse(text)]);
          expect(f32(scan(`[${text}]`, 'FP32', [1]))).toEqual([Math.fround(JSON.parse(text) as number)]);
          const short = `${digits.slice(0, 20)}e${digits.length - 20 - 400}`;
          expect(f64(scan(`[${short}]`, 'FP64', [1]))).toEqual([JSON.parse(short)]);
          expect(f32(scan(`[${short}]`, 'FP32', [1]))).toEqual([Math.fround(JSON.parse(short) as number)]);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test('ends of the ranges', () => {
    const literals = [
      '5e-324',
      '2.4703282292062327e-324',
      '2.4703282292062328e-324',
      '1.7976931348623157e308',
      '2.2250738585072011e-308',
      '-0',
      '0e999',
      '1e-999',
    ];
    expect(f64(scan(`[${literals}]`, 'FP64', [literals.length]))).toEqual(literals.map(Number));
    const singles = [
      '1.4e-45',
      '7e-46',
      '7.1e-46',
      '3.4028234663852886e38',
      '3.4028235677973362e38',
      '1.17549435e-38',
      '-0.0',
      '9007199254740993',
    ];
    expect(f32(scan(`[${singles}]`, 'FP32', [singles.length]))).toEqual(singles.map((text) => Math.fround(Number(text))));
    expect(refusal('[0,1e39]', 'FP32', [2])).toContain('data[1]: expected a number within its range for FP32, got 1e39');
    expect(refusal('[1e400]', 'FP64', [1])).toContain('got 1e400');
    expect(refusal('[65520]', 'FP16', [1])).toContain('got 65520');
    expect(refusal('[3.4e38]', 'BF16', [1])).toContain('got 3.4e38');
    expect(refusal(`[0.${'1'.repeat(2000)}]`, 'FP64', [1])).toContain('data[0]');
  });

  test('not-a-number and infinities, bare and quoted', () => {
    const text = '[NaN, Infinity,-Infinity,Inf,-Inf,"NaN","Infinity","-Infinity"]';
    const values = [Number.NaN, Infinity, -Infinity, Infinity, -Infinity, Number.NaN, Infinity, -Infinity];
    expect(f32(scan(text, 'FP32', [8]))).toEqual(values);
    expect(f64(scan(text, 'FP64', [8]))).toEqual(values);
    expect(u16(scan(text, 'FP16', [8])).map(fromFp16)).toEqual(values);
    expect(u16(scan(text, 'BF16', [8])).map(fromBf16)).toEqual(values);
  });

  test.each([
    ['NaN', Number.NaN],
    ['Infinity', Infinity],
    ['-Infinity', -Infinity],
    ['-Inf', -Infinity],
  ])('%s as the last one, whatever stands behind it', (word, value) => {
    for (const text of [`[1,${word}]`, `[1,${word} ]`, `[[1],[${word}]]`]) expect(f32(scan(text, 'FP32', [2, 1]))).toEqual([1, value]);
  });

  test.each([
    'nan',
    'NaNs',
    '"NaN',
    '"nan"',
    'Infinit',
    'InfinityX',
    '-NaN',
    '"1"',
    'true',
    'null',
    '1.',
    '.5',
    '1e',
    '1e+',
    '01',
    '+1',
    '1.e5',
    '0x1',
    '[',
    '{}',
    '',
  ])('refuses %s', (literal) => {
    for (const datatype of ['FP32', 'FP64', 'FP16', 'BF16'] as const)
      expect(refusal(`[3,${literal}]`, datatype, [2])).toContain('inputs[2] (X).data');
  });

  test('FP16 and BF16 take every value that they have, and round others to the nearest, ties to even', () => {
    const bits = Array.from({ length: 65_536 }, (_, i) => i);
    for (const [datatype, widen] of [
      ['FP16', fromFp16],
      ['BF16', fromBf16],
    ] as const) {
      const finite = bits.filter((one) => Number.isFinite(widen(one)));
      const text = `[${finite.map((one) => (Object.is(widen(one), -0) ? '-0' : String(widen(one)))).join()}]`;
      expect(u16(scan(text, datatype, [finite.length]))).toEqual(finite);
      const positive = finite.filter((one) => one < 0x7b00);
      const middles = positive.map((one) => (widen(one) + widen(one + 1)) / 2);
      expect(u16(scan(JSON.stringify(middles), datatype, [middles.length]))).toEqual(positive.map((one) => one + (one & 1)));
      const beside = middles.map((middle) => middle * (1 + 2 ** -40));
      expect(u16(scan(JSON.stringify(beside), datatype, [beside.length]))).toEqual(positive.map((one) => one + 1));
    }
  });
});

describe('booleans', () => {
  test('true and false', () => {
    expect([...scan('[true,false, [] , true]'.replace(' [] ,', ''), 'BOOL', [3])]).toEqual([1, 0, 1]);
  });
  test('0 and 1 are told apart', () => {
    expect(refusal('[true,1]', 'BOOL', [2])).toContain(
      'data[1]: expected true or false (0 and 1 are numbers, not booleans) for BOOL, got 1',
    );
    expect(refusal('[2]', 'BOOL', [1])).toContain('expected true or false for BOOL, got 2');
    expect(refusal('[tru]', 'BOOL', [1])).toContain('got tru');
    expect(refusal('[truest]', 'BOOL', [1])).toContain("expected ',' or ']'");
  });
});

describe('strings', () => {
  const decode = (data: Uint8Array): string[] => decodeBytes(data, 'X').map((element) => Buffer.from(element).toString('utf8'));

  test('are what JSON.parse gives, as UTF-8', () => {
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), fc.string({ minLength: 60, maxLength: 200 }));
    const escaped = (one: string): string =>
      `"${[...one]
        .flatMap((c) => c.split(''))
        .map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
        .join('')}"`;
    fc.assert(
      fc.property(fc.array(text, { maxLength: 10 }), fc.boolean(), fc.nat(), (values, allEscaped, style) => {
        const literals = values.map((one) => (allEscaped ? escaped(one) : JSON.stringify(one)));
        expect(decode(scan(written(literals, style), 'BYTES', [values.length]))).toEqual(values);
      }),
      { numRuns: 2_000 },
    );
  });

  test('every short escape', () => {
    expect(decode(scan('["\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00"]', 'BYTES', [1]))).toEqual(['"\\/\b\f\n\r\t\0\u{1f600}']);
  });

  test.each([
    ['a lone high surrogate', '["a","\\ud800"]', 'lone surrogate'],
    ['a high surrogate before another character', '["a","\\ud800\\u0041"]', 'lone surrogate'],
    ['a lone low surrogate', '["a","\\udc00"]', 'lone surrogate'],
    ['an unknown escape', '["a","\\x41"]', 'invalid escape'],
    ['a cut escape', '["a","\\u12"]', 'invalid escape'],
    ['a raw line feed', '["a","\n"]', 'raw control character'],
    ['a number', '["a",1]', 'expected a string for BYTES, got 1'],
  ])('refuses %s', (_what, text, message) => {
    const said = refusal(text, 'BYTES', [2]);
    expect(said).toContain(message);
    expect(said).toContain('inputs[2] (X).data[1]');
  });

  test.each([[[0xff]], [[0xc0, 0x80]], [[0xed, 0xa0, 0x80]], [[0xf5, 0x80, 0x80, 0x80]], [[0xe2, 0x82]]])(
    'refuses the bytes %j',
    (bytes) => {
      expect(refusal(Buffer.from([0x5b, 0x22, ...bytes, 0x22, 0x5d]), 'BYTES', [1])).toContain('data[0]: invalid UTF-8');
    },
  );
});

describe('structure', () => {
  test.each([
    ['[1,2,3]', [4], 'expected 4 elements for shape [4], got 3'],
    ['[1,2,3,4,5]', [4], 'expected 4 elements for shape [4], got 5'],
    ['[[1,2],[3,4],[5,6]]', [2, 2], 'expected 4 elements for shape [2,2], got 6'],
    ['[]', [1], 'expected 1 elements for shape [1], got 0'],
    ['[1]', [0], 'expected 0 elements for shape [0], got 1'],
    ['[1]', [1_000_000, 100_000], 'expected 100000000000 elements for shape [1000000,100000], got 1'],
  ])('%s for %j', (text, shape, message) => {
    expect(refusal(text, 'INT32', shape)).toContain(message);
    expect(refusal(text, 'FP32', shape)).toContain(message);
    expect(refusal(text.replaceAll(/\d/g, '"$&,"'), 'BYTES', shape)).toContain(message);
  });

  test.each(['[[1,2],[3]]', '[[1],2]', '[1,[2]]', '[[1,2],[]]', '[[[1]],[2]]'])('%s is ragged', (text) => {
    expect(refusal(text, 'INT32', [3])).toContain('nested lists must be equally long');
  });

  test.each(['[1,]', '[,1]', '[1 2]', '[1', '[', '[[1]', '[1}', '[1,,2]', '[1:2]', '[1/**/]'])('%s is malformed', (text) => {
    expect(refusal(text, 'INT32', [2])).toMatch(/inputs\[2\]|unterminated/);
  });

  test('depth 100 is taken, 101 and 250,000 are not', () => {
    const nested = (depth: number): string => `${'['.repeat(depth)}7${']'.repeat(depth)}`;
    expect([...scan(nested(100), 'UINT8', [1])]).toEqual([7]);
    expect(refusal(nested(101), 'UINT8', [1])).toContain('JSON nesting depth exceeds maximum allowed limit (100)');
    expect(refusal(nested(250_000), 'UINT8', [1])).toContain('JSON nesting depth exceeds');
  });

  test('an empty list, also nested, is no elements', () => {
    expect(scan('[]', 'FP32', [0])).toHaveLength(0);
    expect(scan('[ [ ] , [] ]', 'INT64', [2, 0])).toHaveLength(0);
    expect(scan('[]', 'BYTES', [0])).toHaveLength(0);
  });
});
