/** @hotpath a ModelInferRequest to an InferenceRequest, in place: raw tensors stay views of the message */

import { DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { DELIMITED, type MessageFields, ProtobufReader } from '../../../proto/protobuf-reader.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestedOutput } from '../../inference/inference-request.ts';
import type { InferTarget } from '../oip-json/decode-request.ts';
import { MAX_NAME_BYTES } from '../oip-json/field-reader.ts';
import { decodeContents } from './decode-contents.ts';
import { GrpcRequestParameters, NO_GRPC_PARAMETERS, ParameterEntry } from './decode-parameters.ts';
import { tensorLabel } from './tensor-label.ts';

/** Bounds on what one request may list; the same as in JSON. */
const MAX_TENSORS = 4_096;
const MAX_RANK = 64;
const MAX_PARAMETERS = 1_024;

const DATATYPE_NAMES = Object.keys(DATATYPES) as readonly Datatype[];
const NO_OUTPUTS: readonly RequestedOutput[] = Object.freeze([]);

const REQUEST: MessageFields = {
  name: 'ModelInferRequest',
  fields: ['', 'model_name', 'model_version', 'id', 'parameters', 'inputs', 'outputs', 'raw_input_contents'],
};
const INPUT: MessageFields = { name: 'ModelInferRequest.inputs', fields: ['', 'name', 'datatype', 'shape', 'parameters', 'contents'] };
const OUTPUT: MessageFields = { name: 'ModelInferRequest.outputs', fields: ['', 'name', 'parameters'] };

const NO_DIMENSIONS: readonly number[] = Object.freeze([]);
const NO_DATA = new Uint8Array(0);

/** A tensor on its way. */
interface InputTensor extends Tensor {
  data: Uint8Array;
}

const entry = new ParameterEntry();

/**
 * One request message. {@link open} finds out what it is for and where its parts lie; {@link decode} reads them, with the model's signature at hand.
 * Every refusal is INVALID_ARGUMENT, or UNIMPLEMENTED for shared memory.
 *
 * Source: Open Inference Protocol, ModelInferRequest; reference section 3.4.
 */
export class InferRequestMessage {
  modelName = '';
  modelVersion = '';
  id = '';
  parameters: Readonly<GrpcRequestParameters> = NO_GRPC_PARAMETERS;
  private readonly reader: ProtobufReader;
  private inputCount = 0;
  private outputCount = 0;
  private rawCount = 0;
  private parameterCount = 0;
  /** Where to look for the next entry of raw_input_contents. */
  private rawAt = -1;
  /** The contents of the input at hand, starts and stops by turns. */
  private contents: number[] | null = null;

  constructor(message: Uint8Array) {
    this.reader = new ProtobufReader(message, REQUEST);
  }

  open(): void {
    const { reader } = this;
    for (let at = 0; reader.next(); at = reader.at) {
      switch (reader.field) {
        case 1:
          reader.takeRange();
          this.modelName = reader.rangeName(MAX_NAME_BYTES);
          break;
        case 2:
          reader.takeRange();
          this.modelVersion = reader.rangeName(MAX_NAME_BYTES);
          break;
        case 3:
          this.id = reader.takeText(MAX_NAME_BYTES);
          break;
        case 4:
          this.addParameter();
          break;
        case 5:
          reader.takeRange();
          if (++this.inputCount > MAX_TENSORS) throw tooManyTensors('inputs');
          break;
        case 6:
          reader.takeRange();
          if (++this.outputCount > MAX_TENSORS) throw tooManyTensors('outputs');
          break;
        case 7:
          reader.takeRange();
          if (++this.rawCount > MAX_TENSORS) throw tooManyTensors('raw_input_contents');
          if (this.rawAt < 0) this.rawAt = at;
          break;
        default:
          reader.skip();
      }
    }
  }

  decode(target: InferTarget, caller: InferenceCaller): InferenceRequest {
    const { reader } = this;
    const inputs: Tensor[] = [];
    const outputs: RequestedOutput[] | null = this.outputCount === 0 ? null : [];
    let rawTaken = 0;
    reader.rewind(REQUEST);
    while (reader.next()) {
      if (reader.field === 5) {
        const index = inputs.length;
        const input = this.readInput(index, target);
        if (this.rawCount === 0 && this.contents !== null) {
          const back = reader.at;
          input.data = decodeContents(reader, this.contents, index, input);
          reader.open(back, reader.bytes.length, REQUEST);
        } else {
          input.data = this.takeRaw(index, input.name, rawTaken++, target);
        }
        inputs.push(input);
      } else if (reader.field === 6 && outputs !== null) {
        outputs.push(this.readOutput(outputs.length, target));
      } else {
        reader.skip();
      }
    }
    if (rawTaken < this.rawCount) {
      throw invalidArgument(
        `unexpected additional input data for model '${target.modelName}': raw_input_contents has ${this.rawCount} entries, the inputs take ${rawTaken}`,
      );
    }
    return new InferenceRequest({
      modelName: target.modelName,
      modelVersion: target.modelVersion,
      id: this.id,
      inputs,
      outputs: outputs ?? NO_OUTPUTS,
      parameters: this.parameters.others,
      priority: this.parameters.priority,
      timeoutUs: this.parameters.timeoutUs,
      sequence: this.parameters.sequence(),
      caller,
    });
  }

  private addParameter(): void {
    if (++this.parameterCount > MAX_PARAMETERS) throw invalidArgument(`parameters: expected at most ${MAX_PARAMETERS} entries, got more`);
    if (this.parameterCount === 1) this.parameters = new GrpcRequestParameters();
    entry.read(this.reader);
    (this.parameters as GrpcRequestParameters).add(entry);
  }

  /** Reads the input that is the field at hand, all but its data; leaves its contents, if it has any, in `contents`. */
  private readInput(index: number, target: InferTarget): InputTensor {
    const { reader } = this;
    const expected = target.inputs[index];
    const outerEnd = reader.enter(INPUT);
    let name = '';
    let datatype: Datatype | null = null;
    let shape: readonly number[] = NO_DIMENSIONS;
    let parameters = 0;
    this.contents = null;
    while (reader.next()) {
      switch (reader.field) {
        case 1:
          reader.takeRange();
          name = expected !== undefined && reader.rangeIs(expected.name) ? expected.name : reader.rangeName(MAX_NAME_BYTES);
          break;
        case 2:
          reader.takeRange();
          datatype = expected !== undefined && reader.rangeIs(expected.datatype) ? expected.datatype : this.readDatatype(index, name);
          break;
        case 3:
          shape = this.readShape(shape, index, name);
          break;
        case 4:
          if (++parameters > MAX_PARAMETERS) throw tooManyParameters('inputs', index, name);
          entry.read(reader);
          refuseSharedMemory('inputs', index, name);
          break;
        case 5:
          reader.takeRange();
          if (this.contents === null) this.contents = [reader.start, reader.stop];
          else this.contents.push(reader.start, reader.stop);
          break;
        default:
          reader.skip();
      }
    }
    reader.leave(outerEnd, REQUEST);
    if (name === '') throw invalidArgument(`Unable to parse 'name': inputs[${index}].name: expected a name, got none`);
    if (datatype === null) {
      throw invalidArgument(
        `Unable to parse 'datatype': ${tensorLabel('inputs', index, name)} has no 'datatype': expected one of ${DATATYPE_NAMES.join(', ')}`,
      );
    }
    return { name, datatype, shape, data: NO_DATA };
  }

  /** The next entry of `raw_input_contents`, as a view. */
  private takeRaw(index: number, name: string, taken: number, target: InferTarget): Uint8Array {
    const { reader, rawCount } = this;
    if (this.contents !== null) {
      throw invalidArgument(
        `contents field must not be specified when using raw_input_contents: ${tensorLabel('inputs', index, name)} for model '${target.modelName}' has contents: send all tensors in the one way or in the other`,
      );
    }
    if (taken === rawCount) {
      throw invalidArgument(
        `unable to find data for input tensor '${name}' for model '${target.modelName}' in request: ${tensorLabel('inputs', index, name)} has no contents, and raw_input_contents ${rawCount === 0 ? 'is empty' : `has ${rawCount} entries, one too few`}`,
      );
    }
    const back = reader.at;
    reader.at = this.rawAt;
    while (reader.next() && reader.field !== 7) reader.skip();
    reader.takeRange();
    this.rawAt = reader.at;
    reader.at = back;
    return reader.rangeView();
  }

  private readDatatype(index: number, name: string): Datatype {
    const { reader } = this;
    for (let i = 0; i < DATATYPE_NAMES.length; i++) if (reader.rangeIs(DATATYPE_NAMES[i]!)) return DATATYPE_NAMES[i]!;
    const got = reader.rangeText(MAX_NAME_BYTES);
    throw invalidArgument(
      `invalid datatype for input: ${tensorLabel('inputs', index, name)}.datatype: expected one of ${DATATYPE_NAMES.join(', ')}, got ${JSON.stringify(got)}${didYouMean(got, DATATYPE_NAMES)}`,
    );
  }

  /** The dimensions of the field at hand behind those of `shape`: packed ones are usually all there are. */
  private readShape(shape: readonly number[], index: number, name: string): readonly number[] {
    const { reader } = this;
    const all = shape.length === 0 ? [] : [...shape];
    if (reader.wireType !== DELIMITED) {
      reader.takeVarint();
      all.push(this.dimension(all.length, index, name));
      return all;
    }
    reader.takeRange();
    const outerEnd = reader.end;
    reader.at = reader.start;
    reader.end = reader.stop;
    while (reader.at < reader.end) {
      reader.varint();
      all.push(this.dimension(all.length, index, name));
    }
    reader.end = outerEnd;
    return all;
  }

  /** The varint just read, as dimension number `rank`. */
  private dimension(rank: number, index: number, name: string): number {
    const dim = this.reader.int64();
    if (rank === MAX_RANK) {
      throw invalidArgument(
        `Unable to parse 'shape': ${tensorLabel('inputs', index, name)}.shape: expected at most ${MAX_RANK} dimensions, got more`,
      );
    }
    if (!(dim >= 0)) {
      const { low, high } = this.reader;
      const got = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));
      throw invalidArgument(
        `Unable to parse 'shape': ${tensorLabel('inputs', index, name)}.shape[${rank}]: expected an integer from 0 to 2^53 - 1, got ${got}. All input dimensions should be specified for input '${name}'`,
      );
    }
    return dim;
  }

  private readOutput(index: number, target: InferTarget): RequestedOutput {
    const { reader } = this;
    const expected = target.outputs[index];
    const outerEnd = reader.enter(OUTPUT);
    let name = '';
    let classification = 0;
    let parameters = 0;
    while (reader.next()) {
      if (reader.field === 1) {
        reader.takeRange();
        name = expected !== undefined && reader.rangeIs(expected.name) ? expected.name : reader.rangeName(MAX_NAME_BYTES);
      } else if (reader.field === 2) {
        if (++parameters > MAX_PARAMETERS) throw tooManyParameters('outputs', index, name);
        entry.read(reader);
        refuseSharedMemory('outputs', index, name);
        if (entry.key === 'classification') {
          const where = `${tensorLabel('outputs', index, name)}.parameters.classification`;
          classification = entry.requireUnsigned(where);
          if (classification === 0) throw entry.wrong(where, 'a number of classes above 0');
        }
      } else {
        reader.skip();
      }
    }
    reader.leave(outerEnd, REQUEST);
    if (name === '') throw invalidArgument(`Unable to parse 'name': outputs[${index}].name: expected a name, got none`);
    return { name, classification, binaryData: true };
  }
}

function tooManyTensors(field: string): InferenceError {
  return invalidArgument(`${field}: expected at most ${MAX_TENSORS} tensors, got more`);
}

function tooManyParameters(list: 'inputs' | 'outputs', index: number, name: string): InferenceError {
  return invalidArgument(`${tensorLabel(list, index, name)}.parameters: expected at most ${MAX_PARAMETERS} entries, got more`);
}

function refuseSharedMemory(list: 'inputs' | 'outputs', index: number, name: string): void {
  const { key } = entry;
  if (key !== 'shared_memory_region' && key !== 'shared_memory_offset' && key !== 'shared_memory_byte_size') return;
  throw new InferenceError(
    'UNIMPLEMENTED',
    `${tensorLabel(list, index, name)}.parameters.${key}: this server takes no shared memory: send tensors in the message, as raw_input_contents or as contents`,
  );
}
