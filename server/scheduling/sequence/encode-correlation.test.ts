import { expect, test } from 'vitest';
import { decodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import { encodeCorrelation } from './encode-correlation.ts';

test.each<[Datatype, bigint, string]>([
  ['UINT64', 0xfedc_ba98_7654_3210n, '1032547698badcfe'],
  ['INT64', 0xffff_ffff_ffff_ffffn, 'ffffffffffffffff'],
  ['UINT32', 0x1_0000_0002n, '02000000'],
  ['INT32', 0xffff_ffffn, 'ffffffff'],
])('%s of %d is cut to its width, little-endian', (datatype, id, hex) => {
  expect(Buffer.from(encodeCorrelation(id, datatype)).toString('hex')).toBe(hex);
});

test('text is one element', () => {
  expect(decodeBytes(encodeCorrelation('séquence', 'BYTES'), 'id').map((one) => Buffer.from(one).toString())).toEqual(['séquence']);
});
