/** @hotpath every step of an ensemble and every call of a model's own code passes here (measured by infer.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestObserver } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import type { CallableModel, NestedCalls } from '../inference/nested-calls.ts';
import type { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { settleStatistics } from './settle-statistics.ts';
import { validateRequest } from './validate-request.ts';

/** The inner side of the door: requests that requests make. What concerns both sides is in the functions that both call. */
export class NestedInference implements NestedCalls, RequestObserver {
  readonly #clock: Clock;
  #repository: ModelRepository | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Once, before anything is loaded: models know whom to call before the repository that has them is made. */
  connect(repository: ModelRepository): void {
    this.#repository = repository;
  }

  find(modelName: string, modelVersion: string): CallableModel | null {
    return this.#repository!.find(modelName, modelVersion);
  }

  infer(request: InferenceRequest): void {
    try {
      const routed = this.#repository!.route(request.modelName, request.modelVersion);
      if (routed instanceof Promise) {
        routed.then(
          (model) => this.#enqueueOrFail(request, model),
          (error: unknown) => request.fail(InferenceError.from(error)),
        );
      } else this.#enqueue(request, routed);
    } catch (error) {
      this.#clock.endOfTick(() => request.fail(InferenceError.from(error)));
    }
  }

  onRequestEnd(request: InferenceRequest, response: InferenceResponse | null, error: InferenceError | null): void {
    const nowNs = this.#clock.nowNs();
    const model = request.model as Model;
    model.lastUsedNs = nowNs;
    settleStatistics(model.reporter, request, nowNs - request.receivedNs, response, error);
  }

  #enqueueOrFail(request: InferenceRequest, model: Model): void {
    if (request.isDone) return;
    try {
      this.#enqueue(request, model);
    } catch (error) {
      request.fail(InferenceError.from(error));
    }
  }

  #enqueue(request: InferenceRequest, model: Model): void {
    request.receivedNs = this.#clock.nowNs();
    validateRequest(request, model.signature);
    request.model = model;
    model.lastUsedNs = request.receivedNs;
    request.observer = this;
    try {
      model.scheduler.enqueue(request);
    } catch (error) {
      request.observer = null;
      const refusal = InferenceError.from(error);
      model.reporter.requestFailed(refusal.failureReason, 0);
      throw refusal;
    }
  }
}
