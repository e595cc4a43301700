/** gRPC server reflection, `grpc.reflection.v1.ServerReflection` and its older name v1alpha: the same messages. */

import protobuf, { type Type } from 'protobufjs';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { type FileDescriptor, fileDescriptors } from '../../../proto/gen/file-descriptors.ts';
import type { ServerReflectionRequest, ServerReflectionResponse } from '../../../proto/gen/reflection.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { RpcMethod, StreamCall, StreamListener, StreamMethod } from '../../transports/rpc-call.ts';

const PACKAGES = ['grpc.reflection.v1', 'grpc.reflection.v1alpha'] as const;
/** Longest name that an answer repeats. */
const MAX_QUOTED = 200;

const root = protobuf.Root.fromJSON(descriptor);
const requestType: Type = root.lookupType('grpc.reflection.v1.ServerReflectionRequest');
const responseType: Type = root.lookupType('grpc.reflection.v1.ServerReflectionResponse');

/** `methods`: all others that are served. Their services are listed, and the files of all are given out. */
export function grpcReflectionMethods(methods: readonly RpcMethod[]): RpcMethod[] {
  const own = PACKAGES.map((name) => `/${name}.ServerReflection/ServerReflectionInfo`);
  const services = [...methods.map(({ path }) => path), ...own].map((path) => path.slice(1, path.lastIndexOf('/')));
  const index = new DescriptorIndex([...new Set(services)].sort(), fileDescriptors);
  const open = (call: StreamCall): void => {
    call.listener = new ReflectionStream(call, index);
  };
  return own.map((path): StreamMethod => ({ kind: 'stream', path, open }));
}

type Answer = Partial<ServerReflectionResponse>;

class DescriptorIndex {
  readonly #services: readonly string[];
  readonly #bytes = new Map<string, Uint8Array>();
  readonly #byName = new Map<string, FileDescriptor>();
  readonly #bySymbol = new Map<string, FileDescriptor>();

  constructor(services: readonly string[], files: readonly FileDescriptor[]) {
    this.#services = services;
    for (const file of files) {
      this.#byName.set(file.name, file);
      this.#bytes.set(file.name, Buffer.from(file.base64, 'base64'));
      for (const symbol of file.symbols) this.#bySymbol.set(symbol, file);
    }
  }

  answer(request: ServerReflectionRequest): Answer {
    if (request.listServices !== undefined) return { listServicesResponse: { service: this.#services.map((name) => ({ name })) } };
    if (request.fileByFilename !== undefined) return this.#file('file', request.fileByFilename, this.#byName);
    if (request.fileContainingSymbol !== undefined) return this.#file('symbol', request.fileContainingSymbol, this.#bySymbol);
    if (request.fileContainingExtension !== undefined || request.allExtensionNumbersOfType !== undefined) {
      return refusal(new InferenceError('NOT_FOUND', 'the messages of this server have no extensions'));
    }
    return refusal(invalidArgument('message_request: expected one of its fields, got none'));
  }

  #file(what: 'file' | 'symbol', name: string, files: ReadonlyMap<string, FileDescriptor>): Answer {
    const file = files.get(name);
    if (file === undefined) {
      return refusal(new InferenceError('NOT_FOUND', `no ${what} '${name.slice(0, MAX_QUOTED)}' here${didYouMean(name, files.keys())}`));
    }
    const wanted = new Set<FileDescriptor>([file]);
    for (const { imports } of wanted) for (const imported of imports) wanted.add(this.#byName.get(imported)!);
    return { fileDescriptorResponse: { fileDescriptorProto: [...wanted].map((each) => this.#bytes.get(each.name)!) } };
  }
}

function refusal(error: InferenceError): Answer {
  return { errorResponse: { errorCode: STATUS_FORMS[error.code].grpc, errorMessage: error.message } };
}

class ReflectionStream implements StreamListener {
  readonly #call: StreamCall;
  readonly #index: DescriptorIndex;

  constructor(call: StreamCall, index: DescriptorIndex) {
    this.#call = call;
    this.#index = index;
  }

  onMessage(message: Uint8Array): void {
    let request: ServerReflectionRequest;
    try {
      request = requestType.toObject(requestType.decode(message)) as ServerReflectionRequest;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#call.fail(invalidArgument(`the message is not a grpc.reflection.v1.ServerReflectionRequest: ${reason}`));
      return;
    }
    const response = responseType.fromObject({ validHost: request.host ?? '', originalRequest: request, ...this.#index.answer(request) });
    // One that asks and does not read is not read from either.
    if (!this.#call.send(responseType.encode(response).finish())) this.#call.pause();
  }

  onHalfClose(): void {
    this.#call.end();
  }

  onDrain(): void {
    this.#call.resume();
  }

  onDrainRequested(): void {
    this.#call.fail(new InferenceError('UNAVAILABLE', 'the server is shutting down'));
  }
}
