/** @hotpath once per sequence (measured by sequence-scheduler.bench.ts) */

import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';

/** The bytes of a correlation id as a control input has it; a number is cut to the control's width, as in Triton. */
export function encodeCorrelation(id: bigint | string, datatype: Datatype): Uint8Array {
  if (datatype === 'BYTES') return encodeBytes([String(id)]);
  const data = new Uint8Array(datatype === 'UINT64' || datatype === 'INT64' ? 8 : 4);
  const view = new DataView(data.buffer);
  const number = typeof id === 'bigint' ? id : 0n;
  if (data.length === 8) view.setBigUint64(0, BigInt.asUintN(64, number), true);
  else view.setUint32(0, Number(BigInt.asUintN(32, number)), true);
  return data;
}
