import { type Datatype, elementCount, findDatatype } from '../../../../proto/datatype.ts';
import { InferenceError, type StatusCode } from '../../../../proto/inference-error.ts';
import { DELIMITED, type MessageFields, ProtobufReader } from '../../../../proto/protobuf-reader.ts';
import { STATUS_FORMS } from '../../../../proto/status-forms.ts';
import { CallError } from '../call-error.ts';
import { checkOutput, malformedAnswer } from '../infer-result.ts';
import { unknownDatatype } from '../tensor-data.ts';
import type { InferParameter, InferParameters, InferRequest, InferResponse, OutputTensor } from '../transport.ts';
import { decodeContents } from './decode-contents.ts';

const RESPONSE: MessageFields = {
  name: 'ModelInferResponse',
  fields: ['', 'model_name', 'model_version', 'id', 'parameters', 'outputs', 'raw_output_contents'],
};
const OUTPUT: MessageFields = { name: 'ModelInferResponse.outputs', fields: ['', 'name', 'datatype', 'shape', 'parameters', 'contents'] };
const STREAM: MessageFields = { name: 'ModelStreamInferResponse', fields: ['', 'error_message', 'infer_response'] };
const ENTRY: MessageFields = { name: 'parameters', fields: ['', 'key', 'value'] };
const PARAMETER: MessageFields = {
  name: 'InferParameter',
  fields: ['', 'bool_param', 'int64_param', 'string_param', 'double_param', 'uint64_param'],
};
const FINAL_RESPONSE = 'triton_final_response';
const REGION = 'shared_memory_region';
const NONE: InferParameters = Object.freeze({});

/** An output before its bytes are found. */
interface Draft {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly isShared: boolean;
  /** Where `contents` lies; null: there are none. */
  readonly contents: Range | null;
}

interface Range {
  readonly start: number;
  readonly stop: number;
}

/** A message of ModelStreamInfer. */
export interface StreamedResponse {
  readonly response: InferResponse;
  /** The last of its request; null: the server does not say. */
  readonly isFinal: boolean | null;
}

/**
 * A `ModelInferResponse`: outputs are views of `bytes` where they came raw. `request` tells which outputs went to shared memory. Throws INTERNAL for what is no such message,
 * or does not fit together.
 *
 * Source: Open Inference Protocol, ModelInferResponse.
 */
export function decodeInferResponse(bytes: Uint8Array, request: InferRequest): InferResponse {
  return readable(() => readResponse(new ProtobufReader(bytes, RESPONSE), request).response);
}

/**
 * A `ModelStreamInferResponse`. Throws, for one with `error_message`, what that says. The form has no place for a status: where the response parameter `error_code` (Nereid's)
 * names none, it is UNKNOWN. Source: Triton's decoupled extension.
 */
export function decodeStreamResponse(bytes: Uint8Array, request: InferRequest): StreamedResponse {
  return readable(() => {
    const reader = new ProtobufReader(bytes, STREAM);
    let error = '';
    let range: Range = { start: 0, stop: 0 };
    while (reader.next()) {
      reader.uncounted();
      if (reader.field === 1) error = reader.takeText(reader.end);
      else if (reader.field === 2) range = takeRange(reader);
      else reader.skip();
    }
    reader.open(range.start, range.stop, RESPONSE);
    const streamed = readResponse(reader, request);
    if (error === '') return streamed;
    const code = streamed.response.parameters['error_code'];
    throw new CallError(typeof code === 'string' && Object.hasOwn(STATUS_FORMS, code) ? (code as StatusCode) : 'UNKNOWN', error, {
      phase: code === 'UNAVAILABLE' ? 'refused' : 'answered',
    });
  });
}

/** What a reader finds wrong is no mistake of the caller's here. */
function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof CallError || (error instanceof InferenceError && error.code === 'INTERNAL')) throw error;
    throw malformedAnswer((error as Error).message, error);
  }
}

function readResponse(reader: ProtobufReader, request: InferRequest): StreamedResponse {
  let modelName = '';
  let modelVersion = '';
  let id = '';
  const parameters: [string, InferParameter][] = [];
  const drafts: Draft[] = [];
  const raw: Uint8Array[] = [];
  while (reader.next()) {
    reader.uncounted();
    switch (reader.field) {
      case 1:
        modelName = reader.takeText(reader.end);
        break;
      case 2:
        modelVersion = reader.takeText(reader.end);
        break;
      case 3:
        id = reader.takeText(reader.end);
        break;
      case 4:
        readParameter(reader, RESPONSE, parameters);
        break;
      case 5:
        drafts.push(readOutput(reader, request));
        break;
      case 6:
        reader.takeRange();
        raw.push(reader.rangeView());
        break;
      default:
        reader.skip();
    }
  }
  const final = parameters.findIndex(([key]) => key === FINAL_RESPONSE);
  const isFinal = final < 0 ? null : parameters.splice(final, 1)[0]![1] === true;
  const outputs = join(reader, drafts, raw);
  return {
    response: { modelName, modelVersion, id, parameters: parameters.length === 0 ? NONE : Object.fromEntries(parameters), outputs },
    isFinal,
  };
}

/** Gives each output its bytes: an entry of raw contents each, as Triton does it, or one for each output that needs one. */
function join(reader: ProtobufReader, drafts: readonly Draft[], raw: readonly Uint8Array[]): OutputTensor[] {
  const isEach = raw.length === drafts.length;
  let next = 0;
  const outputs = drafts.map(({ name, datatype, shape, isShared, contents }, index) => {
    let data: Uint8Array | null = null;
    if (isShared) {
      if (isEach) next++;
    } else if (contents !== null && !isEach) {
      data = decodeContents(reader, contents.start, contents.stop, datatype, shape, `outputs.${name}.contents`);
    } else if (raw.length === 0 && elementCount(shape) === 0) {
      data = new Uint8Array(0);
    } else {
      data = raw[isEach ? index : next] ?? null;
      if (data === null)
        throw malformedAnswer(`outputs.${name} has no bytes: ${raw.length} raw_output_contents for ${drafts.length} outputs`);
      next++;
    }
    return checkOutput({ name, datatype, shape, data });
  });
  if (next < raw.length) throw malformedAnswer(`${raw.length} raw_output_contents for ${drafts.length} outputs`);
  return outputs;
}

function readOutput(reader: ProtobufReader, request: InferRequest): Draft {
  let name = '';
  let datatype = '';
  const shape: number[] = [];
  const parameters: [string, InferParameter][] = [];
  let contents: Range | null = null;
  const outerEnd = reader.enter(OUTPUT);
  while (reader.next()) {
    reader.uncounted();
    switch (reader.field) {
      case 1:
        name = reader.takeText(reader.end);
        break;
      case 2:
        datatype = reader.takeText(reader.end);
        break;
      case 3:
        readShape(reader, shape);
        break;
      case 4:
        readParameter(reader, OUTPUT, parameters);
        break;
      case 5:
        contents = takeRange(reader);
        break;
      default:
        reader.skip();
    }
  }
  reader.leave(outerEnd, RESPONSE);
  const info = findDatatype(datatype);
  if (info === undefined) throw unknownDatatype(datatype, `outputs.${name}`);
  const isShared =
    parameters.some(([key]) => key === REGION) || request.outputs.some((output) => output.name === name && output.sharedMemory !== null);
  return { name, datatype: info.name, shape, isShared, contents };
}

function takeRange(reader: ProtobufReader): Range {
  reader.takeRange();
  return { start: reader.start, stop: reader.stop };
}

function readShape(reader: ProtobufReader, shape: number[]): void {
  if (reader.wireType !== DELIMITED) {
    shape.push(reader.takeInt64());
    return;
  }
  const outerEnd = reader.enter(OUTPUT);
  while (reader.at < reader.end) {
    reader.varint();
    shape.push(reader.int64());
  }
  reader.leave(outerEnd, OUTPUT);
}

/** One entry of a `map<string, InferParameter>`; one that sets no value is none. */
function readParameter(reader: ProtobufReader, within: MessageFields, into: [string, InferParameter][]): void {
  let key = '';
  let value: InferParameter | null = null;
  const outerEnd = reader.enter(ENTRY);
  while (reader.next()) {
    reader.uncounted();
    if (reader.field === 1) key = reader.takeText(reader.end);
    else if (reader.field === 2) value = readValue(reader);
    else reader.skip();
  }
  reader.leave(outerEnd, within);
  if (value !== null) into.push([key, value]);
}

function readValue(reader: ProtobufReader): InferParameter | null {
  let value: InferParameter | null = null;
  const entryEnd = reader.enter(PARAMETER);
  while (reader.next()) {
    reader.uncounted();
    switch (reader.field) {
      case 1:
        value = reader.takeBool();
        break;
      case 2:
        reader.takeVarint();
        value = exact(reader.int64(), reader.high, reader.low);
        break;
      case 3:
        value = reader.takeText(reader.end);
        break;
      case 4:
        value = reader.takeDouble();
        break;
      case 5:
        reader.takeVarint();
        value = exact(reader.uint64(), reader.high >>> 0, reader.low);
        break;
      default:
        reader.skip();
    }
  }
  reader.leave(entryEnd, ENTRY);
  return value;
}

/** A bigint where no double holds the value. */
function exact(value: number, high: number, low: number): InferParameter {
  return Number.isNaN(value) ? (BigInt(high) << 32n) | BigInt(low >>> 0) : value;
}
