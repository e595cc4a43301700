/** One inference request sent through every door, by clients that share no code with the server beyond its .proto files. */

import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { WebSocket } from 'ws';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import type { StatusCode } from '../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../proto/status-forms.ts';

export type DoorName = 'REST JSON' | 'REST binary' | 'gRPC typed' | 'gRPC raw' | 'gRPC stream' | 'WebSocket JSON' | 'WebSocket binary';

export interface DoorTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  /** As the binary extension lays it out. */
  readonly data: Uint8Array;
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
}

export interface DoorRequest {
  readonly model: string;
  readonly version?: string;
  readonly id?: string;
  readonly inputs: readonly DoorTensor[];
  readonly outputs?: readonly { readonly name: string; readonly parameters?: Readonly<Record<string, number>> }[];
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
}

/** What came back, in one form whatever the door. */
export interface DoorAnswer {
  /** OK, or the code of the error. */
  readonly code: 'OK' | StatusCode;
  readonly message: string;
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly outputs: readonly DoorTensor[];
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');
const service = '/inference.GRPCInferenceService/';

/** A 400 may be two codes; the table of forms lists INVALID_ARGUMENT first. */
function codeOf(form: 'http' | 'grpc', value: number): StatusCode {
  const found = Object.entries(STATUS_FORMS).find(([, forms]) => forms[form] === value);
  if (found === undefined) throw new Error(`${form} status ${value} is in no table`);
  return found[0] as StatusCode;
}

function failed(code: StatusCode, message: string): DoorAnswer {
  return { code, message, model: '', version: '', id: '', outputs: [] };
}

const readers: { readonly [name in Datatype]: (view: DataView, at: number) => number | bigint | boolean } = {
  BOOL: (view, at) => view.getUint8(at) === 1,
  UINT8: (view, at) => view.getUint8(at),
  UINT16: (view, at) => view.getUint16(at, true),
  UINT32: (view, at) => view.getUint32(at, true),
  UINT64: (view, at) => view.getBigUint64(at, true),
  INT8: (view, at) => view.getInt8(at),
  INT16: (view, at) => view.getInt16(at, true),
  INT32: (view, at) => view.getInt32(at, true),
  INT64: (view, at) => view.getBigInt64(at, true),
  FP16: () => 0,
  BF16: () => 0,
  FP32: (view, at) => view.getFloat32(at, true),
  FP64: (view, at) => view.getFloat64(at, true),
  BYTES: () => 0,
};

function elements({ datatype, data }: DoorTensor): (number | bigint | boolean | string)[] {
  if (datatype === 'BYTES') return decodeBytes(data, 'a test tensor').map((element) => Buffer.from(element).toString('utf8'));
  const { byteSize } = DATATYPES[datatype as Datatype];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: data.length / byteSize }, (_, i) => readers[datatype as Datatype](view, i * byteSize));
}

function toBytes(datatype: Datatype, values: readonly unknown[]): Uint8Array {
  if (datatype === 'BYTES') return encodeBytes(values as string[]);
  const { byteSize } = DATATYPES[datatype];
  const bytes = new Uint8Array(values.length * byteSize);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    const at = i * byteSize;
    if (datatype === 'BOOL') view.setUint8(at, value === true ? 1 : 0);
    else if (datatype === 'FP32') view.setFloat32(at, Number(value), true);
    else if (datatype === 'FP64') view.setFloat64(at, Number(value), true);
    else if (byteSize === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value as string)), true);
    else if (byteSize === 4) view.setUint32(at, Number(value) >>> 0, true);
    else if (byteSize === 2) view.setUint16(at, Number(value) & 0xffff, true);
    else view.setUint8(at, Number(value) & 0xff);
  });
  return bytes;
}

/** Digits that a double would round stay as they are. */
function jsonArray(values: readonly (number | bigint | boolean | string)[]): string {
  const texts = values.map((value) => {
    if (typeof value === 'bigint') return String(value);
    if (Object.is(value, -0)) return '-0';
    if (typeof value === 'number' && !Number.isFinite(value)) return JSON.stringify(String(value));
    return JSON.stringify(value);
  });
  return `[${texts.join(',')}]`;
}

function parseWithBigIntegers(text: string): { [key: string]: unknown } {
  return JSON.parse(text.replaceAll(/(?<=[[,])-?\d{16,}(?=[,\]])/g, '"$&"')) as { [key: string]: unknown };
}

interface JsonTensor {
  name: string;
  datatype: Datatype;
  shape: number[];
  data?: unknown[];
  parameters?: { binary_data_size?: number };
}

function fromJson(text: string, tail: Uint8Array): DoorAnswer {
  const json = parseWithBigIntegers(text);
  let at = 0;
  const outputs = (json['outputs'] as JsonTensor[]).map(({ name, datatype, shape, data, parameters }) => {
    if (data !== undefined) return { name, datatype, shape, data: toBytes(datatype, data) };
    const end = at + (parameters?.binary_data_size ?? 0);
    const bytes = new Uint8Array(tail.subarray(at, end));
    at = end;
    return { name, datatype, shape, data: bytes };
  });
  return {
    code: 'OK',
    message: '',
    model: String(json['model_name']),
    version: String(json['model_version']),
    id: String(json['id'] ?? ''),
    outputs,
  };
}

function jsonRequest(request: DoorRequest, more: { readonly [key: string]: Json }): string {
  const inputs = request.inputs.map(
    (tensor) =>
      `{"name":${JSON.stringify(tensor.name)},"datatype":${JSON.stringify(tensor.datatype)},"shape":${JSON.stringify(tensor.shape)},"data":${jsonArray(elements(tensor))}${tensor.parameters === undefined ? '' : `,"parameters":${JSON.stringify(tensor.parameters)}`}}`,
  );
  const rest = JSON.stringify({ ...more, ...common(request) });
  return `{"inputs":[${inputs.join(',')}]${rest === '{}' ? '' : `,${rest.slice(1, -1)}`}}`;
}

function binaryRequest(request: DoorRequest, more: { readonly [key: string]: Json }): { header: Buffer; tail: Buffer } {
  const inputs = request.inputs.map(({ name, datatype, shape, data, parameters: more }) => ({
    name,
    datatype,
    shape,
    parameters: { ...more, binary_data_size: data.length },
  }));
  const { parameters, outputs, ...rest } = common(request);
  const header = Buffer.from(
    JSON.stringify({
      ...more,
      ...rest,
      inputs,
      ...(outputs === undefined
        ? {}
        : { outputs: outputs.map((one) => ({ ...one, parameters: { ...one.parameters, binary_data: true } })) }),
      parameters: { ...parameters, binary_data_output: true },
    }),
  );
  return { header, tail: Buffer.concat(request.inputs.map(({ data }) => data)) };
}

function common({ id, outputs, parameters }: DoorRequest): Pick<DoorRequest, 'id' | 'outputs' | 'parameters'> {
  return {
    ...(id === undefined ? {} : { id }),
    ...(outputs === undefined ? {} : { outputs }),
    ...(parameters === undefined ? {} : { parameters }),
  };
}

function grpcParameters(parameters: Readonly<Record<string, string | number | boolean>> = {}): object {
  return Object.fromEntries(
    Object.entries(parameters).map(([key, value]) => [
      key,
      typeof value === 'string' ? { stringParam: value } : typeof value === 'boolean' ? { boolParam: value } : { int64Param: value },
    ]),
  );
}

function contentsOf(tensor: DoorTensor): object {
  const values = elements(tensor);
  const text = values.map(String);
  switch (tensor.datatype) {
    case 'BOOL':
      return { boolContents: values };
    case 'INT8':
    case 'INT16':
    case 'INT32':
      return { intContents: values };
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
      return { uintContents: values };
    case 'INT64':
      return { int64Contents: text };
    case 'UINT64':
      return { uint64Contents: text };
    case 'FP64':
      return { fp64Contents: values };
    case 'BYTES':
      return { bytesContents: decodeBytes(tensor.data, 'a test tensor') };
    default:
      return { fp32Contents: values };
  }
}

function grpcRequest(request: DoorRequest, isTyped: boolean): Buffer {
  const message = {
    modelName: request.model,
    modelVersion: request.version ?? '',
    id: request.id ?? '',
    parameters: grpcParameters(request.parameters),
    inputs: request.inputs.map((tensor) => ({
      name: tensor.name,
      datatype: tensor.datatype,
      shape: tensor.shape,
      parameters: grpcParameters(tensor.parameters),
      ...(isTyped ? { contents: contentsOf(tensor) } : {}),
    })),
    outputs: (request.outputs ?? []).map(({ name, parameters }) => ({ name, parameters: grpcParameters(parameters) })),
    rawInputContents: isTyped ? [] : request.inputs.map(({ data }) => data),
  };
  return Buffer.from(requestType.encode(requestType.fromObject(message)).finish());
}

interface GrpcResponse {
  modelName: string;
  modelVersion: string;
  id: string;
  parameters: Readonly<Record<string, { stringParam?: string }>>;
  outputs: { name: string; datatype: string; shape: number[] }[];
  rawOutputContents: Uint8Array[];
}

const asObject = { defaults: true, arrays: true, objects: true, longs: Number } as const;

function fromGrpc(response: GrpcResponse): DoorAnswer {
  return {
    code: 'OK',
    message: '',
    model: response.modelName,
    version: response.modelVersion,
    id: response.id,
    outputs: response.outputs.map(({ name, datatype, shape }, i) => ({
      name,
      datatype,
      shape,
      data: new Uint8Array(response.rawOutputContents[i]!),
    })),
  };
}

const same = (bytes: Buffer): Buffer => bytes;

/** All doors of one server. */
export class Doors {
  readonly #http: string;
  readonly #client: Client;
  #socket: WebSocket | null = null;
  #lastId = 0;

  /** `http` is a URL, `grpc` host and port. */
  constructor(http: string, grpc: string) {
    this.#http = http;
    this.#client = new Client(grpc, credentials.createInsecure());
  }

  close(): void {
    this.#client.close();
    this.#socket?.terminate();
  }

  send(door: DoorName, request: DoorRequest): Promise<DoorAnswer> {
    switch (door) {
      case 'REST JSON':
        return this.#rest(request, Buffer.from(jsonRequest(request, {})), {});
      case 'REST binary': {
        const { header, tail } = binaryRequest(request, {});
        return this.#rest(request, Buffer.concat([header, tail]), { 'inference-header-content-length': String(header.length) });
      }
      case 'gRPC typed':
        return this.#unary(grpcRequest(request, true));
      case 'gRPC raw':
        return this.#unary(grpcRequest(request, false));
      case 'gRPC stream':
        return this.#stream(grpcRequest(request, false));
      case 'WebSocket JSON':
        return this.#webSocket(request, (more) => jsonRequest(request, more));
      case 'WebSocket binary':
        return this.#webSocket(request, (more) => {
          const { header, tail } = binaryRequest(request, more);
          const length = Buffer.alloc(4);
          length.writeUInt32LE(header.length);
          return Buffer.concat([length, header, tail]);
        });
    }
  }

  async #rest(request: DoorRequest, body: Buffer, headers: Record<string, string>): Promise<DoorAnswer> {
    const version = request.version === undefined ? '' : `/versions/${request.version}`;
    const url = `${this.#http}/v2/models/${encodeURIComponent(request.model)}${version}/infer`;
    const response = await fetch(url, { method: 'POST', body: new Uint8Array(body), headers });
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (response.status !== 200) {
      return failed(codeOf('http', response.status), (JSON.parse(Buffer.from(bytes).toString()) as { error: string }).error);
    }
    const jsonBytes = Number(response.headers.get('inference-header-content-length') ?? bytes.length);
    return fromJson(Buffer.from(bytes.subarray(0, jsonBytes)).toString('utf8'), bytes.subarray(jsonBytes));
  }

  #unary(message: Buffer): Promise<DoorAnswer> {
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(`${service}ModelInfer`, same, same, message, (error: ServiceError | null, answer?: Buffer) => {
        if (error !== null) resolve(failed(codeOf('grpc', error.code), error.details));
        else resolve(fromGrpc(responseType.toObject(responseType.decode(answer!), asObject) as GrpcResponse));
      });
    });
  }

  #stream(message: Buffer): Promise<DoorAnswer> {
    return new Promise((resolve, reject) => {
      const call = this.#client.makeBidiStreamRequest(`${service}ModelStreamInfer`, same, same);
      call.once('error', reject);
      call.once('data', (bytes: Buffer) => {
        const { errorMessage, inferResponse } = streamResponseType.toObject(streamResponseType.decode(bytes), asObject) as {
          errorMessage: string;
          inferResponse: GrpcResponse;
        };
        call.on('data', () => reject(new Error('more than one answer')));
        call.once('end', () =>
          resolve(
            errorMessage === ''
              ? fromGrpc(inferResponse)
              : failed(inferResponse.parameters['error_code']!.stringParam as StatusCode, errorMessage),
          ),
        );
      });
      call.write(message);
      call.end();
    });
  }

  async #webSocket(request: DoorRequest, encode: (more: { [key: string]: Json }) => string | Buffer): Promise<DoorAnswer> {
    this.#socket ??= new WebSocket(`${this.#http.replace('http', 'ws')}/v2/ws`);
    const socket = this.#socket;
    if (socket.readyState === WebSocket.CONNECTING) await new Promise((resolve) => socket.once('open', resolve));
    const more: { [key: string]: Json } = { model_name: request.model };
    if (request.version !== undefined) more['model_version'] = request.version;
    if (request.id === undefined) more['id'] = `own-${++this.#lastId}`;
    const answer = new Promise<DoorAnswer>((resolve, reject) => {
      const onClose = (code: number): void => reject(new Error(`the connection was closed with ${code}`));
      socket.once('close', onClose);
      socket.once('message', (data: Buffer, isBinary: boolean) => {
        socket.off('close', onClose);
        const jsonBytes = isBinary ? data.readUInt32LE(0) : data.length;
        const text = data.toString('utf8', isBinary ? 4 : 0, (isBinary ? 4 : 0) + jsonBytes);
        const json = JSON.parse(text) as { error?: string; code?: StatusCode };
        resolve(json.error === undefined ? fromJson(text, data.subarray(4 + jsonBytes)) : failed(json.code!, json.error));
      });
    });
    socket.send(encode(more));
    const got = await answer;
    return request.id === undefined ? { ...got, id: '' } : got;
  }
}
