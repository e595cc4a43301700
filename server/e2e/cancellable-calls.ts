/** Inference calls over every protocol that their callers can give up, or put a deadline on. */

import { Client, type ClientDuplexStream, type ClientUnaryCall, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { WebSocket } from 'ws';
import { descriptor } from '../../proto/gen/descriptor.ts';
import type { StatusCode } from '../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../proto/status-forms.ts';
import { RawHttpConnection } from '../transports/raw-http-connection.ts';
import type { ServerProcess } from './serve.ts';

export type CallKind = 'REST' | 'gRPC unary' | 'gRPC stream' | 'WebSocket message' | 'WebSocket connection';

export interface CallTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface CallRequest {
  readonly model: string;
  readonly id: string;
  readonly inputs: readonly CallTensor[];
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  /** Left out: none. */
  readonly timeoutMs?: number;
}

/** How a call ended: with the bytes of its first output's last response, an error, or (`GONE`) its own connection. */
export interface CallEnd {
  readonly code: 'OK' | 'GONE' | StatusCode;
  readonly message: string;
  readonly data: Uint8Array;
  /** Responses that it had; of calls that have one, 1 or 0. */
  readonly responses: number;
}

export interface Call {
  readonly ended: Promise<CallEnd>;
  /** The caller goes away, in the way of its kind. */
  cancel(): void;
}

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');
const service = '/inference.GRPCInferenceService/';
const same = (bytes: Buffer): Buffer => bytes;
const NOTHING = new Uint8Array(0);

interface GrpcResponse {
  readonly rawOutputContents: readonly Uint8Array[];
  readonly parameters: Readonly<Record<string, { readonly stringParam?: string; readonly boolParam?: boolean }>>;
}

function codeOf(form: 'http' | 'grpc', value: number): StatusCode {
  const found = Object.entries(STATUS_FORMS).find(([, forms]) => forms[form] === value);
  if (found === undefined) throw new Error(`${form} status ${value} is in no table`);
  return found[0] as StatusCode;
}

function failed(code: CallEnd['code'], message: string, responses = 0): CallEnd {
  return { code, message, data: NOTHING, responses };
}

/** The JSON of a request with binary tensors, and the bytes behind it. */
function encode(request: CallRequest, more: object): { header: Buffer; tail: Buffer } {
  const inputs = request.inputs.map(({ data, ...rest }) => ({ ...rest, parameters: { binary_data_size: data.length } }));
  const header = Buffer.from(
    JSON.stringify({ id: request.id, ...more, inputs, parameters: { ...request.parameters, binary_data_output: true } }),
  );
  return { header, tail: Buffer.concat(request.inputs.map(({ data }) => data)) };
}

function encodeMessage({ model, id, inputs, parameters = {} }: CallRequest): Buffer {
  const message = {
    modelName: model,
    id,
    inputs: inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
    rawInputContents: inputs.map(({ data }) => data),
    parameters: Object.fromEntries(
      Object.entries(parameters).map(([key, value]) => [
        key,
        typeof value === 'string' ? { stringParam: value } : typeof value === 'boolean' ? { boolParam: value } : { int64Param: value },
      ]),
    ),
  };
  return Buffer.from(requestType.encode(requestType.fromObject(message)).finish());
}

/** The callers of one server. `close` ends what is left of them. */
export class CancellableCalls {
  readonly #port: number;
  readonly #client: Client;
  readonly #url: string;
  readonly #sockets: Set<WebSocket> = new Set();
  #shared: Promise<SharedSocket> | null = null;

  constructor(server: ServerProcess) {
    this.#port = Number(new URL(server.http).port);
    this.#url = `${server.http.replace('http', 'ws')}/v2/ws`;
    this.#client = new Client(`localhost:${new URL(server.grpc).port}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  close(): void {
    this.#client.close();
    for (const socket of this.#sockets) socket.terminate();
  }

  /** Resolves when the request is on its way. */
  async start(kind: CallKind, request: CallRequest): Promise<Call> {
    switch (kind) {
      case 'REST':
        return this.#rest(request);
      case 'gRPC unary':
        return this.#unary(request);
      case 'gRPC stream':
        return this.#stream(request);
      case 'WebSocket message': {
        this.#shared ??= this.#open().then((socket) => new SharedSocket(socket));
        return (await this.#shared).start(request, false);
      }
      case 'WebSocket connection':
        return new SharedSocket(await this.#open()).start(request, true);
    }
  }

  /** All steps of a sequence over one stream or socket, none waiting for the one before. Resolves with the first output of each, in their order. */
  async sequence(kind: 'gRPC stream' | 'WebSocket', model: string, steps: readonly CallTensor[]): Promise<readonly Uint8Array[]> {
    const last = steps.length - 1;
    if (kind === 'WebSocket') {
      const socket = new SharedSocket(await this.#open());
      const ends = steps.map((tensor, i) => {
        const parameters = { sequence_id: 'a', sequence_start: i === 0, sequence_end: i === last };
        return socket.start({ model, id: `s${i}`, inputs: [tensor], parameters }, false).ended;
      });
      return (await Promise.all(ends)).map(({ code, message, data }) => {
        if (code !== 'OK') throw new Error(`${code}: ${message}`);
        return data;
      });
    }
    const call: ClientDuplexStream<Buffer, Buffer> = this.#client.makeBidiStreamRequest(`${service}ModelStreamInfer`, same, same);
    const outputs: Uint8Array[] = [];
    call.on('data', (bytes: Buffer) => {
      const { errorMessage, inferResponse } = streamResponseType.decode(bytes) as unknown as {
        errorMessage: string;
        inferResponse: GrpcResponse;
      };
      if (errorMessage !== '') call.destroy(new Error(errorMessage));
      else outputs.push(firstOutput(inferResponse));
    });
    for (const [i, tensor] of steps.entries()) {
      const parameters = { sequence_id: 5, sequence_start: i === 0, sequence_end: i === last };
      call.write(encodeMessage({ model, id: `s${i}`, inputs: [tensor], parameters }));
    }
    call.end();
    await new Promise<void>((resolve, reject) => {
      call.once('error', reject);
      call.once('status', ({ code, details }) => (code === 0 ? resolve() : reject(new Error(details))));
    });
    return outputs;
  }

  async #rest(request: CallRequest): Promise<Call> {
    const connection = await RawHttpConnection.open(this.#port);
    const { header, tail } = encode(request, {});
    const timeout = request.timeoutMs === undefined ? '' : `Inference-Timeout-Ms: ${request.timeoutMs}\r\n`;
    const head = `POST /v2/models/${request.model}/infer HTTP/1.1\r\nHost: a\r\n${timeout}Inference-Header-Content-Length: ${header.length}\r\nContent-Length: ${header.length + tail.length}\r\n\r\n`;
    connection.write(Buffer.concat([Buffer.from(head), header, tail]));
    const ended = connection.next().then((answer): CallEnd => {
      connection.destroy();
      if (answer === null) return failed('GONE', '');
      const { status, headers, body } = answer;
      if (status !== 200) return failed(codeOf('http', status), (JSON.parse(body.toString()) as { error: string }).error);
      const json = JSON.parse(body.toString('utf8', 0, Number(headers.get('inference-header-content-length')))) as { id: string };
      if (json.id !== request.id) throw new Error(`${request.id} was answered with ${json.id}`);
      return { code: 'OK', message: '', data: body.subarray(Number(headers.get('inference-header-content-length'))), responses: 1 };
    });
    return { ended, cancel: () => connection.destroy() };
  }

  #unary(request: CallRequest): Call {
    let call: ClientUnaryCall | null = null;
    const ended = new Promise<CallEnd>((resolve) => {
      call = this.#client.makeUnaryRequest(
        `${service}ModelInfer`,
        same,
        same,
        encodeMessage(request),
        new Metadata(),
        deadlineOf(request),
        (error: ServiceError | null, bytes?: Buffer) => {
          if (error !== null) resolve(failed(codeOf('grpc', error.code), error.details));
          else
            resolve({ code: 'OK', message: '', data: firstOutput(responseType.decode(bytes!) as unknown as GrpcResponse), responses: 1 });
        },
      );
    });
    return { ended, cancel: () => call!.cancel() };
  }

  #stream(request: CallRequest): Call {
    const call: ClientDuplexStream<Buffer, Buffer> = this.#client.makeBidiStreamRequest(
      `${service}ModelStreamInfer`,
      same,
      same,
      new Metadata(),
      deadlineOf(request),
    );
    let end: CallEnd = failed('OK', '');
    call.on('error', () => {});
    call.on('data', (bytes: Buffer) => {
      const { errorMessage, inferResponse } = streamResponseType.decode(bytes) as unknown as {
        errorMessage: string;
        inferResponse: GrpcResponse | null;
      };
      const code = inferResponse?.parameters['error_code']?.stringParam;
      if (errorMessage !== '') end = failed((code ?? 'UNKNOWN') as StatusCode, errorMessage, end.responses);
      else end = { code: 'OK', message: '', data: firstOutput(inferResponse!), responses: end.responses + 1 };
    });
    const ended = new Promise<CallEnd>((resolve) => {
      call.on('status', ({ code, details }) => resolve(code === 0 ? end : failed(codeOf('grpc', code), details, end.responses)));
    });
    call.write(encodeMessage(request));
    call.end();
    return { ended, cancel: () => call.cancel() };
  }

  async #open(): Promise<WebSocket> {
    const socket = new WebSocket(this.#url);
    this.#sockets.add(socket);
    await new Promise((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    return socket;
  }
}

function firstOutput({ rawOutputContents }: GrpcResponse): Uint8Array {
  return new Uint8Array(rawOutputContents[0] ?? NOTHING);
}

function deadlineOf({ timeoutMs }: CallRequest): { deadline?: number } {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

/** Requests of one WebSocket, told apart by id. An answer to what has ended is a fault. */
class SharedSocket {
  readonly #socket: WebSocket;
  readonly #waiting: Map<string, (end: CallEnd) => void> = new Map();
  readonly #soFar: Map<string, CallEnd> = new Map();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#onMessage(data, isBinary));
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const [id, resolve] of this.#waiting) resolve(failed('GONE', '', this.#soFar.get(id)?.responses));
      this.#waiting.clear();
    });
  }

  start(request: CallRequest, isOwn: boolean): Call {
    const { id, model, timeoutMs } = request;
    const { header, tail } = encode(request, { model_name: model, ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }) });
    const length = Buffer.alloc(4);
    length.writeUInt32LE(header.length);
    const ended = new Promise<CallEnd>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(Buffer.concat([length, header, tail]));
    if (isOwn) void ended.then(() => this.#socket.close());
    return { ended, cancel: () => (isOwn ? this.#socket.terminate() : this.#socket.send(JSON.stringify({ type: 'cancel', id }))) };
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    const jsonBytes = isBinary ? data.readUInt32LE(0) : data.length;
    const start = isBinary ? 4 : 0;
    const json = JSON.parse(data.toString('utf8', start, start + jsonBytes)) as {
      readonly id: string;
      readonly error?: string;
      readonly code?: StatusCode;
      readonly outputs?: readonly unknown[];
      readonly parameters?: { readonly triton_final_response?: boolean };
    };
    const resolve = this.#waiting.get(json.id);
    if (resolve === undefined) throw new Error(`an answer to ${json.id}, which has ended: ${JSON.stringify(json).slice(0, 200)}`);
    const before = this.#soFar.get(json.id) ?? failed('OK', '');
    let end = before;
    if (json.error !== undefined) end = failed(json.code!, json.error, before.responses);
    else if (json.outputs!.length > 0)
      end = { ...before, data: new Uint8Array(data.subarray(start + jsonBytes)), responses: before.responses + 1 };
    this.#soFar.set(json.id, end);
    if (json.error === undefined && json.parameters?.triton_final_response !== true) return;
    this.#waiting.delete(json.id);
    this.#soFar.delete(json.id);
    resolve(end);
  }
}
