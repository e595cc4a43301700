import { connect, type Socket } from 'node:net';
import protobuf from 'protobufjs';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { GrpcConnection } from './grpc-lane.ts';
import type { SwapAnswer } from './swap-ledger.ts';

/** A place that has one request of its own at a time. `id` is the request's id and its only value. */
export interface SwapLane {
  send(id: number, answered: (answer: SwapAnswer | Error) => void): void;
  close(): void;
}

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';

/** REST with binary tensors, over a keep-alive connection that is opened again when it ends. */
export class RestSwapLane implements SwapLane {
  readonly #port: number;
  readonly #model: string;
  readonly #unasked: (what: string) => void;
  #socket: Socket | null = null;
  #received: Buffer = Buffer.alloc(0);
  #answered: ((answer: SwapAnswer | Error) => void) | null = null;
  #isClosed = false;

  constructor(port: number, model: string, unasked: (what: string) => void) {
    this.#port = port;
    this.#model = model;
    this.#unasked = unasked;
  }

  send(id: number, answered: (answer: SwapAnswer | Error) => void): void {
    this.#answered = answered;
    this.#received = Buffer.alloc(0);
    this.#socket ??= this.#connect();
    const header = `{"id":"${id}","inputs":[{"name":"INPUT0","datatype":"INT64","shape":[1,1],"parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}`;
    const head =
      `POST /v2/models/${this.#model}/infer HTTP/1.1\r\nhost: 127.0.0.1:${this.#port}\r\ncontent-type: application/octet-stream\r\n` +
      `inference-header-content-length: ${header.length}\r\ncontent-length: ${header.length + 8}\r\n\r\n${header}`;
    const request = Buffer.allocUnsafe(head.length + 8);
    request.write(head, 'latin1');
    request.writeBigInt64LE(BigInt(id), head.length);
    this.#socket.write(request);
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.destroy();
  }

  #connect(): Socket {
    const socket = connect({ host: '127.0.0.1', port: this.#port, noDelay: true });
    let failure = new Error('the server closed the connection');
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('close', () => {
      this.#socket = null;
      if (!this.#isClosed) this.#settle(failure);
    });
    socket.on('data', (chunk) => this.#onData(chunk));
    return socket;
  }

  #settle(answer: SwapAnswer | Error): void {
    const answered = this.#answered;
    this.#answered = null;
    answered?.(answer);
  }

  #onData(chunk: Buffer): void {
    if (this.#answered === null) {
      this.#unasked(`${chunk.length} bytes after the answer`);
      return;
    }
    const received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    this.#received = received;
    const headEnd = received.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const head = received.toString('latin1', 0, headEnd);
    const end = headEnd + 4 + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(end)) {
      this.#socket?.destroy();
      return;
    }
    if (received.length < end) return;
    if (received.length > end) this.#unasked(`${received.length - end} bytes behind the answer`);
    const body = received.subarray(headEnd + 4, end);
    this.#settle(head.startsWith('HTTP/1.1 200') ? readBinary(head, body) : new Error(`${head.split('\r\n', 1)[0]} ${body.toString()}`));
  }
}

interface JsonAnswer {
  readonly id: string;
  readonly model_version: string;
  readonly outputs: readonly { readonly name: string }[];
}

function readBinary(head: string, body: Buffer): SwapAnswer | Error {
  const length = Number(/\r\ninference-header-content-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
  if (body.length !== length + 16) return new Error(`expected a header and 16 bytes, got ${body.length} with a header of ${length}`);
  const { id, model_version, outputs } = JSON.parse(body.toString('utf8', 0, length)) as JsonAnswer;
  return answerOf(
    id,
    model_version,
    outputs.map(({ name }) => name),
    [body.subarray(length, length + 8), body.subarray(length + 8)],
  );
}

function answerOf(id: string, version: string, names: readonly string[], tensors: readonly Uint8Array[]): SwapAnswer | Error {
  if (names.join() !== 'OUTPUT0,OUTPUT1' || tensors.some((one) => one.length !== 8))
    return new Error(`unexpected outputs: ${names.join()}`);
  const [value, computedBy] = tensors.map((one) => Number(Buffer.from(one.buffer, one.byteOffset, 8).readBigInt64LE()));
  return { id: Number(id), value: value!, modelVersion: Number(version), computedBy: computedBy! };
}

interface GrpcAnswer {
  readonly id: string;
  readonly modelVersion: string;
  readonly outputs: readonly { readonly name: string }[];
  readonly rawOutputContents: readonly Uint8Array[];
}

/** Unary gRPC. Lanes may share a connection. */
export class GrpcSwapLane implements SwapLane {
  readonly #connection: GrpcConnection;
  readonly #model: string;

  private constructor(connection: GrpcConnection, model: string) {
    this.#connection = connection;
    this.#model = model;
  }

  static async open(port: number, model: string, count: number): Promise<GrpcSwapLane[]> {
    const connection = await GrpcConnection.open(port);
    return Array.from({ length: count }, () => new GrpcSwapLane(connection, model));
  }

  send(id: number, answered: (answer: SwapAnswer | Error) => void): void {
    const value = Buffer.allocUnsafe(8);
    value.writeBigInt64LE(BigInt(id));
    const message = requestType.encode({
      modelName: this.#model,
      id: String(id),
      inputs: [{ name: 'INPUT0', datatype: 'INT64', shape: [1, 1] }],
      rawInputContents: [value],
    });
    this.#connection.call(MODEL_INFER, message.finish(), (error, body) => answered(error ?? readMessage(body)));
  }

  close(): void {
    if (!this.#connection.isClosed) this.#connection.close();
  }
}

function readMessage(body: Buffer): SwapAnswer | Error {
  if (body.length < 5 || body.length !== 5 + body.readUInt32BE(1)) return new Error(`${body.length} bytes are not one message`);
  const { id, modelVersion, outputs, rawOutputContents } = responseType.decode(body.subarray(5)) as unknown as GrpcAnswer;
  return answerOf(
    id,
    modelVersion,
    outputs.map(({ name }) => name),
    rawOutputContents,
  );
}
