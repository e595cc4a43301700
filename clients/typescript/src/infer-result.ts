import { countBytesElements, decodeBytes } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, elementCount } from '../../../proto/datatype.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { CallError } from './call-error.ts';
import { type DataOf, readStrings, toFloat32, viewTensorData } from './tensor-data.ts';
import type { InferParameters, InferResponse, OutputTensor } from './transport.ts';

/** One output of an answer. Its bytes belong to the receiver. */
export class InferOutput<D extends Datatype = Datatype> {
  readonly name: string;
  readonly datatype: D;
  readonly shape: readonly number[];
  readonly #raw: Uint8Array | null;
  #data: DataOf[D] | null = null;

  constructor(tensor: OutputTensor) {
    this.name = tensor.name;
    this.datatype = tensor.datatype as D;
    this.shape = tensor.shape;
    this.#raw = tensor.data;
  }

  /** The tensor's bytes as the binary tensor extension has them; not aligned. Throws INVALID_ARGUMENT when it was written to shared memory. */
  get raw(): Uint8Array {
    if (this.#raw === null) {
      throw new InferenceError('INVALID_ARGUMENT', `outputs.${this.name} was written to shared memory, as asked: read it there`);
    }
    return this.#raw;
  }

  /** The elements, row-major, flat: a typed array, or the strings of a BYTES tensor. The same object every time. */
  get data(): DataOf[D] {
    this.#data ??= this.#read();
    return this.#data;
  }

  /** A BYTES tensor's elements as text; throws INVALID_ARGUMENT for one that is no UTF-8, and for other datatypes. */
  strings(): string[] {
    this.#requireBytes('strings()');
    return readStrings(this.raw, `outputs.${this.name}`);
  }

  /** A BYTES tensor's elements as they came; throws INVALID_ARGUMENT for other datatypes. */
  bytes(): Uint8Array[] {
    this.#requireBytes('bytes()');
    return decodeBytes(this.raw, `outputs.${this.name}`);
  }

  /** A BOOL tensor, or any other numeric one, as what is not 0. */
  booleans(): boolean[] {
    if ((this.datatype as Datatype) === 'BYTES')
      throw new InferenceError('INVALID_ARGUMENT', `outputs.${this.name}: BYTES are no booleans`);
    const values = this.data as ArrayLike<number | bigint>;
    return Array.from(values, (value) => Boolean(value));
  }

  /** The values as float32, those of FP16 and BF16 exactly; throws INVALID_ARGUMENT for BYTES, INT64 and UINT64. */
  toFloat32(): Float32Array {
    return toFloat32(this.datatype, this.raw, `outputs.${this.name}`);
  }

  #read(): DataOf[D] {
    const datatype: Datatype = this.datatype;
    const data: DataOf[Datatype] = datatype === 'BYTES' ? this.strings() : viewTensorData(datatype, this.raw);
    return data as DataOf[D];
  }

  #requireBytes(method: string): void {
    const datatype: Datatype = this.datatype;
    if (datatype !== 'BYTES') {
      throw new InferenceError('INVALID_ARGUMENT', `outputs.${this.name}: ${method} is for BYTES, and this is ${datatype}: read its data`);
    }
  }
}

/** One answer of a model. `O` says which outputs it has; a type written by `nereid client types` knows. */
export class InferResult<O extends object = Record<string, InferOutput>> {
  readonly modelName: string;
  /** The version that answered. */
  readonly modelVersion: string;
  /** The request's, '' when it had none. */
  readonly id: string;
  readonly parameters: InferParameters;
  /** By name; an object without a prototype. */
  readonly outputs: Readonly<O>;

  constructor(response: InferResponse) {
    this.modelName = response.modelName;
    this.modelVersion = response.modelVersion;
    this.id = response.id;
    this.parameters = response.parameters;
    const outputs = Object.create(null) as Record<string, InferOutput>;
    for (const tensor of response.outputs) outputs[tensor.name] = new InferOutput(tensor);
    this.outputs = outputs as unknown as O;
  }

  /** An output by its name; throws NOT_FOUND, naming the nearest, when the answer has none such. */
  output<N extends keyof O & string>(name: N): O[N] {
    const output = this.outputs[name] as O[N] | undefined;
    if (output !== undefined) return output;
    const names = Object.keys(this.outputs);
    throw new InferenceError(
      'NOT_FOUND',
      `no output '${name}' in the answer, which has ${names.join(', ') || 'none'}${didYouMean(name, names)}`,
    );
  }
}

/** That an output's bytes are what its datatype and shape ask for, whatever wire they came by. Throws INTERNAL: the server is wrong, not the caller. */
export function checkOutput(tensor: OutputTensor): OutputTensor {
  const { name, datatype, shape, data } = tensor;
  const count = elementCount(shape);
  if (count < 0) throw malformedAnswer(`outputs.${name}.shape: expected integers >= 0, got [${shape}]`);
  if (data === null) return tensor;
  const size = byteSizeOf(datatype);
  if (size > 0) {
    if (data.length !== count * size) {
      throw malformedAnswer(`outputs.${name}: expected ${count * size} bytes for ${datatype} of shape [${shape}], got ${data.length}`);
    }
    return tensor;
  }
  let elements: number;
  try {
    elements = countBytesElements(data, `outputs.${name}`);
  } catch (error) {
    throw malformedAnswer((error as Error).message, error);
  }
  if (elements !== count) throw malformedAnswer(`outputs.${name}: expected ${count} elements for shape [${shape}], got ${elements}`);
  return tensor;
}

/** An answer that is none: INTERNAL, never repeated. */
export function malformedAnswer(detail: string, cause?: unknown): CallError {
  return new CallError('INTERNAL', `the server's answer cannot be read: ${detail}`, { phase: 'answered', cause });
}
