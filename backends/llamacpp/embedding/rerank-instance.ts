import { invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledModelInstance, DecoupledRequest } from '../../api/backend.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import { checkParameterNames, readRawScores, readTruncation, type Truncation } from './embedding-parameters.ts';
import { type PairForm, pairForm } from './pair-form.ts';
import type { EmbeddingVocabulary } from './special-tokens.ts';
import { labelOf, MAX_REQUEST_TOKENS, noRoom, readTexts, tokenizeText, tooManyTokens, WorkSlices } from './text-tokens.ts';
import type { VectorEngine } from './vector-engine.ts';

const PARAMETERS: readonly string[] = ['truncate', 'raw_scores'];

export interface RerankSettings {
  /** The model's own form of a pair; null: that of its vocabulary. */
  readonly template: string | null;
  /** The model's score is a probability already, as Qwen3's is: no sigmoid. */
  readonly isProbability: boolean;
}

/**
 * A model that says how much each document answers a query ({@link rerankMetadata}): the sigmoid of its score, 0 to 1. Request parameters: `truncate` (a long document is cut) and `raw_scores`
 * (without the sigmoid). Pairs of several requests take turns; a cancelled request stops after the pair that runs.
 */
export class RerankInstance implements DecoupledModelInstance {
  readonly #tokenizer: Tokenizer;
  readonly #engine: VectorEngine;
  readonly #isProbability: boolean;
  readonly #form: PairForm;
  /** Tokens of the form itself, and how often it has the texts. */
  readonly #fixedTokens: number;
  readonly #queries: number;
  readonly #documents: number;

  /** The engine is the instance's from now on. Throws what {@link pairForm} throws. */
  constructor(vocabulary: EmbeddingVocabulary, engine: VectorEngine, { template, isProbability }: RerankSettings) {
    this.#tokenizer = new Tokenizer(vocabulary);
    this.#engine = engine;
    this.#isProbability = isProbability;
    this.#form = pairForm(vocabulary, template);
    const { parts } = this.#form;
    this.#fixedTokens = parts.reduce((sum, part) => sum + (typeof part === 'string' ? 0 : part.length), 0);
    this.#queries = parts.filter((part) => part === 'query').length;
    this.#documents = parts.filter((part) => part === 'document').length;
    if (engine.maxTokens - this.#fixedTokens < this.#queries + this.#documents) throw noRoom(engine.maxTokens);
  }

  async *infer(request: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
    const { inputs, parameters, signal } = request;
    checkParameterNames(parameters, PARAMETERS);
    const truncation = readTruncation(parameters);
    const isRaw = readRawScores(parameters);
    const rows = await this.#tokenize(inputs, truncation, signal);
    if (signal.aborted) return;
    const scores = new Float32Array(rows.length);
    const counts = new Uint32Array(rows.length);
    for (const [index, tokens] of rows.entries()) {
      const classes = await this.#engine.run(tokens, signal);
      if (classes === null) return;
      const score = classes[0]!;
      scores[index] = isRaw || this.#isProbability ? score : 1 / (1 + Math.exp(-score));
      counts[index] = tokens.length;
      request.progress?.();
    }
    yield [
      { name: 'relevance_score', datatype: 'FP32', shape: [rows.length], data: new Uint8Array(scores.buffer) },
      { name: 'num_input_tokens', datatype: 'UINT32', shape: [rows.length], data: new Uint8Array(counts.buffer) },
    ];
  }

  dispose(): Promise<void> {
    return this.#engine.dispose();
  }

  /** The tokens of every pair. */
  async #tokenize(inputs: readonly Tensor[], truncation: Truncation, signal: AbortSignal): Promise<Uint32Array[]> {
    const tokenizer = this.#tokenizer;
    const queries = readTexts(inputOf(inputs, 'query'));
    if (queries.length !== 1) throw invalidArgument(`query: expected one text, got ${queries.length}`);
    const documents = readTexts(inputOf(inputs, 'documents'));
    const { prefix } = this.#form;
    const room = this.#engine.maxTokens - this.#fixedTokens;
    // One token at least is left to a document. A query is never cut: its end is as much of the question as its start.
    const query = tokenizeText(
      tokenizer,
      prefix.query + queries[0]!,
      'query',
      Math.floor((room - this.#documents) / this.#queries),
      'none',
    );
    const documentRoom = Math.floor((room - query.length * this.#queries) / this.#documents);
    const slices = new WorkSlices();
    const rows: Uint32Array[] = [];
    let total = 0;
    for (const [index, text] of documents.entries()) {
      if (signal.aborted) break;
      const document = tokenizeText(
        tokenizer,
        prefix.document + text,
        labelOf('documents', index, documents.length),
        documentRoom,
        truncation,
      );
      const row = this.#pair(query, document);
      total += row.length;
      if (total > MAX_REQUEST_TOKENS) throw tooManyTokens('documents');
      rows.push(row);
      const pause = slices.pause();
      if (pause !== null) await pause;
    }
    return rows;
  }

  #pair(query: Uint32Array, document: Uint32Array): Uint32Array {
    const row = new Uint32Array(this.#fixedTokens + query.length * this.#queries + document.length * this.#documents);
    let at = 0;
    for (const part of this.#form.parts) {
      const tokens = part === 'query' ? query : part === 'document' ? document : part;
      row.set(tokens, at);
      at += tokens.length;
    }
    return row;
  }
}

function inputOf(inputs: readonly Tensor[], name: string): Tensor {
  const found = inputs.find((input) => input.name === name);
  if (found === undefined) throw invalidArgument(`${name}: expected texts, got nothing`);
  return found;
}
