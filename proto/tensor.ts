import type { Datatype } from './datatype.ts';

/**
 * One tensor, in or out, on every protocol.
 *
 * `data` is the tensor's bytes exactly as the binary tensor extension lays them out: little-endian, row-major, packed, BOOL one byte,
 * BYTES each element behind a 4-byte little-endian length. It is never turned into JavaScript numbers on the way to a model.
 */
export interface Tensor {
  readonly name: string;
  readonly datatype: Datatype;
  /** Every dimension, the batch dimension included; [] is a scalar. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}
