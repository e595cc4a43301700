/** @hotpath one object per step of an ensemble's request (measured by ensemble-scheduler.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import { type InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { CallPlan, StepPlan } from './ensemble-plan.ts';
import type { EnsembleScope } from './ensemble-scope.ts';

/** Responses of a decoupled step on their way through the steps behind it, before it is asked to pause. */
const MAX_LIVE_RESPONSES = 16;

/** A step that runs: its request, or its fallback's after that. */
export class StepCall implements InferenceCaller {
  readonly scope: EnsembleScope;
  readonly step: StepPlan;
  /** Position among the calls of the run; -1: not among them. */
  at = -1;
  /** Scopes made of its responses that are not over, in order of arrival; of a decoupled step. */
  readonly children: EnsembleScope[] | null;
  #plan: CallPlan;
  #request: InferenceRequest | null = null;
  /** When the step is late, by its own timeout; Infinity: it has none. */
  readonly #untilNs: number;
  /** Why the fallback runs. */
  #failure: InferenceError | null = null;
  #hasAnswered = false;
  /** It has given all its responses. */
  #isComplete = false;
  #isOver = false;

  constructor(scope: EnsembleScope, step: StepPlan) {
    this.scope = scope;
    this.step = step;
    this.#plan = step.call;
    this.children = step.isDecoupled ? [] : null;
    this.#untilNs = step.timeoutNs > 0 ? scope.run.host.clock.nowNs() + step.timeoutNs : Number.POSITIVE_INFINITY;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** False: it waits for its turn. */
  get isStarted(): boolean {
    return this.#request !== null;
  }

  /** Of the model that answers: the fallback's where that runs. */
  get plan(): CallPlan {
    return this.#plan;
  }

  start(): void {
    const { run } = this.scope;
    const { inputNames, inputSlots, modelName, modelVersion, outputs } = this.#plan;
    const inputs = new Array<Tensor>(inputNames.length);
    let count = 0;
    for (let i = 0; i < inputNames.length; i++) {
      const tensor = this.scope.lookUp(inputSlots[i]!);
      if (tensor === null) continue;
      const { datatype, shape, data } = tensor;
      inputs[count++] = { name: inputNames[i]!, datatype, shape, data };
    }
    if (count < inputs.length) inputs.length = count;
    const { id, parameters, priority, timeoutUs, sequence, deadlineNs } = run.request;
    const init = { modelName, modelVersion, id, inputs, outputs, parameters, priority, timeoutUs, sequence, caller: this };
    const request = new InferenceRequest(init);
    // The fallback has as long as the request has.
    request.deadlineNs = this.#failure === null ? Math.min(deadlineNs, this.#untilNs) : deadlineNs;
    request.depth = run.request.depth + 1;
    this.#request = request;
    run.host.nestedCalls.infer(request);
  }

  onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    if (this.#isOver || request !== this.#request) return;
    const { run } = this.scope;
    this.#hasAnswered = true;
    if (this.children !== null) {
      this.scope.openChild(this, response);
      if (isFinal) {
        run.addTiming(response.timing);
        this.#complete();
      } else if (this.children.length >= MAX_LIVE_RESPONSES || run.request.isPaused) request.pauseResponses();
    } else if (isFinal) {
      run.addTiming(response.timing);
      this.#end();
      this.scope.take(this, response);
    } else {
      run.fail(this, changed(this.#plan.modelName));
    }
    run.pump();
  }

  onComplete(request: InferenceRequest): void {
    if (this.#isOver || request !== this.#request) return;
    const { run } = this.scope;
    if (request.timing !== null) run.addTiming(request.timing);
    if (this.children === null) run.fail(this, changed(this.#plan.modelName));
    else this.#complete();
    run.pump();
  }

  onError(request: InferenceRequest, error: InferenceError): void {
    const { run } = this.scope;
    if (this.#isOver || request !== this.#request || run.isOver) return;
    const { fallback } = this.step;
    if (fallback !== null && this.#failure === null && !this.#hasAnswered && this.scope.hasInputs(fallback)) {
      this.#failure = error;
      this.#plan = fallback;
      this.start();
      return;
    }
    run.fail(this, error);
  }

  /** The run is over. */
  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#request?.cancel();
  }

  /** A scope of one of its responses is over. */
  childOver(child: EnsembleScope): void {
    const children = this.children!;
    children.splice(children.indexOf(child), 1);
    if (this.#isComplete) this.#complete();
    else this.resume();
  }

  /** The caller takes responses, and there is room for one. */
  resume(): void {
    const request = this.#request;
    if (request === null || !request.isPaused || this.scope.run.request.isPaused) return;
    if (this.children !== null && this.children.length < MAX_LIVE_RESPONSES) request.resumeResponses();
  }

  pause(): void {
    if (this.children !== null) this.#request?.pauseResponses();
  }

  /** What the fallback is there for, then its own failure. */
  describe(error: InferenceError): string {
    const { index, call } = this.step;
    const failure = this.#failure;
    if (failure === null) return `${error.message} (step ${index}, model '${call.modelName}')`;
    return `${failure.message} (step ${index}, model '${call.modelName}'); its fallback '${this.#plan.modelName}' failed too: ${error.message}`;
  }

  #complete(): void {
    this.#isComplete = true;
    if (this.children!.length > 0) return;
    this.#end();
    this.scope.stepEnded(this.step.index);
  }

  #end(): void {
    this.#isOver = true;
    this.scope.run.callEnded(this);
  }
}

/** Between two turns, before the ensemble is made anew. */
function changed(modelName: string): InferenceError {
  const text = `model '${modelName}' was replaced by one that answers in another way (model_transaction_policy); retry`;
  return new InferenceError('UNAVAILABLE', text, { retryAfterSeconds: 1 });
}
