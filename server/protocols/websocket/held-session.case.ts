import { encodeBytes } from '../../../proto/bytes.ts';
import type { Datatype } from '../../../proto/datatype.ts';
import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { Admission } from '../../data-plane/admission.ts';
import { InferenceDoor } from '../../data-plane/infer.ts';
import { systemClock } from '../../inference/clock.ts';
import type { InferenceRequest, RequestHolder, RequestParameter } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { autoCompleteConfig } from '../../model-config/auto-complete-config.ts';
import { emptyModelConfig } from '../../model-config/parse-model-config.ts';
import { createSignature } from '../../repository/create-signature.ts';
import type { Model } from '../../repository/model.ts';
import type { ModelLoader } from '../../repository/model-loader.ts';
import { ModelRepository } from '../../repository/model-repository.ts';
import type { WebSocketConnection } from '../../transports/web-socket.ts';
import type { ProtocolContext } from '../protocol.ts';
import { BacklogBudget } from './message-backlog.ts';
import { type SessionLimits, WebSocketSession } from './web-socket-session.ts';

/** A connection without a socket: what is sent is kept, and waits for as long as the test says. */
export class KeptConnection implements WebSocketConnection {
  unsentBytes = 0;
  isClosed = false;
  isPaused = false;
  /** How often it was paused. */
  pauses = 0;
  close_: { readonly code: number; readonly reason: string } | null = null;
  readonly messages: Message[] = [];
  /** Counts what is sent as unsent. */
  isSlow = false;

  sendText(text: string | Uint8Array): void {
    this.#keep(Buffer.from(typeof text === 'string' ? Buffer.from(text) : text), false);
  }

  sendBinary(message: Uint8Array | readonly Uint8Array[]): void {
    this.#keep(Buffer.concat(message instanceof Uint8Array ? [message] : message), true);
  }

  pause(): void {
    this.isPaused = true;
    this.pauses++;
  }

  resume(): void {
    this.isPaused = false;
  }

  close(code: number, reason: string): void {
    this.isClosed = true;
    this.close_ = { code, reason };
  }

  #keep(bytes: Buffer, isBinary: boolean): void {
    if (this.isSlow) this.unsentBytes += bytes.length;
    const jsonBytes = isBinary ? bytes.readUInt32LE(0) : bytes.length;
    const start = isBinary ? 4 : 0;
    this.messages.push({
      isBinary,
      json: JSON.parse(bytes.toString('utf8', start, start + jsonBytes)),
      tail: bytes.subarray(start + jsonBytes),
    });
  }
}

export interface Message {
  readonly isBinary: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly json: any;
  readonly tail: Buffer;
}

/** A scheduler that keeps every request until the test answers it. */
class HoldingScheduler implements RequestHolder {
  readonly #held: InferenceRequest[];
  readonly cancelled: InferenceRequest[] = [];
  readonly resumed: InferenceRequest[] = [];
  /** Called with each resumed request: what a model does that had responses ready. */
  onResumed: (request: InferenceRequest) => void = () => {};
  /** Called while a request is being cancelled. */
  onCancelled: (request: InferenceRequest) => void = () => {};

  constructor(held: InferenceRequest[]) {
    this.#held = held;
  }

  enqueue(request: InferenceRequest): void {
    request.holder = this;
    this.#held.push(request);
  }

  onRequestCancelled(request: InferenceRequest): void {
    this.cancelled.push(request);
    this.onCancelled(request);
  }

  onRequestResumed(request: InferenceRequest): void {
    this.resumed.push(request);
    this.onResumed(request);
  }
}

const DEFAULT_LIMITS: SessionLimits = { maxInflightRequests: 8, maxInflightBytes: 2 ** 20, maxUnsentBytes: 2 ** 23 };

/**
 * A session behind which everything is real but the socket and the models: 'echo' (FP32), 'text' (BYTES) and 'stream' (INT32, decoupled), each with an input IN and an
 * output OUT of one variable dimension, whose requests the test answers.
 */
export class HeldSession {
  readonly connection = new KeptConnection();
  readonly held: InferenceRequest[] = [];
  readonly scheduler = new HoldingScheduler(this.held);
  readonly refused: [string, InferenceError][] = [];
  readonly faults: unknown[] = [];
  readonly admission = new Admission(4096, 2 ** 30);
  readonly session: WebSocketSession;
  readonly repository: ModelRepository;
  readonly context: ProtocolContext;

  private constructor(repository: ModelRepository, models: Model[], limits: Partial<SessionLimits>) {
    for (const model of models) Object.assign(model, { scheduler: this.scheduler });
    const log = { ended: () => {}, refused: (model: string, error: InferenceError) => this.refused.push([model, error]) };
    this.repository = repository;
    this.context = {
      door: new InferenceDoor(repository, this.admission, systemClock, log),
      repository,
      serverName: 'nereid',
      serverVersion: '0',
      isReady: () => true,
      isLive: () => true,
      reportFault: (error) => this.faults.push(error),
    };
    this.session = new WebSocketSession(this.connection, this.context, { ...DEFAULT_LIMITS, ...limits }, new BacklogBudget(0));
  }

  static async open(limits: Partial<SessionLimits> = {}): Promise<HeldSession> {
    const models = [model('echo', 'FP32'), model('text', 'BYTES'), model('stream', 'INT32')];
    const repository = Object.create(ModelRepository.prototype) as ModelRepository;
    const named = await Promise.all(models.map(async (one) => [one, await repositoryOf(one)] as const));
    repository.route = (name, version) => (named.find(([one]) => one.name === name)?.[1] ?? named[0]![1]).route(name, version);
    return new HeldSession(repository, models, limits);
  }

  get messages(): Message[] {
    return this.connection.messages;
  }

  get last(): Message {
    return this.messages.at(-1)!;
  }

  text(message: unknown): void {
    this.session.onText(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)));
  }

  binary(header: unknown, tail: Uint8Array): void {
    this.session.onBinary(binaryMessage(header, tail));
  }

  /** The oldest held request with this id, no longer held. */
  takeHeld(id: string): InferenceRequest {
    const at = this.held.findIndex((request) => request.id === id);
    if (at < 0) throw new Error(`no request '${id}' is held: ${this.held.map((request) => request.id).join(', ')}`);
    return this.held.splice(at, 1)[0]!;
  }

  answer(id: string, parameters: Readonly<Record<string, RequestParameter>> | null = null): void {
    const request = this.takeHeld(id);
    request.respond(responseTo(request, request.inputs[0]!.data, parameters));
  }
}

export function responseTo(
  request: InferenceRequest,
  data: Uint8Array,
  parameters: Readonly<Record<string, RequestParameter>> | null = null,
): InferenceResponse {
  const { datatype, shape } = request.inputs[0]!;
  const output: Tensor = { name: 'OUT', datatype, shape, data };
  const timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
  return new InferenceResponse(request.modelName, request.modelVersion, [output], parameters, timing);
}

export function binaryMessage(header: unknown, tail: Uint8Array): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json, tail]);
}

export const ones: readonly number[] = [1, 2.5, -3];
export const onesBytes: Uint8Array = new Uint8Array(Float32Array.from(ones).buffer);
export const notText: Uint8Array = encodeBytes([Uint8Array.of(0xff)]);

/** A request to 'echo' as JSON. */
export function echo(id: string, more: object = {}): Record<string, unknown> {
  return { model_name: 'echo', id, inputs: [{ name: 'IN', datatype: 'FP32', shape: [3], data: ones }], ...more };
}

export function stream(id: string, more: object = {}): Record<string, unknown> {
  return { model_name: 'stream', id, inputs: [{ name: 'IN', datatype: 'INT32', shape: [1], data: [7] }], ...more };
}

/** Its header for a binary message whose tail is `onesBytes`. */
export function echoHeader(id: string, more: object = {}): Record<string, unknown> {
  return echo(id, { inputs: [{ name: 'IN', datatype: 'FP32', shape: [3], parameters: { binary_data_size: 12 } }], ...more });
}

function model(name: string, datatype: Datatype): Model {
  const tensor = (one: string) => ({ name: one, datatype, shape: [-1], optional: false });
  const config = autoCompleteConfig(
    { ...emptyModelConfig(), name, maxBatchSize: 0 },
    { inputs: [tensor('IN')], outputs: [tensor('OUT')] },
    { defaultMaxBatchSize: 0 },
  );
  const signature = createSignature(config, '1', new Map());
  return {
    name,
    version: '1',
    signature,
    isDecoupled: name === 'stream',
    enterService: () => {},
    adopt: () => {},
    reporter: new ModelReporter(name, '1', {}),
  } as unknown as Model;
}

/** A repository that serves this one. */
async function repositoryOf(served: Model): Promise<ModelRepository> {
  const fail = (error: unknown): never => {
    throw error;
  };
  const repository = new ModelRepository({
    directories: [],
    modelFiles: [`${served.name}.onnx`],
    controlMode: 'none',
    loadModels: [],
    loader: { load: () => Promise.resolve(served) } as unknown as ModelLoader,
    warn: () => {},
    unusable: () => {},
    onFault: fail,
  });
  await repository.loadAll({ started: () => {}, loading: () => {}, loaded: () => {} });
  return repository;
}
