import { invalidArgument } from '../../../../proto/inference-error.ts';
import { delimitedSize, int64Size, ProtobufWriter, textSize } from '../../../../proto/protobuf-writer.ts';
import type { InferParameter, InferParameters, InferRequest, SharedMemoryRange } from '../transport.ts';

/** What gRPC carries in one message: implementations keep its length in 31 bits. */
const MAX_MESSAGE_BYTES = 2 ** 31 - 1;

/** Members of `InferParameter.parameter_choice`, and their field numbers. */
const BOOL = 1;
const INT64 = 2;
const STRING = 3;
const DOUBLE = 4;
const UINT64 = 5;

/** An entry of a `map<string, InferParameter>`, measured. */
interface ParameterEntry {
  readonly key: string;
  readonly keySize: number;
  readonly choice: number;
  readonly value: InferParameter;
  /** Of the InferParameter. */
  readonly valueSize: number;
  readonly size: number;
}

interface NamedPart {
  readonly name: string;
  readonly nameSize: number;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly shapeSize: number;
  readonly parameters: readonly ParameterEntry[];
  readonly size: number;
}

const NO_PARAMETERS: InferParameters = Object.freeze({});
const NO_SHAPE: readonly number[] = Object.freeze([]);

/**
 * A `ModelInferRequest` in one buffer of its exact size: tensors always in `raw_input_contents`, which every datatype has and which costs one copy. `wantsEmptyFinal`: asks a
 * decoupled model to say that it has no more. Throws INVALID_ARGUMENT for a parameter that has no form here and for what is too large for a message.
 *
 * Source: Open Inference Protocol, ModelInferRequest; Triton's classification, shared memory and decoupled extensions.
 */
export function encodeInferRequest(request: InferRequest, wantsEmptyFinal: boolean): Buffer {
  const all = wantsEmptyFinal ? { triton_enable_empty_final_response: true, ...request.parameters } : request.parameters;
  const parameters = measureParameters(all, 'parameters');
  const nameSize = textSize(request.modelName);
  const versionSize = textSize(request.modelVersion);
  const idSize = textSize(request.id);
  let size = sizeOf(nameSize) + sizeOf(versionSize) + sizeOf(idSize) + parametersSize(parameters);

  const inputs: NamedPart[] = [];
  for (const { name, datatype, shape, data } of request.inputs) {
    const isSent = data instanceof Uint8Array;
    const part = measurePart(name, datatype, shape, isSent ? NO_PARAMETERS : rangeParameters(data), `inputs.${name}`);
    inputs.push(part);
    size += delimitedSize(part.size);
    if (isSent) size += delimitedSize(data.length);
  }
  const outputs: NamedPart[] = [];
  for (const { name, classification, sharedMemory } of request.outputs) {
    const own: Record<string, InferParameter> = sharedMemory === null ? {} : rangeParameters(sharedMemory);
    if (classification > 0) own['classification'] = classification;
    const part = measurePart(name, '', NO_SHAPE, own, `outputs.${name}`);
    outputs.push(part);
    size += delimitedSize(part.size);
  }
  if (size > MAX_MESSAGE_BYTES) {
    throw invalidArgument(
      `the request has ${size} bytes, more than gRPC carries in a message (${MAX_MESSAGE_BYTES}): send a smaller batch`,
    );
  }

  const writer = new ProtobufWriter(size);
  if (nameSize > 0) writer.text(1, request.modelName, nameSize);
  if (versionSize > 0) writer.text(2, request.modelVersion, versionSize);
  if (idSize > 0) writer.text(3, request.id, idSize);
  writeParameters(writer, 4, parameters);
  for (const part of inputs) {
    writer.delimited(5, part.size);
    writer.text(1, part.name, part.nameSize);
    writer.text(2, part.datatype, part.datatype.length);
    if (part.shapeSize > 0) writer.delimited(3, part.shapeSize);
    for (const dim of part.shape) writer.int64(dim);
    writeParameters(writer, 4, part.parameters);
  }
  for (const part of outputs) {
    writer.delimited(6, part.size);
    writer.text(1, part.name, part.nameSize);
    writeParameters(writer, 2, part.parameters);
  }
  for (const { data } of request.inputs) if (data instanceof Uint8Array) writer.bytes(7, data);
  return writer.buffer;
}

/** Of a text that is left out when it is empty. */
function sizeOf(textBytes: number): number {
  return textBytes === 0 ? 0 : delimitedSize(textBytes);
}

/** `datatype` and `shape` are empty for an output. */
function measurePart(name: string, datatype: string, shape: readonly number[], own: InferParameters, where: string): NamedPart {
  const nameSize = textSize(name);
  const parameters = measureParameters(own, where);
  let shapeSize = 0;
  for (const dim of shape) shapeSize += int64Size(dim);
  const size = delimitedSize(nameSize) + sizeOf(datatype.length) + sizeOf(shapeSize) + parametersSize(parameters);
  return { name, nameSize, datatype, shape, shapeSize, parameters, size };
}

function rangeParameters({ region, byteSize, offset }: SharedMemoryRange): Record<string, InferParameter> {
  const parameters: Record<string, InferParameter> = { shared_memory_region: region, shared_memory_byte_size: byteSize };
  if (offset > 0) parameters['shared_memory_offset'] = offset;
  return parameters;
}

function measureParameters(parameters: InferParameters, where: string): ParameterEntry[] {
  const entries: ParameterEntry[] = [];
  for (const key of Object.keys(parameters)) entries.push(measureParameter(key, parameters[key]!, where));
  return entries;
}

function parametersSize(entries: readonly ParameterEntry[]): number {
  let size = 0;
  for (const entry of entries) size += delimitedSize(entry.size);
  return size;
}

function measureParameter(key: string, value: InferParameter, where: string): ParameterEntry {
  const keySize = textSize(key);
  let choice: number;
  let valueSize: number;
  switch (typeof value) {
    case 'boolean':
      choice = BOOL;
      valueSize = 2;
      break;
    case 'string':
      choice = STRING;
      valueSize = delimitedSize(textSize(value));
      break;
    case 'number':
      choice = Number.isSafeInteger(value) ? INT64 : DOUBLE;
      valueSize = choice === INT64 ? 1 + int64Size(value) : 9;
      break;
    case 'bigint':
      choice = choiceOf(value, `${where}.${key}`);
      valueSize = 1 + bigSize(value);
      break;
    default:
      throw invalidArgument(
        `${where}.${key}: expected a string, a number, a bigint or a boolean, got ${value === null ? 'null' : typeof value}`,
      );
  }
  return { key, keySize, choice, value, valueSize, size: delimitedSize(keySize) + delimitedSize(valueSize) };
}

function choiceOf(value: bigint, where: string): number {
  if (BigInt.asIntN(64, value) === value) return INT64;
  if (BigInt.asUintN(64, value) === value) return UINT64;
  throw invalidArgument(`${where}: expected a whole number of 64 bits, got ${value}`);
}

function bigSize(value: bigint): number {
  let size = 1;
  for (let rest = BigInt.asUintN(64, value) >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

function writeParameters(writer: ProtobufWriter, field: number, entries: readonly ParameterEntry[]): void {
  for (const { key, keySize, choice, value, valueSize, size } of entries) {
    writer.delimited(field, size);
    writer.text(1, key, keySize);
    writer.delimited(2, valueSize);
    if (typeof value === 'boolean') writer.bool(choice, value);
    else if (typeof value === 'string') writer.text(choice, value, textSize(value));
    else if (typeof value === 'bigint') writeBig(writer, choice, value);
    else if (choice === INT64) writer.int64Field(choice, value);
    else writer.double(choice, value);
  }
}

function writeBig(writer: ProtobufWriter, field: number, value: bigint): void {
  const { buffer } = writer;
  buffer[writer.at++] = field << 3;
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) buffer[writer.at++] = Number(rest & 0x7fn) | 0x80;
  buffer[writer.at++] = Number(rest);
}
