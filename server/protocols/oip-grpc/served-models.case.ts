/** The gRPC service on a real socket, with models that answer when the test says so. */

import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { ModelMetadata } from '../../../backends/api/backend.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { Admission } from '../../data-plane/admission.ts';
import { InferenceDoor } from '../../data-plane/infer.ts';
import { makeRepository } from '../../e2e/serve.ts';
import type { InstanceGroup } from '../../execution/instance-group.ts';
import { systemClock } from '../../inference/clock.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { InferenceResponse } from '../../inference/inference-response.ts';
import { noNestedCalls } from '../../inference/nested-calls.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { autoCompleteConfig } from '../../model-config/auto-complete-config.ts';
import { emptyModelConfig } from '../../model-config/parse-model-config.ts';
import { Model } from '../../repository/model.ts';
import type { ModelLoader } from '../../repository/model-loader.ts';
import { ModelRepository } from '../../repository/model-repository.ts';
import type { Scheduler } from '../../scheduling/scheduler.ts';
import { startGrpcTransport } from '../../transports/grpc/grpc-transport.ts';
import { LOCAL_OPTIONS } from '../../transports/grpc/local-options.case.ts';
import type { RpcTransport } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { messageType } from './control-messages.ts';
import { oipGrpcMethods } from './endpoints.ts';

const timing = { queueNs: 1, computeInputNs: 1, computeInferNs: 1, computeOutputNs: 1 };
const metadata: ModelMetadata = {
  inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [-1, 1], optional: false }],
  outputs: [{ name: 'OUTPUT0', datatype: 'INT32', shape: [-1, 1], optional: false }],
};

/** Holds requests until the test ends them. */
export class ManualScheduler implements Scheduler {
  readonly held: InferenceRequest[] = [];
  readonly cancelled: string[] = [];
  readonly resumed: string[] = [];
  taken = 0;
  readonly pendingCount = 0;
  #waiting: { count: number; resolve: () => void } | null = null;

  get inflightCount(): number {
    return this.held.length;
  }

  enqueue(request: InferenceRequest): void {
    request.holder = this;
    this.held.push(request);
    this.taken++;
    if (this.#waiting !== null && this.taken >= this.#waiting.count) this.#waiting.resolve();
  }

  onRequestCancelled(request: InferenceRequest): void {
    this.cancelled.push(request.id);
  }

  onRequestResumed(request: InferenceRequest): void {
    this.resumed.push(request.id);
  }

  /** Resolves when `count` requests have come, over all its life. */
  async took(count: number): Promise<void> {
    if (this.taken >= count) return;
    await new Promise<void>((resolve) => {
      this.#waiting = { count, resolve };
    });
  }

  byId(id: string): InferenceRequest {
    const request = this.held.find((one) => one.id === id);
    if (request === undefined) throw new Error(`no request ${id} is held`);
    return request;
  }

  poke(): void {}
  failPending(): void {}
  async stop(): Promise<void> {}
}

/** One value: `OUTPUT0` of [1, 1]. */
export function answer(model: string, value: number): InferenceResponse {
  const data = new Uint8Array(Int32Array.of(value).buffer);
  return new InferenceResponse(model, '1', [{ name: 'OUTPUT0', datatype: 'INT32', shape: [1, 1], data }], null, timing);
}

export function large(model: string, bytes: number): InferenceResponse {
  const tensor: Tensor = { name: 'OUTPUT0', datatype: 'INT32', shape: [bytes / 4, 1], data: new Uint8Array(bytes) };
  return new InferenceResponse(model, '1', [tensor], null, timing);
}

export interface StreamAnswer {
  readonly errorMessage: string;
  readonly inferResponse: InferAnswer;
}

export interface InferAnswer {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly parameters: Readonly<Record<string, { readonly boolParam?: boolean }>>;
  readonly outputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[] }[];
  readonly rawOutputContents: readonly Buffer[];
}

const PATH = '/inference.GRPCInferenceService/';
const requestType = messageType('ModelInferRequest');
const options = { defaults: true, arrays: true, objects: true, longs: Number, enums: String } as const;

/** A ModelInferRequest with INPUT0 of [1, 1], or with what `changes` says instead. */
export function inferRequest(model: string, id: string, changes: object = {}): Buffer {
  const raw = { inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 1] }], rawInputContents: [new Uint8Array(4)] };
  return Buffer.from(requestType.encode(requestType.fromObject({ modelName: model, id, ...raw, ...changes })).finish());
}

export function decodeAs<T>(type: string, message: Uint8Array): T {
  const found = messageType(type);
  return found.toObject(found.decode(message), options) as T;
}

export class Stream {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  readonly messages: StreamAnswer[] = [];
  /** The final status. */
  readonly ended: Promise<{ code: number; details: string }>;
  #waiting: { count: number; resolve: () => void } | null = null;

  constructor(call: ClientDuplexStream<Buffer, Buffer>) {
    this.call = call;
    call.on('data', (message: Buffer) => {
      this.messages.push(decodeAs<StreamAnswer>('ModelStreamInferResponse', message));
      if (this.#waiting !== null && this.messages.length >= this.#waiting.count) this.#waiting.resolve();
    });
    call.on('error', () => {});
    this.ended = new Promise((resolve) => call.on('status', resolve));
  }

  send(...messages: Buffer[]): void {
    for (const message of messages) this.call.write(message);
  }

  async heard(count: number): Promise<StreamAnswer[]> {
    if (this.messages.length < count) {
      await new Promise<void>((resolve) => {
        this.#waiting = { count, resolve };
      });
    }
    return this.messages;
  }
}

/** Models `plain` and, decoupled, `many`. */
export class ServedModels {
  readonly plain: ManualScheduler = new ManualScheduler();
  readonly many: ManualScheduler = new ManualScheduler();
  readonly faults: unknown[] = [];
  readonly context: ProtocolContext;
  isReady = true;
  readonly #transport: RpcTransport;
  readonly #client: Client;
  readonly #removeFiles: () => void;

  private constructor(context: ProtocolContext, transport: RpcTransport, removeFiles: () => void) {
    this.context = context;
    this.#transport = transport;
    this.#client = new Client(`127.0.0.1:${transport.port}`, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
    this.#removeFiles = removeFiles;
  }

  /** Without waiting for the end. */
  drain(): Promise<void> {
    return this.#transport.drain();
  }

  static async start(): Promise<ServedModels> {
    const files = makeRepository({ 'plain/1/model.onnx': 'x', 'many/1/model.onnx': 'x', 'broken/1/model.onnx': 'x' });
    const holder: { served: ServedModels | null } = { served: null };
    const schedulers = new Map<string, Model>();
    const onFault = (error: unknown): void => {
      holder.served?.faults.push(error);
    };
    const repository = new ModelRepository({
      directories: [files.path],
      modelFiles: [],
      controlMode: 'none',
      loadModels: [],
      loader: {
        load: (description: { readonly name: string }) => {
          if (description.name === 'broken') return Promise.reject(new InferenceError('INVALID_ARGUMENT', 'no model in there'));
          const model = makeModel(description.name);
          schedulers.set(description.name, model);
          return Promise.resolve(model);
        },
      } as unknown as ModelLoader,
      warn: () => {},
      unusable: () => {},
      onFault,
    });
    await repository.loadAll({ started: () => {}, loading: () => {}, loaded: () => {} });
    const context: ProtocolContext = {
      door: new InferenceDoor(repository, new Admission(100_000, 2 ** 40), systemClock, null),
      repository,
      serverName: 'nereid',
      serverVersion: '0.0.1',
      isReady: () => holder.served!.isReady,
      isLive: () => true,
      reportFault: (error) => {
        if (!(error instanceof InferenceError)) onFault(error);
      },
    };
    const transport = await startGrpcTransport({
      ...LOCAL_OPTIONS,
      methods: oipGrpcMethods(context),
      onError: onFault,
    });
    const served = new ServedModels(context, transport, files.remove);
    holder.served = served;
    Object.assign(schedulers.get('plain')!, { scheduler: served.plain });
    Object.assign(schedulers.get('many')!, { scheduler: served.many });
    return served;
  }

  async stop(): Promise<void> {
    this.#client.close();
    await this.#transport.close();
    this.#removeFiles();
  }

  /** Rejects with the ServiceError. */
  call(rpc: string, message: Uint8Array, deadlineMs = Number.POSITIVE_INFINITY): { answer: Promise<Buffer>; cancel: () => void } {
    let cancel = (): void => {};
    const answer = new Promise<Buffer>((resolve, reject) => {
      const done = (error: ServiceError | null, response?: Buffer): void => (error === null ? resolve(response!) : reject(error));
      const deadline = deadlineMs === Number.POSITIVE_INFINITY ? deadlineMs : Date.now() + deadlineMs;
      const call = this.#client.makeUnaryRequest(PATH + rpc, same, same, Buffer.from(message), new Metadata(), { deadline }, done);
      cancel = () => call.cancel();
    });
    answer.catch(() => {});
    return { answer, cancel };
  }

  /** A control call: the request's fields, and the answer's, as protobufjs names them. */
  async ask<T>(rpc: string, request: object = {}): Promise<T> {
    const type = messageType(`${rpc}Request`);
    const message = await this.call(rpc, type.encode(type.fromObject(request)).finish()).answer;
    return decodeAs<T>(`${rpc}Response`, message);
  }

  stream(metadataEntries: Readonly<Record<string, string>> = {}): Stream {
    const sent = new Metadata();
    for (const [key, value] of Object.entries(metadataEntries)) sent.set(key, value);
    return new Stream(this.#client.makeBidiStreamRequest(`${PATH}ModelStreamInfer`, same, same, sent));
  }
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function makeModel(name: string): Model {
  const config = { ...emptyModelConfig(), name, backend: 'manual', modelTransactionPolicy: name === 'many' ? { decoupled: true } : null };
  return new Model({
    version: 1,
    config: autoCompleteConfig(config, metadata, { defaultMaxBatchSize: 8 }),
    labels: new Map(),
    instances: { metadata, aliveCount: 1, stop: () => Promise.resolve() } as unknown as InstanceGroup,
    reporter: new ModelReporter(name, '1', {}),
    defaultMaxQueueSize: 4096,
    clock: systemClock,
    nestedCalls: noNestedCalls,
    onFault: () => {},
    onStopped: () => {},
  });
}
