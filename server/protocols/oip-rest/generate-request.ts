/** @hotpath the body of a generate call to an InferenceRequest: one pass that finds and counts, one that scans each tensor (measured by generate.bench.ts) */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest, type RequestParameter } from '../../inference/inference-request.ts';
import type { InputSpec, ModelSignature } from '../../inference/model-signature.ts';
import { MAX_NAME_BYTES, readText, wrongField, wrongText } from '../oip-json/field-reader.ts';
import { describeJson, JsonReader, OPEN_BRACE, OPEN_BRACKET, QUOTE } from '../oip-json/json-reader.ts';
import { scanTensorData } from '../oip-json/number-scanner.ts';

/** Members of the body and of its `parameters`, together. */
const MAX_MEMBERS = 1_024;
const BRACKETS = Buffer.from('[]');

/**
 * Decodes the body of `POST /v2/models/<model>/generate` and `generate_stream`: a JSON object, and in it another, `parameters`, whose members count as the body's own. A member that has
 * the name of an input is that input: a scalar, or an array whose leaves are its elements in order; every other one is a request parameter, but for `id`. Reserved parameter names
 * mean nothing here. A parameter is a string, a boolean or a number. Throws INVALID_ARGUMENT.
 *
 * Source: Triton's generate extension.
 */
export function decodeGenerateRequest(body: Uint8Array, signature: ModelSignature, caller: InferenceCaller): InferenceRequest {
  const decoder = new GenerateDecoder(body, signature);
  decoder.decode();
  return new InferenceRequest({
    modelName: signature.modelName,
    modelVersion: signature.modelVersion,
    id: decoder.id,
    inputs: decoder.inputs,
    outputs: [],
    parameters: decoder.parameters,
    priority: 0,
    timeoutUs: 0,
    caller,
  });
}

class GenerateDecoder {
  id = '';
  readonly inputs: Tensor[] = [];
  /** Without a prototype: a key is the caller's word. */
  readonly parameters: Record<string, RequestParameter> = Object.create(null) as Record<string, RequestParameter>;
  readonly #reader: JsonReader;
  readonly #signature: ModelSignature;
  #members = 0;

  constructor(body: Uint8Array, signature: ModelSignature) {
    this.#reader = new JsonReader(body);
    this.#signature = signature;
  }

  decode(): void {
    const reader = this.#reader;
    if (!reader.enter(OPEN_BRACE)) throw reader.unexpected('an object');
    const keys = new Set<string>();
    for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) {
      const key = this.#key(keys);
      if (key === 'parameters') this.#decodeParameters();
      else if (key === 'id' && !this.#signature.inputIndex.has('id')) {
        const id = readText(reader);
        if (id === undefined) throw wrongText(reader, 'id', 'id');
        this.id = id;
      } else this.#member(key);
    }
    reader.expectEnd();
  }

  #decodeParameters(): void {
    const reader = this.#reader;
    if (this.#signature.inputIndex.has('parameters')) {
      throw invalidArgument(
        `Converting keyword: 'parameters': model '${this.#signature.modelName}' has an input of this name, which the generate extension keeps for itself: use infer`,
      );
    }
    if (!reader.enter(OPEN_BRACE)) throw wrongField(reader, 'parameters', 'parameters', 'an object');
    const keys = new Set<string>();
    try {
      for (let isFirst = true; reader.nextKey(isFirst); isFirst = false) this.#member(this.#key(keys));
    } catch (error) {
      if (!(error instanceof InferenceError)) throw error;
      throw invalidArgument(`Converting keyword: 'parameters': ${error.message}`);
    }
  }

  #key(keys: Set<string>): string {
    const reader = this.#reader;
    const bytes = reader.stringEnd - reader.stringStart;
    if (bytes > MAX_NAME_BYTES) throw invalidArgument(`expected keys of at most ${MAX_NAME_BYTES} bytes, got ${bytes}`);
    if (++this.#members > MAX_MEMBERS) throw invalidArgument(`expected at most ${MAX_MEMBERS} members, got more`);
    const key = reader.stringText();
    if (keys.has(key)) throw reader.repeatedKey();
    keys.add(key);
    return key;
  }

  #member(key: string): void {
    const index = this.#signature.inputIndex.get(key);
    if (index !== undefined) {
      this.#tensor(this.#signature.inputs[index]!, index);
      return;
    }
    const reader = this.#reader;
    const c = reader.peek();
    let value: RequestParameter | undefined;
    if (c === QUOTE) {
      reader.scanString();
      value = reader.stringText();
    } else value = c === 0x74 || c === 0x66 ? reader.readBoolean() : reader.readNumber();
    if (value === undefined) {
      throw invalidArgument(
        `parameter '${key}' has invalid type. It should be either 'int', 'bool', or 'string', or a number that a double holds exactly; got ${describeJson(reader.bytes, reader.at)}; the model's inputs are ${[...this.#signature.inputIndex.keys()].join(', ')}`,
      );
    }
    if (key in this.parameters) throw invalidArgument(`parameter '${key}' is given twice: in the body, and in its 'parameters'`);
    this.parameters[key] = value;
  }

  #tensor(spec: InputSpec, index: number): void {
    const { name, datatype } = spec;
    for (let i = 0; i < this.inputs.length; i++) {
      if (this.inputs[i]!.name === name) throw invalidArgument(`input '${name}' already exists in request: send each input once`);
    }
    if (datatype === 'FP16' || datatype === 'BF16') {
      throw invalidArgument(`can not convert input '${name}': JSON has no form for ${datatype}: use infer with binary data`);
    }
    const reader = this.#reader;
    const isArray = reader.peek() === OPEN_BRACKET;
    const start = reader.at;
    const count = isArray ? this.#countLeaves() : 1;
    if (!isArray) reader.skipValue();
    const shape = this.#shapeFor(spec, count);
    try {
      // The scanner takes arrays only.
      const { data } = isArray
        ? scanTensorData(reader.bytes, start, index, name, datatype, shape, count)
        : scanTensorData(bracketed(reader.bytes, start, reader.at), 0, index, name, datatype, shape, count);
      this.inputs.push({ name, datatype, shape, data });
    } catch (error) {
      if (!(error instanceof InferenceError)) throw error;
      // It speaks of the infer request's form.
      const place = `inputs[${index}] (${name}).data`;
      throw invalidArgument(error.message.replace(/^Unable to parse 'data': /, '').replaceAll(isArray ? place : `${place}[0]`, name));
    }
  }

  /** Takes the array at the cursor. */
  #countLeaves(): number {
    const reader = this.#reader;
    let count = 0;
    reader.enter(OPEN_BRACKET);
    for (let isFirst = true; reader.nextElement(isFirst); isFirst = false) {
      if (reader.peek() === OPEN_BRACKET) count += this.#countLeaves();
      else {
        reader.skipValue();
        count++;
      }
    }
    return count;
  }

  /** Of so many elements: from the right, the fixed dimensions share them out, and the first open one takes what is left; other open ones are 1. */
  #shapeFor({ name, dims }: InputSpec, count: number): number[] {
    const shape = this.#signature.maxBatchSize > 0 ? [-1, ...dims] : [...dims];
    let left = count;
    for (let d = shape.length - 1; d >= 0; d--) {
      const dim = shape[d]!;
      if (dim < 0) continue;
      if (dim === 0 || left % dim !== 0) throw this.#cannotConvert(name, shape, count);
      left /= dim;
    }
    let isTaken = false;
    for (let d = shape.length - 1; d >= 0; d--) {
      if (shape[d]! >= 0) continue;
      shape[d] = isTaken ? 1 : left;
      isTaken = true;
    }
    if (!isTaken && left !== 1) throw this.#cannotConvert(name, shape, count);
    return shape;
  }

  #cannotConvert(name: string, shape: readonly number[], count: number): InferenceError {
    return invalidArgument(
      `can not convert input '${name}': ${count} element${count === 1 ? ' does' : 's do'} not fill the model's shape [${shape.join(',')}]`,
    );
  }
}

function bracketed(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const copy = Buffer.allocUnsafe(end - start + 2);
  copy[0] = BRACKETS[0]!;
  copy.set(bytes.subarray(start, end), 1);
  copy[copy.length - 1] = BRACKETS[1]!;
  return copy;
}
