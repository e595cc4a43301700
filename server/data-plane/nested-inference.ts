/** @hotpath every step of an ensemble and every call of a model's own code passes here (measured by infer.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestHolder, RequestObserver } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import type { CallableModel, NestedCalls } from '../inference/nested-calls.ts';
import type { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import type { Waiting } from '../repository/waiting.ts';
import { DeadlineWatch, deadlinePassed } from './deadline-watch.ts';
import { settleStatistics } from './settle-statistics.ts';
import { validateRequest } from './validate-request.ts';

/** The inner side of the door: requests that requests make. What concerns both sides is in the functions that both call. */
export class NestedInference implements NestedCalls, RequestObserver {
  readonly #clock: Clock;
  readonly #deadlines: DeadlineWatch;
  #repository: ModelRepository | null = null;

  constructor(clock: Clock, onFault: (error: unknown) => void) {
    this.#clock = clock;
    this.#deadlines = new DeadlineWatch(clock, onFault);
  }

  /** Once, before anything is loaded: models know whom to call before the repository that has them is made. */
  connect(repository: ModelRepository): void {
    this.#repository = repository;
  }

  find(modelName: string, modelVersion: string): CallableModel | null {
    return this.#repository!.find(modelName, modelVersion);
  }

  infer(request: InferenceRequest): void {
    request.observer = this;
    try {
      if (request.deadlineNs <= this.#clock.nowNs()) throw deadlinePassed('the model was called');
      const routed = this.#repository!.route(request.modelName, request.modelVersion);
      if (routed instanceof Promise) this.#wait(request, routed);
      else this.#enqueue(request, routed);
      if (request.deadlineNs !== Number.POSITIVE_INFINITY && !request.isDone) this.#deadlines.add(request);
    } catch (error) {
      this.#clock.endOfTick(() => request.fail(InferenceError.from(error)));
    }
  }

  onRequestEnd(request: InferenceRequest, response: InferenceResponse | null, error: InferenceError | null): void {
    if (request.watchIndex >= 0) this.#deadlines.remove(request);
    const model = request.model as Model | null;
    // Nothing has been counted of one that never came to a model.
    if (model === null) return;
    const nowNs = this.#clock.nowNs();
    model.lastUsedNs = nowNs;
    settleStatistics(model.reporter, request, nowNs - request.receivedNs, response, error);
  }

  #wait(request: InferenceRequest, routed: Waiting<Model>): void {
    request.holder = new NestedWait(routed);
    routed.then(
      (model) => this.#enqueueOrFail(request, model),
      (error: unknown) => request.fail(InferenceError.from(error)),
    );
  }

  #enqueueOrFail(request: InferenceRequest, model: Model): void {
    if (request.isDone) return;
    request.holder = null;
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
    try {
      model.scheduler.enqueue(request);
    } catch (error) {
      // As at the door: a refusal counts, and not the time until it is heard of.
      request.model = null;
      const refusal = InferenceError.from(error);
      model.reporter.requestFailed(refusal.failureReason, 0);
      throw refusal;
    }
  }
}

/** A nested request whose model is being loaded: it stops waiting when it ends. */
class NestedWait implements RequestHolder {
  readonly #routed: Waiting<Model>;

  constructor(routed: Waiting<Model>) {
    this.#routed = routed;
  }

  onRequestCancelled(): void {
    this.#routed.cancel();
  }

  onRequestResumed(): void {}
}
