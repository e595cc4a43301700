import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAnswerHeaders, decodeHeaderBlock } from './header-decoder.ts';
import { ProtocolFault } from './protocol-fault.ts';

function fieldsOf(hex: string): string[] {
  const block = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const fields: string[] = [];
  decodeHeaderBlock(block, 0, block.length, (name, value) => fields.push(`${name}: ${value}`));
  return fields;
}

const REQUEST = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];
const RESPONSE = [':status: 302', 'cache-control: private', 'date: Mon, 21 Oct 2013 20:13:21 GMT', 'location: https://www.example.com'];

// RFC 7541, Appendix C, as far as its examples do without the dynamic table.
describe('a header block', () => {
  it.each([
    ['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', ['custom-key: custom-header']],
    ['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', [':path: /sample/path']],
    ['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', ['password: secret']],
    ['C.2.4', '82', [':method: GET']],
    ['C.3.1', '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d', REQUEST],
    ['C.4.1', '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', REQUEST],
    [
      'C.5.1',
      '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      RESPONSE,
    ],
    [
      'C.6.1',
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
      RESPONSE,
    ],
  ])('of RFC 7541, %s', (_, hex, expected) => {
    expect(fieldsOf(hex)).toEqual(expected);
  });

  it('may say that the table has no size, and nothing else of it', () => {
    expect(fieldsOf('20 82')).toEqual([':method: GET']);
    expect(() => fieldsOf('3fe11f 82')).toThrow('4096 bytes');
    // C.3.2: index 62 is what the request before put there.
    expect(() => fieldsOf('8286 84be 5808 6e6f 2d63 6163 6865')).toThrow('index 62');
    expect(() => fieldsOf('80')).toThrow('index 0');
  });

  it('has Huffman codes that end as they must', () => {
    expect(() => fieldsOf('00 01 61 84 ffffffff')).toThrow('end of the string');
    expect(() => fieldsOf('00 01 61 82 07ff')).toThrow('ends in the middle');
    expect(() => fieldsOf('00 01 61 81 00')).toThrow('ends in the middle');
    expect(fieldsOf('00 01 61 81 07')).toEqual(['a: 0']);
  });

  it('is refused where it is cut, and never read beyond', () => {
    const block = Buffer.from('8286844188f1e3c2e5f23a6b4003616263 0361626388'.replaceAll(' ', ''), 'hex');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(block.length), (noise, cut) => {
        for (const bytes of [Buffer.from(noise), block.subarray(0, cut)]) {
          try {
            decodeHeaderBlock(bytes, 0, bytes.length, () => {});
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolFault);
          }
        }
      }),
    );
  });

  it('gives what gRPC needs', () => {
    const literal = (name: string, value: string): number[] => [0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)];
    const decode = (...fields: [string, string][]): object => {
      const block = Buffer.from(fields.flatMap(([name, value]) => literal(name, value)));
      return decodeAnswerHeaders(block, 0, block.length);
    };
    expect(decode([':status', '200'], ['content-type', 'application/grpc'], ['date', 'x'])).toEqual({
      httpStatus: 200,
      contentType: 'application/grpc',
      grpcStatus: -1,
      grpcMessage: '',
    });
    expect(decode(['grpc-status', '5'], ['grpc-message', 'no s%C3%ADmple'])).toMatchObject({ grpcStatus: 5, grpcMessage: 'no símple' });
    expect(decode(['grpc-status', 'five'])).toMatchObject({ grpcStatus: 2 });
  });
});
