/** @hotpath a tensor as the model's code sees it (measured by request-channel.bench.ts) */

import { decodeBytes } from '../../proto/bytes.ts';
import type { Datatype } from '../../proto/datatype.ts';
import { fromBf16, fromFp16 } from '../../proto/float16.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { ELEMENT_ARRAYS } from './element-arrays.ts';
import type { Tensor as ModelTensor, NumberArray } from './model-api.ts';

export class TensorView implements ModelTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  #data: NumberArray | Uint8Array[] | null = null;

  constructor({ name, datatype, shape, data }: Tensor) {
    this.name = name;
    this.datatype = datatype;
    this.shape = shape;
    this.bytes = data;
  }

  get data(): NumberArray | Uint8Array[] {
    this.#data ??= this.datatype === 'BYTES' ? decodeBytes(this.bytes, `'${this.name}'`) : numbersOf(this.datatype, this.bytes);
    return this.#data;
  }

  strings(): string[] {
    if (this.datatype !== 'BYTES') throw invalidArgument(`strings(): '${this.name}' is ${this.datatype}, expected BYTES; use data`);
    const elements = decodeBytes(this.bytes, `'${this.name}'`);
    return elements.map((element) => Buffer.from(element.buffer, element.byteOffset, element.length).toString('utf8'));
  }

  floats(): Float32Array {
    const { data, datatype } = this;
    if (data instanceof Float32Array) return data;
    if (data instanceof Float64Array) return Float32Array.from(data);
    if (datatype === 'FP16') return Float32Array.from(data as Uint16Array, fromFp16);
    if (datatype === 'BF16') return Float32Array.from(data as Uint16Array, fromBf16);
    throw invalidArgument(`floats(): '${this.name}' is ${datatype}, expected FP16, BF16, FP32 or FP64; use data`);
  }
}

function numbersOf(datatype: Exclude<Datatype, 'BYTES'>, bytes: Uint8Array): NumberArray {
  const { array } = ELEMENT_ARRAYS[datatype];
  const size = array.BYTES_PER_ELEMENT;
  // Frames have them on boundaries of eight; bytes from anywhere else are copied there.
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new array(buffer, byteOffset, bytes.length / size);
}
