import type * as Service from '../../../../proto/gen/inference-service.ts';
import { InferenceError, invalidArgument, type StatusCode } from '../../../../proto/inference-error.ts';
import { CallError } from '../call-error.ts';
import type {
  CudaSharedMemoryRegion,
  LogSettings,
  LogSettingsUpdate,
  ModelConfig,
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
  SystemSharedMemoryRegion,
  TraceSettings,
  TraceSettingsUpdate,
} from '../server-facts.ts';
import type { CallContext, ControlTransport } from '../transport.ts';
import { decodeMessage } from './decode-message.ts';
import { encodeMessage } from './encode-message.ts';
import type { GrpcSession } from './grpc-session.ts';

/** Requests and responses of the RPCs. Both are messages that are named after their RPC. */
interface Rpcs {
  ServerLive: [Service.ServerLiveRequest, Service.ServerLiveResponse];
  ServerReady: [Service.ServerReadyRequest, Service.ServerReadyResponse];
  ModelReady: [Service.ModelReadyRequest, Service.ModelReadyResponse];
  ServerMetadata: [Service.ServerMetadataRequest, Service.ServerMetadataResponse];
  ModelMetadata: [Service.ModelMetadataRequest, Service.ModelMetadataResponse];
  /** In the words of its JSON, unlike the others (message-fields.ts). */
  ModelConfig: [Service.ModelConfigRequest, { config: ModelConfig }];
  ModelStatistics: [Service.ModelStatisticsRequest, Service.ModelStatisticsResponse];
  RepositoryIndex: [Service.RepositoryIndexRequest, Service.RepositoryIndexResponse];
  RepositoryModelLoad: [Service.RepositoryModelLoadRequest, Service.RepositoryModelLoadResponse];
  RepositoryModelUnload: [Service.RepositoryModelUnloadRequest, Service.RepositoryModelUnloadResponse];
  SystemSharedMemoryStatus: [Service.SystemSharedMemoryStatusRequest, Service.SystemSharedMemoryStatusResponse];
  SystemSharedMemoryRegister: [Service.SystemSharedMemoryRegisterRequest, Service.SystemSharedMemoryRegisterResponse];
  SystemSharedMemoryUnregister: [Service.SystemSharedMemoryUnregisterRequest, Service.SystemSharedMemoryUnregisterResponse];
  CudaSharedMemoryStatus: [Service.CudaSharedMemoryStatusRequest, Service.CudaSharedMemoryStatusResponse];
  CudaSharedMemoryRegister: [Service.CudaSharedMemoryRegisterRequest, Service.CudaSharedMemoryRegisterResponse];
  CudaSharedMemoryUnregister: [Service.CudaSharedMemoryUnregisterRequest, Service.CudaSharedMemoryUnregisterResponse];
  TraceSetting: [Service.TraceSettingRequest, Service.TraceSettingResponse];
  LogSettings: [Service.LogSettingsRequest, Service.LogSettingsResponse];
}

/** The one trace setting that is a list. */
const TRACE_LEVEL = 'trace_level';

/** Every call that is not inference. */
export class GrpcControl implements ControlTransport {
  readonly #session: GrpcSession;

  constructor(session: GrpcSession) {
    this.#session = session;
  }

  /** A server that is about to exit refuses the question. */
  isServerLive(call: CallContext): Promise<boolean> {
    return noIf(
      this.#call('ServerLive', {}, call).then(({ live }) => live),
      ['UNAVAILABLE'],
    );
  }

  isServerReady(call: CallContext): Promise<boolean> {
    return noIf(
      this.#call('ServerReady', {}, call).then(({ ready }) => ready),
      ['UNAVAILABLE'],
    );
  }

  isModelReady(name: string, version: string, call: CallContext): Promise<boolean> {
    return noIf(
      this.#call('ModelReady', { name, version }, call).then(({ ready }) => ready),
      ['UNAVAILABLE', 'NOT_FOUND'],
    );
  }

  serverMetadata(call: CallContext): Promise<ServerMetadata> {
    return this.#call('ServerMetadata', {}, call);
  }

  modelMetadata(name: string, version: string, call: CallContext): Promise<ModelMetadata> {
    return this.#call('ModelMetadata', { name, version }, call);
  }

  async modelConfig(name: string, version: string, call: CallContext): Promise<ModelConfig> {
    return (await this.#call('ModelConfig', { name, version }, call)).config;
  }

  async statistics(name: string, version: string, call: CallContext): Promise<readonly ModelStatistics[]> {
    const { modelStats } = await this.#call('ModelStatistics', { name, version }, call);
    // The generated types allow a message to be missing; the decoder puts zeros in its place.
    return modelStats as readonly ModelStatistics[];
  }

  async repositoryIndex(readyOnly: boolean, call: CallContext): Promise<readonly RepositoryEntry[]> {
    return (await this.#call('RepositoryIndex', { ready: readyOnly }, call)).models;
  }

  async loadModel(name: string, config: string, files: ReadonlyMap<string, Uint8Array>, call: CallContext): Promise<void> {
    const parameters: Record<string, Service.ModelRepositoryParameter> = {};
    if (config !== '') parameters['config'] = { stringParam: config };
    for (const [path, content] of files) parameters[`file:${path}`] = { bytesParam: content };
    await this.#call('RepositoryModelLoad', { modelName: name, parameters }, call);
  }

  async unloadModel(name: string, unloadDependents: boolean, call: CallContext): Promise<void> {
    const parameters: Record<string, Service.ModelRepositoryParameter> = unloadDependents ? { unload_dependents: { boolParam: true } } : {};
    await this.#call('RepositoryModelUnload', { modelName: name, parameters }, call);
  }

  async rollbackModel(name: string): Promise<readonly string[]> {
    throw new InferenceError('UNIMPLEMENTED', `rolling back '${name}' is not supported over gRPC: use a client of the server's HTTP port`);
  }

  async systemSharedMemoryStatus(name: string, call: CallContext): Promise<readonly SystemSharedMemoryRegion[]> {
    return Object.values((await this.#call('SystemSharedMemoryStatus', { name }, call)).regions);
  }

  async registerSystemSharedMemory({ name, key, offset, byteSize }: SystemSharedMemoryRegion, call: CallContext): Promise<void> {
    await this.#call('SystemSharedMemoryRegister', { name, key, offset, byteSize }, call);
  }

  async unregisterSystemSharedMemory(name: string, call: CallContext): Promise<void> {
    await this.#call('SystemSharedMemoryUnregister', { name }, call);
  }

  async cudaSharedMemoryStatus(name: string, call: CallContext): Promise<readonly CudaSharedMemoryRegion[]> {
    return Object.values((await this.#call('CudaSharedMemoryStatus', { name }, call)).regions);
  }

  async registerCudaSharedMemory(region: CudaSharedMemoryRegion, rawHandle: Uint8Array, call: CallContext): Promise<void> {
    const { name, deviceId, byteSize } = region;
    await this.#call('CudaSharedMemoryRegister', { name, deviceId, byteSize, rawHandle }, call);
  }

  async unregisterCudaSharedMemory(name: string, call: CallContext): Promise<void> {
    await this.#call('CudaSharedMemoryUnregister', { name }, call);
  }

  async traceSettings(model: string, update: TraceSettingsUpdate, call: CallContext): Promise<TraceSettings> {
    const asked: Record<string, Service.TraceSettingRequestSettingValue> = {};
    for (const [name, value] of Object.entries(update)) {
      // An empty list clears the setting.
      asked[name] = { value: value === null ? [] : typeof value === 'string' ? [value] : [...value] };
    }
    const { settings } = await this.#call('TraceSetting', { settings: asked, modelName: model }, call);
    return Object.fromEntries(
      Object.entries(settings).map(([name, { value }]) => [name, name === TRACE_LEVEL || value.length > 1 ? value : (value[0] ?? '')]),
    );
  }

  async logSettings(update: LogSettingsUpdate, call: CallContext): Promise<LogSettings> {
    const asked: Record<string, Service.LogSettingsRequestSettingValue> = {};
    for (const [name, value] of Object.entries(update)) asked[name] = logSetting(name, value);
    const { settings } = await this.#call('LogSettings', { settings: asked }, call);
    return Object.fromEntries(
      Object.entries(settings).map(([name, { boolParam, uint32Param, stringParam }]) => [
        name,
        boolParam ?? uint32Param ?? stringParam ?? '',
      ]),
    );
  }

  async #call<R extends keyof Rpcs>(rpc: R, request: Partial<Rpcs[R][0]>, call: CallContext): Promise<Rpcs[R][1]> {
    const answer = await this.#session.unary(rpc, encodeMessage(`${rpc}Request`, request), call);
    return decodeMessage(`${rpc}Response`, answer) as Rpcs[R][1];
  }
}

function logSetting(name: string, value: LogSettingsUpdate[string]): Service.LogSettingsRequestSettingValue {
  switch (typeof value) {
    case 'boolean':
      return { boolParam: value };
    case 'number':
      return { uint32Param: value };
    case 'string':
      return { stringParam: value };
    default:
      throw invalidArgument(`settings.${name}: expected a string, a number or a boolean, got ${value === null ? 'null' : typeof value}`);
  }
}

/** `false` for what the server itself answers with one of the codes; any other failure stays one. */
async function noIf(answer: Promise<boolean>, codes: readonly StatusCode[]): Promise<boolean> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof CallError && error.status !== 0 && codes.includes(error.code)) return false;
    throw error;
  }
}
