import { CONTENT_TYPE, JSON_CONTENT_TYPE } from '../../../../proto/headers.ts';
import { errorFromHttp } from '../http-status.ts';
import { malformedAnswer } from '../infer-result.ts';
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
import { decodeStatistics } from './decode-statistics.ts';
import type { HttpSession } from './http-session.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** Every call that is not inference, over REST. The WebSocket transport has them from here too: its protocol carries inference alone. */
export class HttpControl implements ControlTransport {
  readonly #session: HttpSession;

  constructor(session: HttpSession) {
    this.#session = session;
  }

  isServerLive(call: CallContext): Promise<boolean> {
    return this.#health('/v2/health/live', [400, 503], call);
  }

  isServerReady(call: CallContext): Promise<boolean> {
    return this.#health('/v2/health/ready', [400, 503], call);
  }

  isModelReady(name: string, version: string, call: CallContext): Promise<boolean> {
    return this.#health(`${modelPath(name, version)}/ready`, [400, 404, 503], call);
  }

  async serverMetadata(call: CallContext): Promise<ServerMetadata> {
    return (await this.#get('/v2', call)) as ServerMetadata;
  }

  async modelMetadata(name: string, version: string, call: CallContext): Promise<ModelMetadata> {
    const json = requireObject(await this.#get(modelPath(name, version), call), 'model metadata');
    const inputs = (json['inputs'] ?? []) as ModelMetadata['inputs'];
    const outputs = (json['outputs'] ?? []) as ModelMetadata['outputs'];
    if (!Array.isArray(inputs) || !Array.isArray(outputs)) throw malformedAnswer('model metadata without lists of inputs and outputs');
    return {
      name: String(json['name']),
      versions: (json['versions'] ?? []) as string[],
      platform: String(json['platform'] ?? ''),
      inputs,
      outputs,
    };
  }

  async modelConfig(name: string, version: string, call: CallContext): Promise<ModelConfig> {
    return requireObject(await this.#get(`${modelPath(name, version)}/config`, call), 'model configuration');
  }

  async statistics(name: string, version: string, call: CallContext): Promise<readonly ModelStatistics[]> {
    const path = name === '' ? '/v2/models/stats' : `${modelPath(name, version)}/stats`;
    return decodeStatistics(await this.#get(path, call));
  }

  async repositoryIndex(readyOnly: boolean, call: CallContext): Promise<readonly RepositoryEntry[]> {
    const entries = requireList(await this.#post('/v2/repository/index', readyOnly ? { ready: true } : {}, call), 'repository index');
    return entries.map(({ name, version, state, reason }) => ({
      name: String(name),
      version: String(version ?? ''),
      state: String(state ?? ''),
      reason: String(reason ?? ''),
    }));
  }

  async loadModel(name: string, config: string, files: ReadonlyMap<string, Uint8Array>, call: CallContext): Promise<void> {
    const parameters: Record<string, string> = {};
    if (config !== '') parameters['config'] = config;
    for (const [path, content] of files) parameters[`file:${path}`] = base64(content);
    await this.#post(
      `/v2/repository/models/${encodeURIComponent(name)}/load`,
      Object.keys(parameters).length > 0 ? { parameters } : {},
      call,
    );
  }

  async unloadModel(name: string, unloadDependents: boolean, call: CallContext): Promise<void> {
    const body = unloadDependents ? { parameters: { unload_dependents: true } } : {};
    await this.#post(`/v2/repository/models/${encodeURIComponent(name)}/unload`, body, call);
  }

  async rollbackModel(name: string, call: CallContext): Promise<readonly string[]> {
    const json = requireObject(await this.#post(`/v2/repository/models/${encodeURIComponent(name)}/rollback`, {}, call), 'rollback');
    const { versions } = json;
    if (!Array.isArray(versions)) throw malformedAnswer('rollback without a list of versions');
    return versions.map(String);
  }

  async systemSharedMemoryStatus(name: string, call: CallContext): Promise<readonly SystemSharedMemoryRegion[]> {
    const regions = requireList(await this.#get(`/v2/systemsharedmemory${regionPath(name)}/status`, call), 'shared memory status');
    return regions.map((region) => ({
      name: String(region['name']),
      key: String(region['key']),
      offset: Number(region['offset']),
      byteSize: Number(region['byte_size']),
    }));
  }

  async registerSystemSharedMemory(region: SystemSharedMemoryRegion, call: CallContext): Promise<void> {
    const { name, key, offset, byteSize } = region;
    await this.#post(`/v2/systemsharedmemory${regionPath(name)}/register`, { key, offset, byte_size: byteSize }, call);
  }

  async unregisterSystemSharedMemory(name: string, call: CallContext): Promise<void> {
    await this.#post(`/v2/systemsharedmemory${regionPath(name)}/unregister`, {}, call);
  }

  async cudaSharedMemoryStatus(name: string, call: CallContext): Promise<readonly CudaSharedMemoryRegion[]> {
    const regions = requireList(await this.#get(`/v2/cudasharedmemory${regionPath(name)}/status`, call), 'shared memory status');
    return regions.map((region) => ({
      name: String(region['name']),
      deviceId: Number(region['device_id']),
      byteSize: Number(region['byte_size']),
    }));
  }

  async registerCudaSharedMemory(region: CudaSharedMemoryRegion, rawHandle: Uint8Array, call: CallContext): Promise<void> {
    const { name, deviceId, byteSize } = region;
    const body = { raw_handle: { b64: base64(rawHandle) }, device_id: deviceId, byte_size: byteSize };
    await this.#post(`/v2/cudasharedmemory${regionPath(name)}/register`, body, call);
  }

  async unregisterCudaSharedMemory(name: string, call: CallContext): Promise<void> {
    await this.#post(`/v2/cudasharedmemory${regionPath(name)}/unregister`, {}, call);
  }

  async traceSettings(model: string, update: TraceSettingsUpdate, call: CallContext): Promise<TraceSettings> {
    const path = model === '' ? '/v2/trace/setting' : `/v2/models/${encodeURIComponent(model)}/trace/setting`;
    return requireObject(await this.#settings(path, update, call), 'trace settings') as TraceSettings;
  }

  async logSettings(update: LogSettingsUpdate, call: CallContext): Promise<LogSettings> {
    return requireObject(await this.#settings('/v2/logging', update, call), 'log settings') as LogSettings;
  }

  #settings(path: string, update: JsonObject, call: CallContext): Promise<unknown> {
    return Object.keys(update).length === 0 ? this.#get(path, call) : this.#post(path, update, call);
  }

  async #health(path: string, no: readonly number[], call: CallContext): Promise<boolean> {
    const answer = await this.#session.request('GET', path, call);
    if (answer.status === 200) return true;
    if (no.includes(answer.status)) return false;
    throw errorFromHttp(answer.status, answer.text(), answer.headers.get('retry-after'), `GET ${path}`);
  }

  #get(path: string, call: CallContext): Promise<unknown> {
    return this.#json('GET', path, null, call);
  }

  #post(path: string, body: JsonObject, call: CallContext): Promise<unknown> {
    return this.#json('POST', path, Object.keys(body).length > 0 ? JSON.stringify(body) : null, call);
  }

  async #json(method: 'GET' | 'POST', path: string, body: string | null, call: CallContext): Promise<unknown> {
    const headers: Record<string, string> = body === null ? {} : { [CONTENT_TYPE]: JSON_CONTENT_TYPE };
    const answer = await this.#session.request(method, path, call, headers, body);
    const text = answer.text();
    if (answer.status !== 200) throw errorFromHttp(answer.status, text, answer.headers.get('retry-after'), `${method} ${path}`);
    if (text === '') return null;
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      throw malformedAnswer(`${method} ${path}: ${(error as Error).message}`, error);
    }
  }
}

function modelPath(name: string, version: string): string {
  return `/v2/models/${encodeURIComponent(name)}${version === '' ? '' : `/versions/${encodeURIComponent(version)}`}`;
}

function regionPath(name: string): string {
  return name === '' ? '' : `/region/${encodeURIComponent(name)}`;
}

function requireObject(json: unknown, what: string): JsonObject {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformedAnswer(`${what}: expected a JSON object`);
  return json as JsonObject;
}

function requireList(json: unknown, what: string): readonly JsonObject[] {
  if (!Array.isArray(json)) throw malformedAnswer(`${what}: expected a JSON array`);
  return json.map((entry) => requireObject(entry, what));
}

/** Arguments of one call that every engine takes. */
const CHUNK = 8_192;

function base64(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += CHUNK) binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(binary);
}
