/** @hotpath finds what is known of a request's shape (measured by learned-batching.bench.ts) */

import type { InferenceRequest } from '../../inference/inference-request.ts';
import { LatencyModel } from './latency-model.ts';
import type { SizeGrid } from './size-grid.ts';

/** Shapes that are kept apart. */
export const MAX_SHAPES = 64;
/** Dimensions up to this one are told apart exactly, larger ones to a quarter of a doubling. */
const EXACT = 16;
const HASH_PRIME = 16_777_619;

/** One latency model for each shape that requests have, as far as their inputs with open dimensions say; those used least lately make room. */
export class ShapeModels {
  readonly #grid: SizeGrid;
  readonly #variableInputs: readonly number[];
  /** Of a model whose shapes are all the same. */
  readonly #only: LatencyModel | null;
  readonly #models: Map<number, LatencyModel> = new Map();
  #uses = 0;

  readonly #skippedDims: number;

  /** `variableInputs`: positions of the inputs with an open dimension. `skippedDims`: 1 where the first dimension is the batch, 0 where there is none. */
  constructor(grid: SizeGrid, variableInputs: readonly number[], skippedDims: number) {
    this.#grid = grid;
    this.#skippedDims = skippedDims;
    this.#variableInputs = variableInputs;
    this.#only = variableInputs.length === 0 ? new LatencyModel(grid) : null;
  }

  get size(): number {
    return this.#only === null ? this.#models.size : 1;
  }

  /** What is known of the request's shape; null: nothing. */
  find(request: InferenceRequest): LatencyModel | null {
    return this.#only ?? this.#models.get(this.#keyOf(request)) ?? null;
  }

  /** As `find`; a shape that is new gets a model. */
  of(request: InferenceRequest): LatencyModel {
    if (this.#only !== null) return this.#only;
    const key = this.#keyOf(request);
    let model = this.#models.get(key);
    if (model === undefined) {
      if (this.#models.size >= MAX_SHAPES) this.#dropOldest();
      model = new LatencyModel(this.#grid);
      this.#models.set(key, model);
    }
    model.lastUse = ++this.#uses;
    return model;
  }

  #keyOf(request: InferenceRequest): number {
    let key = 0;
    for (let i = 0; i < this.#variableInputs.length; i++) {
      const shape = request.boundInputs[this.#variableInputs[i]!]?.shape;
      if (shape === undefined) {
        key = Math.imul(key, HASH_PRIME) ^ 0x7f;
        continue;
      }
      for (let d = this.#skippedDims; d < shape.length; d++) key = Math.imul(key, HASH_PRIME) ^ bucketOf(shape[d]!);
    }
    return key;
  }

  #dropOldest(): void {
    let oldestKey = 0;
    let oldestUse = Number.POSITIVE_INFINITY;
    for (const [key, model] of this.#models) {
      if (model.lastUse >= oldestUse) continue;
      oldestUse = model.lastUse;
      oldestKey = key;
    }
    this.#models.delete(oldestKey);
  }
}

function bucketOf(dimension: number): number {
  return dimension <= EXACT ? dimension : EXACT + Math.ceil(4 * Math.log2(dimension / EXACT));
}
