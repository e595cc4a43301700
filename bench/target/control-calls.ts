import type {
  ModelConfig,
  ModelMetadata,
  ModelStatistics,
  RepositoryEntry,
  ServerMetadata,
} from '../../clients/typescript/src/server-facts.ts';
import { InferenceError } from '../../proto/inference-error.ts';

/** What is asked of a V2 server beside inference. `version` is '' where none was given. What a server need not have is null where it has not. */
export interface ControlCalls {
  serverMetadata(): Promise<ServerMetadata>;
  modelMetadata(name: string, version: string): Promise<ModelMetadata>;
  isModelReady(name: string, version: string): Promise<boolean>;
  /** Triton's extension. */
  modelConfig(name: string, version: string): Promise<ModelConfig | null>;
  /** Triton's extension. */
  statistics(name: string, version: string): Promise<readonly ModelStatistics[] | null>;
  /** The model repository extension. */
  repositoryIndex(): Promise<readonly RepositoryEntry[] | null>;
}

/** Whether the server was heard, if only to say no: what stands in the way of a call keeps the system's error as its cause, or is the time that was over. */
export function isAnswer(error: unknown): error is InferenceError {
  return error instanceof InferenceError && error.cause === undefined && error.code !== 'DEADLINE_EXCEEDED';
}

/** null for what the server says no to; an answer that did not come stays an error. */
export async function nullIfRefused<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (isAnswer(error)) return null;
    throw error;
  }
}
