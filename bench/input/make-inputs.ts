import { stat } from 'node:fs/promises';
import type { InferParameters, InputTensor, RequestedOutput } from '../../clients/typescript/src/transport.ts';
import { elementCount } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import type { ExpectedOutput, PlannedRequest, WireProtocol } from '../load/load-plan.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import type { TargetModel } from '../target/target.ts';
import { describeRequests } from './describe-requests.ts';
import { checkBatchSize, checkShapes, hasBatchDimension, madeDims, type ShapeOverrides, unknownTensor } from './input-shapes.ts';
import { madeByteSize, randomTensor, zeroTensor } from './make-tensor.ts';
import { readDataFile } from './read-data-file.ts';
import { readDirectory } from './read-directory.ts';
import { isObject, linesOf, parseJson, readText, tryParseJson } from './read-json.ts';
import { readRequest } from './read-requests.ts';
import { type DataEntry, joinRows } from './tensor-row.ts';

export interface RequestOptions {
  readonly model: TargetModel;
  readonly protocol: WireProtocol;
  /** 'random', 'zero', or the path of a file or a directory. */
  readonly what: string;
  /** Rows of a request. */
  readonly batchSize: number;
  /** Dimensions of a row, by input. */
  readonly shapes: ShapeOverrides;
  /** Different random requests. Of a file all are taken. */
  readonly distinct: number;
  /** Of random BYTES elements. */
  readonly stringLength: number;
  /** Request parameters. They win over those of a file. */
  readonly parameters: InferParameters;
  /** Names; empty: all outputs, or those that a file's request names. */
  readonly outputs: readonly string[];
  readonly seed: number;
}

export interface MadeRequests {
  readonly requests: readonly PlannedRequest[];
  /** 'random, 16 requests of 1x3x224x224 FP32 (602,112 bytes)'. */
  readonly words: string;
}

type FilledInput = InputTensor & { readonly data: Uint8Array };

/** What is sent, before it is a request of a protocol. */
interface Content {
  readonly inputs: readonly FilledInput[];
  readonly parameters: InferParameters;
  readonly outputs: readonly string[];
  readonly expected: readonly ExpectedOutput[] | null;
}

/** Made one by one, as far as they are wanted. */
interface Source {
  readonly count: number;
  readonly contents: Iterable<Content>;
}

/** Of all requests together: they cross to the load processes, and stay in the caches of neither machine when they are more. */
const MAX_TOTAL_BYTES = 64 * 1024 * 1024;
/** Of one request, which may be larger than that when it is the only one. */
const MAX_REQUEST_BYTES = 512 * 1024 * 1024;
const MAX_REQUESTS = 10_000;
/** Of floating-point outputs: another order of the same sums must not count as a wrong answer. */
const TOLERANCE = { FP64: 1e-5, FP32: 1e-5, FP16: 1e-2, BF16: 1e-2 };
/** Set by the load generator, or by how the tensors go over the wire. */
const RESERVED: Readonly<Record<string, string>> = {
  sequence_id: '--sequence-length',
  sequence_start: '--sequence-length',
  sequence_end: '--sequence-length',
  binary_data_output: '--protocol',
};

/** The requests of a run, for the protocols that carry tensors. Throws INVALID_ARGUMENT for what the model does not take, the system's error for files that cannot be read. */
export async function makeRequests(options: RequestOptions): Promise<MadeRequests> {
  const { model, what, shapes, batchSize, outputs } = options;
  checkBatchSize(model, batchSize);
  checkShapes(model, shapes);
  const unknown = model.outputs.length === 0 ? undefined : outputs.find((name) => !model.outputs.some((output) => output.name === name));
  if (unknown !== undefined) throw unknownTensor('output', unknown, model.outputs);
  const source = what === 'random' || what === 'zero' ? makeContents(options) : await readContents(options);
  const contents = bounded(source.contents);
  const requests = contents.map((content) => planned(content, options));
  return { requests, words: describeRequests(what, contents, source.count) };
}

function makeContents({ model, what, shapes, batchSize, distinct, stringLength, seed }: RequestOptions): Source {
  // An optional input is sent when somebody says how large it is.
  const inputs = model.inputs.filter((input) => !input.isOptional || shapes.has(input.name));
  if (inputs.length === 0) throw noInputs(model);
  const whole = inputs.map(({ name, datatype, ...input }) => {
    const dims = madeDims(model, { name, datatype, ...input }, shapes);
    const shape = hasBatchDimension(model) ? [batchSize, ...dims] : dims;
    return { name, datatype, shape, count: elementCount(shape) };
  });
  const isRandom = what === 'random';
  const length = isRandom ? stringLength : 0;
  const bytes = whole.reduce(
    (sum, { datatype, count }) => sum + (count < 0 ? Number.POSITIVE_INFINITY : madeByteSize(datatype, count, length)),
    0,
  );
  checkSize(bytes, what);
  const random = new SeededRandom(seed);
  const count = isRandom ? Math.max(1, Math.min(distinct, Math.floor(MAX_TOTAL_BYTES / Math.max(1, bytes)))) : 1;
  const make = (): Content => {
    const made = whole.map(({ name, datatype, shape, count: elements }) => {
      const data = isRandom ? randomTensor(datatype, elements, stringLength, random) : zeroTensor(datatype, elements);
      return { name, datatype, shape, data };
    });
    return { inputs: made, parameters: {}, outputs: [], expected: null };
  };
  return { count, contents: times(count, make) };
}

function* times<T>(count: number, make: (index: number) => T): Generator<T, void, undefined> {
  for (let i = 0; i < count; i++) yield make(i);
}

function noInputs({ name, inputs }: TargetModel): Error {
  return invalidArgument(
    inputs.length === 0
      ? `input: the server does not say what inputs model '${name}' has: give whole V2 inference requests, one a line, in a file: --input requests.jsonl`
      : `input: all inputs of model '${name}' are optional (${inputs.map((input) => input.name).join(', ')}): say which to send, as --shape NAME:1, or give a file`,
  );
}

async function readContents(options: RequestOptions): Promise<Source> {
  const { what: path, model, shapes } = options;
  if (await isDirectory(path)) return rowsToContents([await readDirectory(path, model, shapes)], options);
  const text = await readText(path);
  const lines = linesOf(text);
  const first = lines.length > 1 ? tryParseJson(lines[0]!.line) : undefined;
  if (isObject(first)) {
    const read = (index: number): Content => {
      const { number, line } = lines[index]!;
      return requestContent(parseJson(line, `${path}:${number}`), options, `${path}:${number}`);
    };
    return { count: lines.length, contents: times(lines.length, read) };
  }
  const json = parseJson(text, path);
  if (isObject(json) && 'inputs' in json) return { count: 1, contents: [requestContent(json, options, path)] };
  if (!isObject(json) || !('data' in json)) {
    throw invalidArgument(`${path}: expected {"data": [...]}, or V2 inference requests {"inputs": [...]}, one a line`);
  }
  return rowsToContents(readDataFile(json, model, shapes, path), options);
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw invalidArgument(`input: expected random, zero, or a file or directory that is there, got '${path}'`);
  }
}

/** Each request has the next rows; when they end in the middle of a batch they go on from the beginning. */
function rowsToContents(entries: readonly DataEntry[], { model, batchSize, what }: RequestOptions): Source {
  const isBatched = hasBatchDimension(model);
  // A file of one row has the same row throughout, whatever the batch.
  const count = entries.length / gcd(entries.length, batchSize);
  const join = (request: number): Content => {
    const rows = Array.from({ length: batchSize }, (_, row) => entries[(request * batchSize + row) % entries.length]!);
    checkSize(
      rows.reduce((sum, row) => sum + bytesOf([...row.inputs.values()]), 0),
      what,
    );
    const inputs = [...rows[0]!.inputs.keys()].map((name) => {
      const parts = rows.map((row) => row.inputs.get(name));
      if (parts.includes(undefined))
        throw invalidArgument(`inputs.${name}: some rows of a batch have it, and others do not: give --batch-size 1`);
      return joinRows(name, parts as NonNullable<(typeof parts)[number]>[], isBatched);
    });
    return { inputs, parameters: {}, outputs: [], expected: expectedOf(rows) };
  };
  return { count, contents: times(count, join) };
}

function expectedOf(rows: readonly DataEntry[]): ExpectedOutput[] | null {
  const first = rows[0]!.outputs;
  if (first === null) return null;
  return [...first].map(([name, { datatype }]) => {
    const parts = rows.map((row) => row.outputs?.get(name)?.data ?? new Uint8Array(0));
    return { name, data: new Uint8Array(Buffer.concat(parts)), tolerance: Reflect.get(TOLERANCE, datatype) ?? 0 };
  });
}

function requestContent(json: unknown, { model, batchSize }: RequestOptions, what: string): Content {
  if (!isObject(json)) throw invalidArgument(`${what}: expected a V2 inference request, an object`);
  if (batchSize !== 1)
    throw invalidArgument(`batch-size: expected 1 with whole requests, whose shapes have their batch in them, got ${batchSize}`);
  return { ...readRequest(json, model, what), expected: null };
}

function bounded(source: Iterable<Content>): readonly Content[] {
  const contents: Content[] = [];
  let total = 0;
  for (const content of source) {
    total += bytesOf(content.inputs);
    // The first may be as large as it likes.
    if (contents.length > 0 && (total > MAX_TOTAL_BYTES || contents.length === MAX_REQUESTS)) break;
    contents.push(content);
  }
  return contents;
}

function bytesOf(tensors: readonly { readonly data: Uint8Array }[]): number {
  return tensors.reduce((sum, { data }) => sum + data.length, 0);
}

function checkSize(bytes: number, what: string): void {
  if (bytes <= MAX_REQUEST_BYTES) return;
  throw invalidArgument(
    `${what}: expected a request of at most ${MAX_REQUEST_BYTES} bytes, got ${bytes}: give a smaller --batch-size or --shape`,
  );
}

function planned(content: Content, { model, protocol, parameters: own, outputs }: RequestOptions): PlannedRequest {
  const json = protocol.endsWith('-json');
  const parameters = { ...content.parameters, ...own };
  for (const [name, flag] of Object.entries(RESERVED)) {
    if (Object.hasOwn(parameters, name)) throw invalidArgument(`parameters.${name}: is set by ${flag}: leave it out`);
  }
  const names = outputs.length > 0 ? outputs : content.outputs;
  const stray = names.length === 0 ? undefined : content.expected?.find(({ name }) => !names.includes(name));
  if (stray !== undefined) throw invalidArgument(`output: expected '${stray.name}' among them, which the file has an expected answer for`);
  const requested = names.map((name): RequestedOutput => ({ name, binaryData: !json, classification: 0, sharedMemory: null }));
  return {
    infer: { modelName: model.name, modelVersion: model.version, id: '', parameters, inputs: content.inputs, outputs: requested, json },
    text: null,
    expected: content.expected,
  };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
