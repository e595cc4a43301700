import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestParameter } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';

/** What is kept of a response; an InferenceResponse is one as well. */
export interface CachedResponse {
  readonly outputs: readonly Tensor[];
  readonly parameters: Readonly<Record<string, RequestParameter>> | null;
}

/** Where responses are kept, for all models together. It never throws and never rejects: whatever is wrong with it is a miss. */
export interface ResponseStore {
  /** Others than this process keep responses there, and find them. */
  readonly isShared: boolean;
  /**
   * What was kept under the key, or null; a promise where somebody else has to be asked. The bytes belong to the store: they are never written to, and stay as they are for as long as somebody
   * holds them.
   */
  lookup(key: string, signature: ModelSignature): CachedResponse | null | Promise<CachedResponse | null>;
  /** Copies the response, whose bytes are borrowed. What is too large is not kept. */
  insert(key: string, response: CachedResponse): void;
  readonly counts: StoreCounts;
  close(): Promise<void>;
}

/** For the metrics page. */
export interface StoreCounts {
  /** Of the entries and what is around them; 0 where they are not in this process. */
  readonly usedBytes: number;
  readonly entryCount: number;
  /** Entries that made room for others. */
  readonly evictedCount: number;
  /** Responses that were not kept, as one alone is larger than what may be kept. */
  readonly tooLargeCount: number;
  /** Lookups and insertions that came to nothing: no connection, no answer in time, an answer that is none. */
  readonly failedCount: number;
}
