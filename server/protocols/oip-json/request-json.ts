/** @hotpath one pass over the JSON of an infer request; its tensors' numbers go straight to their bytes */

import { byteSizeOf, DATATYPES, type Datatype, elementCount, MAX_TENSOR_BYTES } from '../../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestedOutput } from '../../inference/inference-request.ts';
import { skipArray } from './array-walker.ts';
import { FLAG, readText, readUnsigned, UNSIGNED, wrongField, wrongText } from './field-reader.ts';
import { describeJson, JsonReader, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-reader.ts';
import { scanTensorData } from './number-scanner.ts';
import { NO_REQUEST_PARAMETERS, RequestParameters } from './request-parameters.ts';

/** Bounds on what one request may list. No model comes near them; they keep a hostile body's cost in line with an honest one's. */
const MAX_TENSORS = 4_096;
const MAX_RANK = 64;

const DATATYPE_NAMES = Object.keys(DATATYPES) as readonly Datatype[];
const NO_OUTPUTS: readonly RequestedOutput[] = Object.freeze([]);

/** What the model expects: where a request agrees, its names need no new strings. */
export interface ExpectedInput {
  readonly name: string;
  readonly datatype: Datatype;
}

/** Members of a request that stand beside the protocol's own, where its carrier names no model: a WebSocket message does not, a URL does. */
export interface RequestEnvelope {
  /** Takes the value of the key last scanned and returns true; false, with nothing taken, when the key is none of its own. */
  takeMember(reader: JsonReader): boolean;
  /** What was read asks for no inference, so that it needs no inputs. */
  readonly isControl: boolean;
}

/** What a request says, whoever is to answer it. */
export interface ReadRequest {
  readonly id: string;
  readonly inputs: readonly Tensor[];
  /** Those that it lists. */
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<RequestParameters>;
}

/**
 * Parses the JSON of `POST /v2/models/<model>/infer`. After {@link parse} its fields hold the request. Strict where Triton is lax: a repeated key, a byte order
 * mark, bytes behind the document and invalid UTF-8 are refused. Unknown keys are ignored, as in Triton. Every refusal is INVALID_ARGUMENT, or UNIMPLEMENTED for
 * shared memory and sequences.
 *
 * Source: Open Inference Protocol, `$inference_request`, with Triton's binary tensor data, classification and parameters extensions.
 */
export class RequestJsonParser implements ReadRequest {
  id = '';
  /** Where the id lies in the JSON, between its quotes. */
  idStart = 0;
  idEnd = 0;
  parameters: Readonly<RequestParameters> = NO_REQUEST_PARAMETERS;
  readonly inputs: Tensor[] = [];
  outputs: readonly RequestedOutput[] = NO_OUTPUTS;

  private readonly reader: JsonReader;
  private readonly body: Uint8Array;
  private readonly expected: readonly ExpectedInput[];
  private readonly expectedOutputs: readonly { readonly name: string }[];
  /** Where the next binary input's bytes begin in the body. */
  private tailAt: number;
  private unknownKeys: Set<string> | null = null;
  private readonly envelope: RequestEnvelope | null;

  /** `body` is the whole body, of which the first `jsonBytes` are JSON and the rest the binary inputs' bytes. Binary inputs become views of it. */
  constructor(
    body: Uint8Array,
    jsonBytes: number,
    expected: readonly ExpectedInput[],
    expectedOutputs: readonly { readonly name: string }[],
    envelope: RequestEnvelope | null = null,
  ) {
    this.reader = new JsonReader(jsonBytes === body.length ? body : body.subarray(0, jsonBytes));
    this.body = body;
    this.tailAt = jsonBytes;
    this.expected = expected;
    this.expectedOutputs = expectedOutputs;
    this.envelope = envelope;
  }

  parse(): void {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACE)) throw reader.unexpected('an object');
    let seen = 0;
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('inputs')) {
        seen = reader.mark(seen, 1);
        this.parseInputs();
      } else if (reader.stringIs('outputs')) {
        seen = reader.mark(seen, 2);
        this.parseOutputs();
      } else if (reader.stringIs('id')) {
        seen = reader.mark(seen, 4);
        const id = readText(reader);
        if (id === undefined) throw wrongText(reader, 'id', 'id');
        this.id = id;
        this.idStart = reader.stringStart;
        this.idEnd = reader.stringEnd;
      } else if (reader.stringIs('parameters')) {
        seen = reader.mark(seen, 8);
        this.parameters = new RequestParameters(reader);
      } else if (this.envelope === null || !this.envelope.takeMember(reader)) {
        this.skipUnknown();
      }
    }
    reader.expectEnd();
    if ((seen & 1) === 0 && !this.envelope?.isControl) {
      throw invalidArgument(`Unable to parse 'inputs': the request has no 'inputs': expected an array of tensors`);
    }
    if (this.tailAt !== this.body.length) {
      throw invalidArgument(
        `unexpected additional input data for model: ${this.body.length - this.tailAt} bytes are left behind those that the inputs' binary_data_size name`,
      );
    }
  }

  /** An unknown key of the object being read. Objects nest in known ways only, so the one set is for the innermost that has any. */
  private skipUnknown(): void {
    const keys = this.unknownKeys ?? new Set();
    this.reader.addKey(keys);
    this.reader.skipValue();
    this.unknownKeys = keys;
  }

  private parseInputs(): void {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACKET)) throw wrongField(reader, 'inputs', 'inputs', 'an array');
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      if (this.inputs.length === MAX_TENSORS) throw invalidArgument(`inputs: expected at most ${MAX_TENSORS} tensors, got more`);
      this.inputs.push(this.parseInput(this.inputs.length));
    }
  }

  private parseInput(index: number): Tensor {
    const reader = this.reader;
    const expected = this.expected[index];
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'inputs', `inputs[${index}]`, 'an object');
    const outerKeys = this.unknownKeys;
    this.unknownKeys = null;
    let seen = 0;
    let name = '';
    let datatype: Datatype | null = null;
    let shape: number[] | null = null;
    let count = 0;
    let dataAt = -1;
    let data: Uint8Array | null = null;
    let binaryBytes = -1;
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('name')) {
        seen = reader.mark(seen, 1);
        name = this.readName(expected, 'inputs', index);
      } else if (reader.stringIs('shape')) {
        seen = reader.mark(seen, 2);
        shape = this.readShape(index, name);
        if (datatype !== null) count = checkedCount(shape, datatype, index, name);
      } else if (reader.stringIs('datatype')) {
        seen = reader.mark(seen, 4);
        datatype = this.readDatatype(expected, index, name);
        if (shape !== null) count = checkedCount(shape, datatype, index, name);
      } else if (reader.stringIs('data')) {
        seen = reader.mark(seen, 8);
        if (reader.peek() !== OPEN_BRACKET) throw wrongField(reader, 'data', `${label('inputs', index, name)}.data`, 'an array');
        if (datatype !== null && shape !== null && name !== '') {
          const scanned = scanTensorData(reader.bytes, reader.at, index, name, datatype, shape, count);
          data = scanned.data;
          reader.at = scanned.end;
        } else {
          dataAt = reader.at;
          reader.at = skipArray(reader.bytes, reader.at);
        }
      } else if (reader.stringIs('parameters')) {
        seen = reader.mark(seen, 16);
        binaryBytes = this.parseInputParameters(index, name);
      } else {
        this.skipUnknown();
      }
    }
    this.unknownKeys = outerKeys;
    if (name === '') throw invalidArgument(`Unable to parse 'name': inputs[${index}].name: expected a name, got none`);
    if (shape === null)
      throw invalidArgument(`Unable to parse 'shape': ${label('inputs', index, name)} has no 'shape': expected an array of integers >= 0`);
    if (datatype === null) {
      throw invalidArgument(
        `Unable to parse 'datatype': ${label('inputs', index, name)} has no 'datatype': expected one of ${DATATYPE_NAMES.join(', ')}`,
      );
    }
    const hasData = (seen & 8) !== 0;
    if (hasData === binaryBytes >= 0) {
      throw invalidArgument(
        `${label('inputs', index, name)} must have either 'data' or parameters.binary_data_size, got ${hasData ? 'both' : 'neither'}: put its numbers into 'data', or its bytes behind the JSON`,
      );
    }
    if (dataAt >= 0) data = scanTensorData(reader.bytes, dataAt, index, name, datatype, shape, count).data;
    return { name, datatype, shape, data: data ?? this.takeBinary(index, name, binaryBytes) };
  }

  /** A view of the body: valid for as long as the body is. */
  private takeBinary(index: number, name: string, bytes: number): Uint8Array {
    const body = this.body;
    const left = body.length - this.tailAt;
    if (bytes > left) {
      throw invalidArgument(
        `unexpected size for input '${name}', expecting ${bytes - left} additional bytes for model: ${label('inputs', index, name)}.parameters.binary_data_size is ${bytes}, ${left} bytes are left in the body`,
      );
    }
    const data = new Uint8Array(body.buffer, body.byteOffset + this.tailAt, bytes);
    this.tailAt += bytes;
    return data;
  }

  private readName(expected: { readonly name: string } | undefined, list: string, index: number): string {
    const reader = this.reader;
    if (expected !== undefined && reader.peek() === QUOTE) {
      const start = reader.at;
      reader.scanString();
      if (reader.stringIs(expected.name)) return expected.name;
      reader.at = start;
    }
    const name = readText(reader);
    if (name === undefined) throw wrongText(reader, 'name', `${list}[${index}].name`);
    return name;
  }

  private readDatatype(expected: ExpectedInput | undefined, index: number, name: string): Datatype {
    const reader = this.reader;
    if (reader.peek() !== QUOTE) throw wrongField(reader, 'datatype', `${label('inputs', index, name)}.datatype`, 'a string');
    reader.scanString();
    if (expected !== undefined && reader.stringIs(expected.datatype)) return expected.datatype;
    for (let i = 0; i < DATATYPE_NAMES.length; i++) if (reader.stringIs(DATATYPE_NAMES[i]!)) return DATATYPE_NAMES[i]!;
    const got = describeJson(reader.bytes, reader.stringStart - 1);
    throw invalidArgument(
      `invalid datatype for input: ${label('inputs', index, name)}.datatype: expected one of ${DATATYPE_NAMES.join(', ')}, got ${got}${didYouMean(got.replaceAll('"', ''), DATATYPE_NAMES)}`,
    );
  }

  private readShape(index: number, name: string): number[] {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACKET)) throw wrongField(reader, 'shape', `${label('inputs', index, name)}.shape`, 'an array');
    const shape: number[] = [];
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      if (shape.length === MAX_RANK) {
        throw invalidArgument(
          `Unable to parse 'shape': ${label('inputs', index, name)}.shape: expected at most ${MAX_RANK} dimensions, got more`,
        );
      }
      const dim = reader.readInteger();
      if (dim === undefined) throw wrongField(reader, 'shape', `${label('inputs', index, name)}.shape[${shape.length}]`, 'an integer >= 0');
      if (dim < 0) {
        throw invalidArgument(
          `Unable to parse 'shape': ${label('inputs', index, name)}.shape[${shape.length}]: expected an integer >= 0, got ${dim}. All input dimensions should be specified for input '${name}'`,
        );
      }
      shape.push(dim);
    }
    return shape;
  }

  /** Returns `binary_data_size`, or -1. */
  private parseInputParameters(index: number, name: string): number {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'parameters', `${label('inputs', index, name)}.parameters`, 'an object');
    const outerKeys = this.unknownKeys;
    this.unknownKeys = null;
    let bytes = -1;
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('binary_data_size')) {
        if (bytes >= 0) throw reader.repeatedKey();
        const value = readUnsigned(reader);
        if (value === undefined) {
          throw wrongField(reader, 'binary_data_size', `${label('inputs', index, name)}.parameters.binary_data_size`, UNSIGNED);
        }
        bytes = value;
      } else {
        this.refuseSharedMemory('inputs', index, name);
        this.skipUnknown();
      }
    }
    this.unknownKeys = outerKeys;
    return bytes;
  }

  private refuseSharedMemory(list: 'inputs' | 'outputs', index: number, name: string): void {
    const reader = this.reader;
    if (reader.stringIs('shared_memory_region') || reader.stringIs('shared_memory_offset') || reader.stringIs('shared_memory_byte_size')) {
      throw new InferenceError(
        'UNIMPLEMENTED',
        `${label(list, index, name)}.parameters.${reader.stringText()}: this server takes no shared memory: send tensors in the body, as JSON or as binary data`,
      );
    }
  }

  private parseOutputs(): void {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACKET)) throw wrongField(reader, 'outputs', 'outputs', 'an array');
    const outputs: RequestedOutput[] = [];
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      if (outputs.length === MAX_TENSORS) throw invalidArgument(`outputs: expected at most ${MAX_TENSORS} outputs, got more`);
      outputs.push(this.parseOutput(outputs.length));
    }
    this.outputs = outputs;
  }

  private parseOutput(index: number): RequestedOutput {
    const reader = this.reader;
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'outputs', `outputs[${index}]`, 'an object');
    const outerKeys = this.unknownKeys;
    this.unknownKeys = null;
    let seen = 0;
    let name = '';
    let classification = 0;
    let binaryData = false;
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      if (reader.stringIs('name')) {
        seen = reader.mark(seen, 1);
        name = this.readName(this.expectedOutputs[index], 'outputs', index);
      } else if (reader.stringIs('parameters')) {
        seen = reader.mark(seen, 2);
        if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'parameters', `${label('outputs', index, name)}.parameters`, 'an object');
        const keysAround: Set<string> | null = this.unknownKeys;
        this.unknownKeys = null;
        for (let isFirstKey = true; reader.nextKey(isFirstKey); isFirstKey = false) {
          if (reader.stringIs('binary_data')) {
            seen = reader.mark(seen, 4);
            const flag = reader.readBoolean();
            if (flag === undefined) {
              throw wrongField(reader, 'binary_data', `${label('outputs', index, name)}.parameters.binary_data`, FLAG);
            }
            binaryData = flag;
          } else if (reader.stringIs('classification')) {
            seen = reader.mark(seen, 8);
            const value = readUnsigned(reader);
            if (value === undefined) {
              throw wrongField(reader, 'classification', `${label('outputs', index, name)}.parameters.classification`, UNSIGNED);
            }
            classification = value;
          } else {
            this.refuseSharedMemory('outputs', index, name);
            this.skipUnknown();
          }
        }
        this.unknownKeys = keysAround;
      } else {
        this.skipUnknown();
      }
    }
    this.unknownKeys = outerKeys;
    if (name === '') throw invalidArgument(`Unable to parse 'name': outputs[${index}].name: expected a name, got none`);
    return { name, classification, binaryData };
  }
}

function label(list: 'inputs' | 'outputs', index: number, name: string): string {
  return name === '' ? `${list}[${index}]` : `${list}[${index}] (${name})`;
}

function checkedCount(shape: readonly number[], datatype: Datatype, index: number, name: string): number {
  const count = elementCount(shape);
  if (count < 0) {
    throw invalidArgument(
      `${label('inputs', index, name)}.shape: [${shape.join(',')}] for input '${name}' causes total element count to exceed maximum size of ${MAX_TENSOR_BYTES}`,
    );
  }
  if (count * byteSizeOf(datatype) > MAX_TENSOR_BYTES) {
    throw invalidArgument(
      `byte size overflow for input '${name}': ${label('inputs', index, name)}.shape: [${shape.join(',')}] of ${datatype} is more than the maximum of ${MAX_TENSOR_BYTES} bytes`,
    );
  }
  return count;
}
