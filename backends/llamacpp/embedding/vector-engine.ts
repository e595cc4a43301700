import { InferenceError } from '../../../proto/inference-error.ts';
import { Turns } from './turns.ts';

/** The part of the addon's context that a text's vector takes. `getEmbedding` reads sequence 0 alone, so texts go through one by one. */
export interface EmbeddingContext {
  initBatch(tokens: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, outputs: Uint32Array): unknown;
  decodeBatch(): Promise<void>;
  getEmbedding(tokens: number): Float64Array;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  dispose(): Promise<void>;
}

/** Runs texts through a context, one at a time, in turns. */
export class VectorEngine {
  /** Of one text, special tokens included. */
  readonly maxTokens: number;
  readonly #batchSize: number;
  readonly #context: EmbeddingContext;
  readonly #turns = new Turns();
  readonly #positions: Uint32Array;
  #isDisposed = false;

  /** `maxTokens`: no more than the context and the model's own positions hold. `batchSize`: of the context; less only where a text's last part gives its vector. The context is the engine's from now on. */
  constructor(context: EmbeddingContext, maxTokens: number, batchSize: number) {
    this.#context = context;
    this.maxTokens = maxTokens;
    this.#batchSize = batchSize;
    this.#positions = Uint32Array.from({ length: batchSize }, (_, i) => i);
  }

  /** What the model gives for the tokens: its pooled vector, or the scores of its classes. Null when `signal` aborted before all were run. */
  async run(tokens: Uint32Array, signal: AbortSignal): Promise<Float64Array | null> {
    const turn = this.#turns.take();
    if (turn !== null) await turn;
    try {
      if (this.#isDisposed) throw new InferenceError('UNAVAILABLE', 'the model instance is disposed of');
      const context = this.#context;
      try {
        for (let from = 0; from < tokens.length; from += this.#batchSize) {
          if (signal.aborted) return null;
          const part = tokens.subarray(from, from + this.#batchSize);
          context.initBatch(part.length);
          // A vector of every token: it is the model's pooling that makes one of them.
          context.addToBatch(0, from, part, this.#positions.subarray(0, part.length));
          await context.decodeBatch();
        }
        return context.getEmbedding(tokens.length);
      } finally {
        context.removeTokenCellsFromSequence(0, -1, -1);
      }
    } finally {
      this.#turns.end();
    }
  }

  /** After the text that runs. */
  async dispose(): Promise<void> {
    const turn = this.#turns.take();
    if (turn !== null) await turn;
    try {
      if (this.#isDisposed) return;
      this.#isDisposed = true;
      await this.#context.dispose();
    } finally {
      this.#turns.end();
    }
  }
}
