import { decodeStatistics } from '../../clients/typescript/src/http/decode-statistics.ts';
import { errorFromHttp } from '../../clients/typescript/src/http-status.ts';
import type {
  ModelConfig,
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
} from '../../clients/typescript/src/server-facts.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { LoadTarget } from '../load/load-plan.ts';
import { callHttp } from './call-http.ts';
import { type ControlCalls, nullIfRefused } from './control-calls.ts';
import { modelPath } from './model-path.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** Over REST: for HTTP, WebSocket and what carries text. */
export class HttpControlCalls implements ControlCalls {
  readonly #target: LoadTarget;
  readonly #timeoutMs: number;

  constructor(target: LoadTarget, timeoutMs: number) {
    this.#target = target;
    this.#timeoutMs = timeoutMs;
  }

  async serverMetadata(): Promise<ServerMetadata> {
    const json = await this.#json('GET', '/v2', null);
    if (!isObject(json)) throw malformed('/v2', 'server metadata');
    const extensions = Array.isArray(json['extensions']) ? json['extensions'].map(String) : [];
    return { name: text(json['name']), version: text(json['version']), extensions };
  }

  async modelMetadata(name: string, version: string): Promise<ModelMetadata> {
    const path = modelPath(name, version);
    const json = await this.#json('GET', path, null);
    // MLServer leaves the tensors out of models that were configured without them.
    const inputs = isObject(json) ? (json['inputs'] ?? []) : null;
    const outputs = isObject(json) ? (json['outputs'] ?? []) : null;
    if (!isObject(json) || !Array.isArray(inputs) || !Array.isArray(outputs)) throw malformed(path, 'model metadata');
    return {
      name: text(json['name']),
      versions: Array.isArray(json['versions']) ? json['versions'].map(String) : [],
      platform: text(json['platform']),
      inputs: inputs as ModelMetadata['inputs'],
      outputs: outputs as ModelMetadata['outputs'],
    };
  }

  /** KServe says no with status 200. */
  async isModelReady(name: string, version: string): Promise<boolean> {
    const answer = await callHttp(this.#target, 'GET', `${modelPath(name, version)}/ready`, null, this.#timeoutMs);
    if (answer.status !== 200) return false;
    const json = parse(answer.text);
    return !isObject(json) || json['ready'] !== false;
  }

  async modelConfig(name: string, version: string): Promise<ModelConfig | null> {
    const json = await nullIfRefused(this.#json('GET', `${modelPath(name, version)}/config`, null));
    return isObject(json) ? json : null;
  }

  async statistics(name: string, version: string): Promise<readonly ModelStatistics[] | null> {
    const json = await nullIfRefused(this.#json('GET', `${modelPath(name, version)}/stats`, null));
    return isObject(json) && Array.isArray(json['model_stats']) ? decodeStatistics(json) : null;
  }

  async repositoryIndex(): Promise<readonly RepositoryEntry[] | null> {
    const json = await nullIfRefused(this.#json('POST', '/v2/repository/index', '{}'));
    if (!Array.isArray(json)) return null;
    return json.filter(isObject).map(({ name, version, state, reason }) => ({
      name: text(name),
      version: text(version),
      state: text(state),
      reason: text(reason),
    }));
  }

  /** Names of `GET /v1/models`; null: the server does not list them. */
  async openAiModels(): Promise<readonly string[] | null> {
    const json = await nullIfRefused(this.#json('GET', '/v1/models', null));
    if (!isObject(json) || !Array.isArray(json['data'])) return null;
    return json['data'].filter(isObject).map(({ id }) => text(id));
  }

  async #json(method: 'GET' | 'POST', path: string, body: string | null): Promise<unknown> {
    const answer = await callHttp(this.#target, method, path, body, this.#timeoutMs);
    if (answer.status !== 200) throw errorFromHttp(answer.status, answer.text, null, `${method} ${path}`);
    const json = parse(answer.text);
    if (json === undefined) throw malformed(path, 'JSON');
    return json;
  }
}

function malformed(path: string, what: string): InferenceError {
  return new InferenceError('INTERNAL', `GET ${path}: expected ${what}, got an answer that is none`);
}

/** undefined: it is no JSON. */
function parse(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}

function isObject(json: unknown): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function text(json: unknown): string {
  return typeof json === 'string' || typeof json === 'number' ? String(json) : '';
}
