import { invalidArgument } from '../../proto/inference-error.ts';
import type { TargetModel, TargetTensor } from '../target/target.ts';
import { rowDims, type ShapeOverrides, unknownTensor } from './input-shapes.ts';
import { isObject, type JsonObject, kindOf } from './read-json.ts';
import { type DataEntry, rowOfBytes, rowOfValues, type TensorRow } from './tensor-row.ts';

const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/**
 * A file of perf_analyzer's `--input-data`: `{"data": [{"INPUT0": [1, 2]}, ...], "validation_data": [...]}`. An entry is one row (without the batch dimension). A tensor is its values;
 * `{"b64": ...}`, its bytes; or `{"content": <either>, "shape": [...]}`. Lists of entries (streams of sequences) are taken one behind the other. `file` names it in errors, which are
 * INVALID_ARGUMENT.
 *
 * Source: perf_analyzer, docs/input_data.md.
 */
export function readDataFile(json: JsonObject, model: TargetModel, shapes: ShapeOverrides, file: string): DataEntry[] {
  const inputs = entriesOf(json['data'], `${file}: data`);
  const answers = json['validation_data'] === undefined ? null : entriesOf(json['validation_data'], `${file}: validation_data`);
  if (answers !== null && answers.length !== inputs.length) {
    throw invalidArgument(`${file}: validation_data: expected as many entries as data has, ${inputs.length}, got ${answers.length}`);
  }
  if (model.inputs.length === 0) {
    throw invalidArgument(
      `${file}: the server does not say what inputs model '${model.name}' has: give whole V2 inference requests, one a line, which name datatypes and shapes`,
    );
  }
  return inputs.map(({ entry, what }, index) => {
    const read = new Map<string, TensorRow>();
    for (const [name, value] of Object.entries(entry)) {
      const input = model.inputs.find((one) => one.name === name);
      if (input === undefined) throw unknownTensor(what, name, model.inputs);
      read.set(name, readTensor(value, model, input, shapes, `${what}.${name}`));
    }
    const missing = model.inputs.find((input) => !input.isOptional && !read.has(input.name));
    if (missing !== undefined) throw invalidArgument(`${what}.${missing.name}: expected this input, which is not optional, got none`);
    return { inputs: read, outputs: answers === null ? null : readOutputs(answers[index]!, model) };
  });
}

interface JsonEntry {
  readonly entry: JsonObject;
  readonly what: string;
}

function entriesOf(json: unknown, what: string): JsonEntry[] {
  if (!Array.isArray(json) || json.length === 0) throw invalidArgument(`${what}: expected a list of entries, got ${kindOf(json)}`);
  return json.flatMap((entry: unknown, index) => {
    if (Array.isArray(entry)) return entriesOf(entry, `${what}[${index}]`);
    if (!isObject(entry)) throw invalidArgument(`${what}[${index}]: expected an object of tensors by name, got ${kindOf(entry)}`);
    return [{ entry, what: `${what}[${index}]` }];
  });
}

function readOutputs({ entry, what }: JsonEntry, model: TargetModel): Map<string, TensorRow> {
  const read = new Map<string, TensorRow>();
  for (const [name, value] of Object.entries(entry)) {
    const output = model.outputs.find((one) => one.name === name);
    if (output === undefined) throw unknownTensor(what, name, model.outputs);
    read.set(name, readTensor(value, model, output, null, `${what}.${name}`));
  }
  return read;
}

/** `shapes`: null for outputs, of which only the number of elements counts. */
function readTensor(json: unknown, model: TargetModel, tensor: TargetTensor, shapes: ShapeOverrides | null, what: string): TensorRow {
  const wrapped = isObject(json) && 'content' in json ? json : null;
  const content = wrapped === null ? json : wrapped['content'];
  const given = wrapped === null || wrapped['shape'] === undefined ? null : shapeOf(wrapped['shape'], what);
  const own = rowDims(model, tensor);
  const dims = given === null ? (shapes?.get(tensor.name) ?? own) : own;
  if (isObject(content)) return withDims(shapes, dims, (d) => rowOfBytes(tensor.datatype, d, given, bytesOf(content, what), what));
  if (!Array.isArray(content)) throw invalidArgument(`${what}: expected a list of values, or {"b64": ...}, got ${kindOf(content)}`);
  return withDims(shapes, dims, (d) => rowOfValues(tensor.datatype, d, given, content, what));
}

/** An output may have several variable dimensions; as one it is compared as well. */
function withDims(shapes: ShapeOverrides | null, dims: readonly number[], read: (dims: readonly number[]) => TensorRow): TensorRow {
  const isOpen = shapes === null && dims.filter((dim) => dim < 0).length > 1;
  return read(isOpen ? [-1] : dims);
}

function bytesOf(content: JsonObject, what: string): Uint8Array {
  const { b64 } = content;
  if (typeof b64 !== 'string' || !BASE64.test(b64)) throw invalidArgument(`${what}.b64: expected base64, got ${kindOf(b64)}`);
  return new Uint8Array(Buffer.from(b64, 'base64'));
}

function shapeOf(json: unknown, what: string): readonly number[] {
  if (Array.isArray(json) && json.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) return json as number[];
  throw invalidArgument(
    `${what}.shape: expected a list of whole numbers from 0 on, got ${Array.isArray(json) ? JSON.stringify(json.map(String)) : kindOf(json)}`,
  );
}
