import { decodeMessage } from '../../clients/typescript/src/grpc/decode-message.ts';
import { encodeMessage } from '../../clients/typescript/src/grpc/encode-message.ts';
import type {
  ModelConfig,
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
} from '../../clients/typescript/src/server-facts.ts';
import type { LoadTarget } from '../load/load-plan.ts';
import { callUnary } from '../wire/grpc/grpc-call.ts';
import { type ControlCalls, nullIfRefused } from './control-calls.ts';

const SERVICE = '/inference.GRPCInferenceService/';

export class GrpcControlCalls implements ControlCalls {
  readonly #target: LoadTarget;
  readonly #timeoutMs: number;

  constructor(target: LoadTarget, timeoutMs: number) {
    this.#target = target;
    this.#timeoutMs = timeoutMs;
  }

  async serverMetadata(): Promise<ServerMetadata> {
    return (await this.#call('ServerMetadata', {})) as unknown as ServerMetadata;
  }

  async modelMetadata(name: string, version: string): Promise<ModelMetadata> {
    return (await this.#call('ModelMetadata', { name, version })) as unknown as ModelMetadata;
  }

  async isModelReady(name: string, version: string): Promise<boolean> {
    const answer = await nullIfRefused(this.#call('ModelReady', { name, version }));
    return answer?.['ready'] === true;
  }

  async modelConfig(name: string, version: string): Promise<ModelConfig | null> {
    const answer = await nullIfRefused(this.#call('ModelConfig', { name, version }));
    return (answer?.['config'] ?? null) as ModelConfig | null;
  }

  async statistics(name: string, version: string): Promise<readonly ModelStatistics[] | null> {
    const answer = await nullIfRefused(this.#call('ModelStatistics', { name, version }));
    return (answer?.['modelStats'] ?? null) as readonly ModelStatistics[] | null;
  }

  async repositoryIndex(): Promise<readonly RepositoryEntry[] | null> {
    const answer = await nullIfRefused(this.#call('RepositoryIndex', {}));
    return (answer?.['models'] ?? null) as readonly RepositoryEntry[] | null;
  }

  async #call(rpc: string, request: object): Promise<Record<string, unknown>> {
    const message = encodeMessage(`${rpc}Request`, request);
    return decodeMessage(`${rpc}Response`, await callUnary(this.#target, SERVICE + rpc, message, this.#timeoutMs));
  }
}
