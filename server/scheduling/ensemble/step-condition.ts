/** @hotpath each condition of a step, once per request (measured by ensemble-scheduler.bench.ts) */

import type { ModelEnsemblingCondition } from '../../../backends/api/model-config.ts';
import { fromBf16, fromFp16, toBf16, toFp16 } from '../../../proto/float16.ts';
import type { Tensor } from '../../../proto/tensor.ts';

/** One line of a step's `when`, made ready at load: holds or not by the first element of a tensor. */
export class StepCondition {
  readonly slot: number;
  readonly #isNegated: boolean;
  readonly #values: readonly ExpectedValue[];

  constructor(slot: number, { equals, not }: ModelEnsemblingCondition) {
    this.slot = slot;
    this.#isNegated = not;
    this.#values = equals.map(expectedValue);
  }

  /** `tensor` null: it was not made, so nothing can be said of it but by `not`. */
  holds(tensor: Tensor | null): boolean {
    return this.#says(tensor) !== this.#isNegated;
  }

  #says(tensor: Tensor | null): boolean {
    if (tensor === null || tensor.data.length === 0) return false;
    const { datatype, data } = tensor;
    const values = this.#values;
    if (datatype === 'BYTES') {
      const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(0, true);
      if (values.length === 0) return length > 0;
      for (let i = 0; i < values.length; i++) if (isSameText(data, length, values[i]!.bytes)) return true;
      return false;
    }
    const first = firstElement(tensor);
    // Neither a number nor its negative is "not zero".
    if (values.length === 0) return first !== 0 && first !== 0n && !Number.isNaN(first);
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (typeof first === 'bigint' ? value.integer === first : rounded(value.number, tensor) === first) return true;
    }
    return false;
  }
}

/** A text of `equals` in every form that a tensor's element may ask for. */
interface ExpectedValue {
  readonly bytes: Uint8Array;
  /** NaN: it is no number. */
  readonly number: number;
  readonly integer: bigint | null;
}

function expectedValue(text: string): ExpectedValue {
  const isBoolean = text === 'true' || text === 'false';
  const isNumber = text.trim() !== '' && !isBoolean;
  return {
    bytes: new TextEncoder().encode(text),
    number: isBoolean ? Number(text === 'true') : isNumber ? Number(text) : Number.NaN,
    integer: isBoolean ? BigInt(text === 'true') : /^-?\d{1,20}$/.test(text) ? BigInt(text) : null,
  };
}

function isSameText(data: Uint8Array, length: number, expected: Uint8Array): boolean {
  if (length !== expected.length) return false;
  for (let i = 0; i < length; i++) if (data[4 + i] !== expected[i]) return false;
  return true;
}

function firstElement({ datatype, data }: Tensor): number | bigint {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  switch (datatype) {
    case 'INT8':
      return view.getInt8(0);
    case 'INT16':
      return view.getInt16(0, true);
    case 'UINT16':
      return view.getUint16(0, true);
    case 'INT32':
      return view.getInt32(0, true);
    case 'UINT32':
      return view.getUint32(0, true);
    case 'INT64':
      return view.getBigInt64(0, true);
    case 'UINT64':
      return view.getBigUint64(0, true);
    case 'FP16':
      return fromFp16(view.getUint16(0, true));
    case 'BF16':
      return fromBf16(view.getUint16(0, true));
    case 'FP32':
      return view.getFloat32(0, true);
    case 'FP64':
      return view.getFloat64(0, true);
    default:
      return view.getUint8(0);
  }
}

/** What the number is once it is of the tensor's type: 0.1 is another number in FP32 than in FP64. */
function rounded(value: number, { datatype }: Tensor): number {
  switch (datatype) {
    case 'FP16':
      return fromFp16(toFp16(value));
    case 'BF16':
      return fromBf16(toBf16(value));
    case 'FP32':
      return Math.fround(value);
    default:
      return value;
  }
}
