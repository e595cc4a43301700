import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledModelInstance, DecoupledRequest } from '../../api/backend.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import { checkParameterNames, readDimensions, readTruncation, type Truncation } from './embedding-parameters.ts';
import { normaliseInto } from './normalise.ts';
import { type EmbeddingVocabulary, type SpecialTokens, specialTokens } from './special-tokens.ts';
import { labelOf, MAX_REQUEST_TOKENS, noRoom, readTexts, tokenizeText, tooLong, tooManyTokens, WorkSlices } from './text-tokens.ts';
import type { VectorEngine } from './vector-engine.ts';

const PARAMETERS: readonly string[] = ['dimensions', 'truncate'];

/**
 * A model that makes a vector of each text ({@link embeddingMetadata}). Request parameters: `dimensions` (so many of a vector's first numbers, scaled to length 1 again) and `truncate`.
 * Texts of several requests take turns; a cancelled request stops after the text that runs.
 */
export class EmbeddingInstance implements DecoupledModelInstance {
  readonly #tokenizer: Tokenizer;
  readonly #engine: VectorEngine;
  readonly #width: number;
  readonly #vocabularySize: number;
  readonly #special: SpecialTokens;

  /** `width`: numbers of a vector. The engine is the instance's from now on. */
  constructor(vocabulary: EmbeddingVocabulary, engine: VectorEngine, width: number) {
    this.#tokenizer = new Tokenizer(vocabulary);
    this.#engine = engine;
    this.#width = width;
    this.#vocabularySize = vocabulary.tokens.size;
    this.#special = specialTokens(vocabulary);
    if (this.#room < 1) throw noRoom(engine.maxTokens);
  }

  async *infer(request: DecoupledRequest): AsyncGenerator<readonly Tensor[]> {
    const { inputs, parameters, signal } = request;
    checkParameterNames(parameters, PARAMETERS);
    const width = readDimensions(parameters, this.#width) || this.#width;
    const truncation = readTruncation(parameters);
    const texts = inputs.find(({ name }) => name === 'text_input');
    const ids = inputs.find(({ name }) => name === 'input_ids');
    if ((texts === undefined) === (ids === undefined)) {
      throw invalidArgument(`text_input: expected text_input or input_ids, got ${texts === undefined ? 'neither' : 'both'}`);
    }
    const rows = texts === undefined ? [this.#readIds(ids!, truncation)] : await this.#tokenize(texts, truncation, signal);
    if (signal.aborted) return;
    const embedding = new Float32Array(rows.length * width);
    const counts = new Uint32Array(rows.length);
    for (const [index, tokens] of rows.entries()) {
      const vector = await this.#engine.run(tokens, signal);
      if (vector === null) return;
      if (vector.length < width)
        throw new InferenceError('INTERNAL', `the model gave ${vector.length} numbers where ${this.#width} were expected`);
      normaliseInto(embedding.subarray(index * width), vector, width);
      counts[index] = tokens.length;
      request.progress?.();
    }
    yield [
      { name: 'embedding', datatype: 'FP32', shape: [rows.length, width], data: new Uint8Array(embedding.buffer) },
      { name: 'num_input_tokens', datatype: 'UINT32', shape: [rows.length], data: new Uint8Array(counts.buffer) },
    ];
  }

  dispose(): Promise<void> {
    return this.#engine.dispose();
  }

  /** Tokens of a text without the special ones. */
  get #room(): number {
    return this.#engine.maxTokens - this.#special.begin.length - this.#special.end.length;
  }

  async #tokenize(input: Tensor, truncation: Truncation, signal: AbortSignal): Promise<Uint32Array[]> {
    const { begin, end } = this.#special;
    const room = this.#room;
    const texts = readTexts(input);
    const slices = new WorkSlices();
    const rows: Uint32Array[] = [];
    let total = 0;
    for (const [index, text] of texts.entries()) {
      if (signal.aborted) break;
      const label = labelOf(input.name, index, texts.length);
      const tokens = tokenizeText(this.#tokenizer, text, label, room, truncation);
      const row = Uint32Array.of(...begin, ...tokens, ...end);
      if (row.length === 0) throw invalidArgument(`${label}: expected a text of at least one token, got none`);
      total += row.length;
      if (total > MAX_REQUEST_TOKENS) throw tooManyTokens(input.name);
      rows.push(row);
      const pause = slices.pause();
      if (pause !== null) await pause;
    }
    return rows;
  }

  /** Taken as they are: special tokens are the caller's. */
  #readIds({ data }: Tensor, truncation: Truncation): Uint32Array {
    const ids = new Uint32Array(new Uint8Array(data).buffer);
    if (ids.length === 0) throw invalidArgument('input_ids: expected at least one token, got none');
    for (let i = 0; i < ids.length; i++) {
      if (ids[i]! >= this.#vocabularySize) {
        throw invalidArgument(`input_ids[${i}]: expected a token from 0 to ${this.#vocabularySize - 1}, got ${ids[i]! | 0}`);
      }
    }
    const { maxTokens } = this.#engine;
    if (ids.length <= maxTokens) return ids;
    if (truncation === 'none') throw tooLong('input_ids', ids.length, maxTokens);
    return truncation === 'end' ? ids.slice(0, maxTokens) : ids.slice(ids.length - maxTokens);
  }
}
