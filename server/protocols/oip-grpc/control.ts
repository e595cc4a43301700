import type { Type } from 'protobufjs';
import { InferenceError } from '../../../proto/inference-error.ts';
import { encodeModelConfig } from '../../model-config/encode-model-config.ts';
import type { UnaryMethod } from '../../transports/rpc-call.ts';
import { describeModel, describeServer, describeStatistics } from '../describe-model.ts';
import { noSharedMemoryRegion, notYet } from '../not-yet.ts';
import type { ProtocolContext } from '../protocol.ts';
import { decodeControlRequest, encodeMessage, messageType } from './control-messages.ts';

/** The answer, named as in the response message. */
type Handler = (context: ProtocolContext, request: ControlNames) => object | Promise<object>;

/** The fields that the requests of this service share. */
interface ControlNames {
  readonly name: string;
  readonly version: string;
  readonly ready: boolean;
  readonly model_name: string;
  /** Any were sent. */
  readonly parameters: boolean;
}

const NOTHING_SENT: ControlNames = { name: '', version: '', ready: false, model_name: '', parameters: false };

const loadModel: Handler = async (context, { model_name: name, parameters }) => {
  await context.repository.load(name, parameters);
  return {};
};
/** `unload_dependents` is about ensembles, of which there are none. */
const unloadModel: Handler = async (context, { model_name: name }) => {
  await context.repository.unload(name);
  return {};
};
const noSharedMemory: Handler = () => {
  throw notYet('shared memory');
};
/** That there are none is true. */
const noRegions: Handler = (_context, { name }) => {
  if (name !== '') throw noSharedMemoryRegion(name);
  return { regions: {} };
};

/** Everything of the service that is not inference, by the name of the RPC. Requests and responses are named after it. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  ServerLive: (context) => ({ live: context.isLive() }),
  ServerReady: (context) => ({ ready: context.isReady() }),
  ModelReady: (context, { name, version }) => ({ ready: isModelReady(context, name, version) }),
  ServerMetadata: (context) => describeServer(context),
  ModelMetadata: (context, { name, version }) => describeModel(context, name, version),
  ModelConfig: (context, { name, version }) => ({ config: encodeModelConfig(context.door.route(name, version).config) }),
  ModelStatistics: (context, { name, version }) => describeStatistics(context, name, version),
  RepositoryIndex: (context, { ready }) => ({ models: context.repository.index(ready) }),
  RepositoryModelLoad: loadModel,
  RepositoryModelUnload: unloadModel,
  SystemSharedMemoryStatus: noRegions,
  SystemSharedMemoryRegister: noSharedMemory,
  SystemSharedMemoryUnregister: noSharedMemory,
  CudaSharedMemoryStatus: noRegions,
  CudaSharedMemoryRegister: noSharedMemory,
  CudaSharedMemoryUnregister: noSharedMemory,
  TraceSetting: () => {
    throw notYet('trace');
  },
  LogSettings: () => {
    throw notYet('logging');
  },
};

export function controlMethods(service: string, context: ProtocolContext): UnaryMethod[] {
  return Object.entries(HANDLERS).map(([rpc, handler]) => controlMethod(service, rpc, handler, context));
}

function controlMethod(service: string, rpc: string, handler: Handler, context: ProtocolContext): UnaryMethod {
  const requestType: Type = messageType(`${rpc}Request`);
  const responseType: Type = messageType(`${rpc}Response`);
  return {
    kind: 'unary',
    path: `/${service}/${rpc}`,
    handle: (call) => {
      const failed = (error: unknown): void => {
        context.reportFault(error);
        call.fail(InferenceError.from(error));
      };
      try {
        const request = { ...NOTHING_SENT, ...decodeControlRequest(requestType, call.message) };
        const answer = handler(context, request);
        if (answer instanceof Promise) answer.then((later: object) => call.respond(encodeMessage(responseType, later))).catch(failed);
        else call.respond(encodeMessage(responseType, answer));
      } catch (error) {
        failed(error);
      }
    },
  };
}

/** A model that is unknown or not ready is not ready; that a version is no number is the caller's mistake (reference section 1.4). */
function isModelReady(context: ProtocolContext, name: string, version: string): boolean {
  try {
    context.door.route(name, version);
    return true;
  } catch (error) {
    if (error instanceof InferenceError && (error.code === 'NOT_FOUND' || error.code === 'UNAVAILABLE')) return false;
    throw error;
  }
}
