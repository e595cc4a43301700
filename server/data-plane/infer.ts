/** @hotpath the one door: every inference request of every protocol passes here */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Clock } from '../inference/clock.ts';
import type { InferenceRequest, RequestObserver } from '../inference/inference-request.ts';
import type { InferenceResponse } from '../inference/inference-response.ts';
import type { Model } from '../repository/model.ts';
import type { ModelRepository } from '../repository/model-repository.ts';
import { thenWaiting, type Waiting } from '../repository/waiting.ts';
import type { Admission } from './admission.ts';
import { DeadlineWatch, deadlinePassed } from './deadline-watch.ts';
import type { RequestRecorder } from './request-recorder.ts';
import { settleStatistics } from './settle-statistics.ts';
import { validateRequest } from './validate-request.ts';

/** Hears of every ended request; the request log. Null where the log's level is off, so that nothing is formatted. */
export interface RequestLog {
  ended(request: InferenceRequest, durationNs: number, error: InferenceError | null): void;
  /** A request that was refused before it was queued: by its decoder, or by the door. */
  refused(modelName: string, error: InferenceError): void;
}

/**
 * Every protocol calls two of these, in this order: `route` or `routeUnary` before it decodes (what it decodes depends on the model), `infer` after. A guard, a limit or a
 * count that concerns inference belongs here, once, and nowhere else.
 */
export class InferenceDoor implements RequestObserver {
  readonly #repository: ModelRepository;
  readonly #admission: Admission;
  readonly #clock: Clock;
  /** Of requests, and of those that wait for their models. */
  readonly deadlines: DeadlineWatch;
  readonly #log: RequestLog | null;
  readonly #recorder: RequestRecorder | null;

  constructor(
    repository: ModelRepository,
    admission: Admission,
    clock: Clock,
    log: RequestLog | null,
    recorder: RequestRecorder | null = null,
    onFault: (error: unknown) => void = () => {},
  ) {
    this.#repository = repository;
    this.#admission = admission;
    this.#clock = clock;
    this.deadlines = new DeadlineWatch(clock, onFault);
    this.#log = log;
    this.#recorder = recorder;
  }

  /**
   * The model version that is to answer: `version` as the caller wrote it (a number or a label), '' for the one that the version policy chooses. A promise only where the model is
   * loaded on demand and is not in memory; `RouteWait` waits for it. Throws INVALID_ARGUMENT (not a version), NOT_FOUND or UNAVAILABLE (reference section 0, "unknown model").
   */
  route(modelName: string, version: string): Model | Waiting<Model> {
    return this.#repository.route(modelName, version);
  }

  /**
   * As `route`, for a call that has one answer: a decoupled model, which may have any number, is UNIMPLEMENTED there, but for those that answer once unless they are asked to
   * stream. Their caller is a `OneResponse`.
   */
  routeUnary(modelName: string, version: string): Model | Waiting<Model> {
    const routed = this.#repository.route(modelName, version);
    return routed instanceof Promise ? thenWaiting(routed, requireUnary) : requireUnary(routed);
  }

  /** When a caller's patience ends that began now and lasts for `timeoutMs`; Infinity: never. */
  deadlineAfter(timeoutMs: number): number {
    return timeoutMs === Number.POSITIVE_INFINITY ? timeoutMs : this.#clock.nowNs() + timeoutMs * 1e6;
  }

  /** A request of so many bytes waits for its model: it counts among those in flight until `release`. Throws UNAVAILABLE when there is no room. */
  hold(bytes: number): void {
    this.#admission.admit(bytes);
  }

  release(bytes: number): void {
    this.#admission.release(bytes);
  }

  /**
   * Admits, validates and enqueues. Throws InferenceError when the request is refused at once; after a return the request's caller hears of its end,
   * exactly once, and no later than its deadline.
   */
  infer(request: InferenceRequest, model: Model): void {
    request.receivedNs = this.#clock.nowNs();
    validateRequest(request, model.signature);
    if (request.deadlineNs <= request.receivedNs) {
      model.reporter.requestFailed('REJECTED', 0);
      throw deadlinePassed('the request arrived');
    }
    this.#admission.admit(request.inputBytes);
    request.model = model;
    model.lastUsedNs = request.receivedNs;
    request.observer = this;
    try {
      model.scheduler.enqueue(request);
    } catch (error) {
      request.observer = null;
      this.#admission.release(request.inputBytes);
      const refusal = InferenceError.from(error);
      model.reporter.requestFailed(refusal.failureReason, 0);
      throw refusal;
    }
    if (request.deadlineNs !== Number.POSITIVE_INFINITY && !request.isDone) this.deadlines.add(request);
  }

  /** Every protocol tells of a request that ended with a throw of its decoder, of `route` or of `infer`, so that the request log has them all. */
  refused(modelName: string, error: InferenceError): void {
    if (this.#log !== null) this.#log.refused(modelName, error);
  }

  onRequestEnd(request: InferenceRequest, response: InferenceResponse | null, error: InferenceError | null): void {
    this.#admission.release(request.inputBytes);
    if (request.watchIndex >= 0) this.deadlines.remove(request);
    const nowNs = this.#clock.nowNs();
    const durationNs = nowNs - request.receivedNs;
    const model = request.model as Model;
    model.lastUsedNs = nowNs;
    settleStatistics(model.reporter, request, durationNs, response, error);
    if (this.#log !== null) this.#log.ended(request, durationNs, error);
    if (this.#recorder !== null && error === null) this.#recorder.record(request);
  }
}

/** Its models give one response, whatever they are for, unless a request says `stream`. */
const ANSWERS_ONCE_BACKEND = 'llamacpp';

function requireUnary(model: Model): Model {
  if (!model.isDecoupled || model.config.backend === ANSWERS_ONCE_BACKEND) return model;
  throw new InferenceError(
    'UNIMPLEMENTED',
    `doesn't support models with decoupled transaction policy: model '${model.name}' may answer a request with any number of responses; use generate_stream, gRPC ModelStreamInfer or the WebSocket`,
  );
}
