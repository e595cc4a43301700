import { InferenceError } from '../../../proto/inference-error.ts';
import { encodeModelConfig } from '../../model-config/encode-model-config.ts';
import type { Model } from '../../repository/model.ts';
import { thenWaiting, type Waiting } from '../../repository/waiting.ts';
import type { UnaryMethod } from '../../transports/rpc-call.ts';
import { describeModel, describeServer, describeStatistics } from '../describe-model.ts';
import { noSharedMemoryRegion, notYet } from '../not-yet.ts';
import type { ProtocolContext } from '../protocol.ts';
import { decodeControlRequest, messageType } from './control-messages.ts';
import { controlMethod } from './control-method.ts';
import { repositoryMethods } from './repository-control.ts';

/** The answer, named as in the response message. */
type Handler = (context: ProtocolContext, request: ControlNames) => object | Waiting<object>;

/** The fields that the requests of this service share. */
interface ControlNames {
  readonly name: string;
  readonly version: string;
  readonly ready: boolean;
}

const NOTHING_SENT: ControlNames = { name: '', version: '', ready: false };

const noSharedMemory: Handler = () => {
  throw notYet('shared memory');
};
/** That there are none is true. */
const noRegions: Handler = (_context, { name }) => {
  if (name !== '') throw noSharedMemoryRegion(name);
  return { regions: {} };
};

/** What is neither inference nor load and unload, by the name of the RPC. Requests and responses are named after it. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  ServerLive: (context) => ({ live: context.isLive() }),
  ServerReady: (context) => ({ ready: context.isReady() }),
  ModelReady: (context, { name, version }) => ({ ready: isModelReady(context, name, version) }),
  ServerMetadata: (context) => describeServer(context),
  ModelMetadata: (context, { name, version }) => describe(context, name, version, (model) => describeModel(context, model, version)),
  ModelConfig: (context, { name, version }) => describe(context, name, version, ({ config }) => ({ config: encodeModelConfig(config) })),
  ModelStatistics: (context, { name, version }) => describeStatistics(context, name, version),
  RepositoryIndex: async (context, { ready }) => {
    await context.repository.refresh();
    return { models: context.repository.index(ready) };
  },
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
  const methods = Object.entries(HANDLERS).map(([rpc, handler]) => {
    const requestType = messageType(`${rpc}Request`);
    return controlMethod(service, rpc, context, (message) =>
      handler(context, { ...NOTHING_SENT, ...decodeControlRequest(requestType, message) }),
    );
  });
  return [...methods, ...repositoryMethods(service, context)];
}

/** Says something about a model, which is loaded first where models are loaded on demand. */
function describe(context: ProtocolContext, name: string, version: string, say: (model: Model) => object): object | Waiting<object> {
  const routed = context.door.route(name, version);
  return routed instanceof Promise ? thenWaiting(routed, say) : say(routed);
}

/** A model that is unknown or not ready is not ready; that a version is no number is the caller's mistake (reference section 1.4). */
function isModelReady(context: ProtocolContext, name: string, version: string): boolean {
  try {
    context.repository.requireReady(name, version);
    return true;
  } catch (error) {
    if (error instanceof InferenceError && (error.code === 'NOT_FOUND' || error.code === 'UNAVAILABLE')) return false;
    throw error;
  }
}
