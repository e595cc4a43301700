import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HeaderDecoder } from './header-decoder.ts';
import { HpackFault } from './hpack-fault.ts';
import { decodeHuffman } from './huffman-code.ts';

function decode(decoder: HeaderDecoder, hex: string): string[] {
  const block = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const fields: string[] = [];
  decoder.decode(block, 0, block.length, { onField: (name, value) => fields.push(`${name}: ${value}`) });
  return fields;
}

const REQUESTS = [
  [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'],
  [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com', 'cache-control: no-cache'],
  [':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com', 'custom-key: custom-value'],
];
const DATE = 'date: Mon, 21 Oct 2013 20:13:21 GMT';
const ANSWERS = [
  [':status: 302', 'cache-control: private', DATE, 'location: https://www.example.com'],
  [':status: 307', 'cache-control: private', DATE, 'location: https://www.example.com'],
  [
    ':status: 200',
    'cache-control: private',
    'date: Mon, 21 Oct 2013 20:13:22 GMT',
    'location: https://www.example.com',
    'content-encoding: gzip',
    'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ],
];

describe('RFC 7541, Appendix C', () => {
  test.each([
    ['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', 'custom-key: custom-header'],
    ['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', ':path: /sample/path'],
    ['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', 'password: secret'],
    ['C.2.4', '82', ':method: GET'],
  ])('%s', (_section, hex, field) => {
    expect(decode(new HeaderDecoder(4096), hex)).toEqual([field]);
  });

  test.each([
    [
      'C.3, requests',
      4096,
      REQUESTS,
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4, requests with Huffman coding',
      4096,
      REQUESTS,
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
    ],
    [
      'C.6, answers with Huffman coding and eviction',
      256,
      ANSWERS,
      [
        '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
        '4883 640e ffc1 c0bf',
        '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
      ],
    ],
  ])('%s', (_section, tableBytes, expected, blocks) => {
    const decoder = new HeaderDecoder(tableBytes);
    expect(blocks.map((hex) => decode(decoder, hex))).toEqual(expected);
  });
});

describe('what is no HPACK', () => {
  test.each([
    ['index 0', '80', 'index 0'],
    ['an index behind the table', 'be', 'index 62'],
    ['a name behind the table', '7e 0161', 'index 62'],
    ['a cut name', '00 0561', 'ends within a field'],
    ['a cut number', 'ff', 'ends within a field'],
    ['a number without end', `ff ${'80'.repeat(8)}`, 'more than 28 bits'],
    ['a table larger than allowed', '3fe2 1f', 'table size of 4097'],
    ['a change of the table behind a field', '82 20', 'behind a field'],
    ['a string that ends inside a code', '00 0161 81 00', 'ends in the middle'],
    ['the end of the string inside a string', '00 0161 84 ffff ffff', 'end of the string'],
    ['padding of eight bits', '00 0161 82 1fff', 'ends in the middle'],
  ])('%s', (_what, hex, reason) => {
    expect(() => decode(new HeaderDecoder(4096), hex)).toThrow(HpackFault);
    expect(() => decode(new HeaderDecoder(4096), hex)).toThrow(reason);
  });

  test('any bytes: fields, or an HpackFault', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HeaderDecoder(512);
        try {
          for (const block of blocks) decode(decoder, Buffer.from(block).toString('hex'));
        } catch (error) {
          expect(error).toBeInstanceOf(HpackFault);
        }
      }),
    );
  });
});

test('a table that is made smaller forgets, and its version tells', () => {
  const decoder = new HeaderDecoder(4096);
  decode(decoder, '4001 6101 62');
  const { version } = decoder;
  expect(decode(decoder, 'be')).toEqual(['a: b']);
  expect(decoder.version).toBe(version);
  expect(decode(decoder, '20 3fe1 1f 82')).toEqual([':method: GET']);
  expect(decoder.version).not.toBe(version);
  expect(() => decode(decoder, 'be')).toThrow('index 62');
});

test('a field that is larger than the table empties it', () => {
  const decoder = new HeaderDecoder(64);
  decode(decoder, '4001 6101 62');
  decode(decoder, `4001 6328 ${'64'.repeat(40)}`);
  expect(() => decode(decoder, 'be')).toThrow('index 62');
});

test('long Huffman strings', () => {
  // Each octet 'a' has the code 00011.
  const bytes = Buffer.from(
    BigInt(`0b${'00011'.repeat(16_000)}`)
      .toString(16)
      .padStart(20_000, '0'),
    'hex',
  );
  expect(decodeHuffman(bytes, 0, bytes.length)).toBe('a'.repeat(16_000));
});
