/** @hotpath one object per request to an ensemble (measured by ensemble-scheduler.bench.ts) */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../../inference/inference-response.ts';
import type { NestedCalls } from '../../inference/nested-calls.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import type { EnsemblePlan } from './ensemble-plan.ts';
import { EnsembleScope } from './ensemble-scope.ts';
import type { EnsembleView } from './ensemble-view.ts';
import type { StepCall } from './step-call.ts';

/** The scheduler, as its runs know it. */
export interface EnsembleHost {
  readonly nestedCalls: NestedCalls;
  readonly clock: Clock;
  readonly reporter: ModelReporter;
  readonly plan: EnsemblePlan;
  readonly modelVersion: string;
  /** Starts it, now or when fewer of its step run. */
  begin(call: StepCall): void;
  ended(call: StepCall): void;
  runOver(run: EnsembleRun): void;
  onFault(error: unknown): void;
}

/**
 * A request on its way through the steps. The times of its response are the sums of its steps', as far as they ran (reference section 8.5): where steps run side by side, more than its whole time.
 */
export class EnsembleRun implements RequestHolder {
  readonly request: InferenceRequest;
  readonly host: EnsembleHost;
  readonly plan: EnsemblePlan;
  readonly view: EnsembleView;
  isOver = false;
  readonly #root: EnsembleScope;
  readonly #calls: StepCall[] = [];
  readonly #readyScopes: EnsembleScope[] = [];
  readonly #readySteps: number[] = [];
  readonly #answerable: EnsembleScope[] = [];
  readonly #timing = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };
  #isPumping = false;
  #isRootOver = false;
  /** When a response was last waited for; of a decoupled ensemble. */
  #waitedSinceNs: number;

  constructor(request: InferenceRequest, view: EnsembleView, host: EnsembleHost) {
    this.request = request;
    this.host = host;
    this.plan = host.plan;
    this.view = view;
    this.#waitedSinceNs = request.queuedNs;
    this.#root = new EnsembleScope(this, null, null);
  }

  /** Starts the first steps. True: there is something to tell the caller already, by `pump`, once this tick is over. */
  start(): boolean {
    this.#root.begin();
    this.#launch();
    return this.#answerable.length > 0 || this.#isRootOver;
  }

  ready(scope: EnsembleScope, step: number): void {
    this.#readyScopes.push(scope);
    this.#readySteps.push(step);
  }

  answerable(scope: EnsembleScope): void {
    this.#answerable.push(scope);
  }

  /** Whether the next thing to be done is this scope's answer: then what has just come need not be kept for it. */
  answersNow(scope: EnsembleScope): boolean {
    return (
      this.#readySteps.length === 0 &&
      this.#answerable.length === 1 &&
      this.#answerable[0] === scope &&
      (scope.source === null ? this.#calls.length === 0 && !this.plan.isDecoupled : scope.source.children![0] === scope)
    );
  }

  rootOver(): void {
    this.#isRootOver = true;
  }

  begin(call: StepCall): void {
    call.at = this.#calls.length;
    this.#calls.push(call);
    this.host.begin(call);
  }

  callEnded(call: StepCall): void {
    const last = this.#calls.pop()!;
    if (last !== call) {
      this.#calls[call.at] = last;
      last.at = call.at;
    }
    this.host.ended(call);
  }

  addTiming(timing: ResponseTiming): void {
    const sum = this.#timing;
    sum.queueNs += timing.queueNs;
    sum.computeInputNs += timing.computeInputNs;
    sum.computeInferNs += timing.computeInferNs;
    sum.computeOutputNs += timing.computeOutputNs;
  }

  /** Does what has become possible, until there is nothing left to do. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (!this.isOver) {
      if (this.#readySteps.length > 0) this.#launch();
      else if (!this.#answerNext()) break;
    }
    this.#isPumping = false;
    if (this.#isRootOver && !this.isOver && this.plan.isDecoupled) this.#complete();
  }

  fail(call: StepCall, error: InferenceError): void {
    if (this.isOver) return;
    const { code, failureReason, retryAfterSeconds } = error;
    const text = `in ensemble '${this.plan.ensembleName}', ${call.describe(error)}`;
    this.#fail(new InferenceError(code, text, { failureReason, retryAfterSeconds, cause: error }));
  }

  /** The ensemble goes, and what it waits for will not come. */
  abandon(error: InferenceError): void {
    if (!this.isOver) this.#fail(error);
  }

  onRequestCancelled(): void {
    this.#leave();
  }

  onRequestResumed(): void {
    for (let i = 0; i < this.#calls.length; i++) this.#calls[i]!.resume();
  }

  #launch(): void {
    for (let i = 0; i < this.#readySteps.length && !this.isOver; i++) {
      if (!this.#readyScopes[i]!.isOver) this.#readyScopes[i]!.launch(this.#readySteps[i]!);
    }
    this.#readyScopes.length = 0;
    this.#readySteps.length = 0;
  }

  /** Responses to one decoupled step are answered in their order. */
  #answerNext(): boolean {
    const waiting = this.#answerable;
    for (let i = 0; i < waiting.length; i++) {
      const scope = waiting[i]!;
      if (scope.source !== null && firstUnanswered(scope.source) !== scope) continue;
      waiting.splice(i, 1);
      this.#answer(scope);
      return true;
    }
    return false;
  }

  #answer(scope: EnsembleScope): void {
    const { outputNames, outputSlots } = this.view;
    const outputs = new Array<Tensor>(outputNames.length);
    const isNamed = this.request.outputs.length > 0;
    let count = 0;
    for (let i = 0; i < outputNames.length; i++) {
      const tensor = scope.lookUp(outputSlots[i]!);
      if (tensor !== null) outputs[count++] = { name: outputNames[i]!, datatype: tensor.datatype, shape: tensor.shape, data: tensor.data };
      else if (isNamed) {
        this.#fail(this.#notMade(outputNames[i]!, outputSlots[i]!));
        return;
      }
    }
    if (count === 0) {
      this.#fail(this.#notMade(outputNames[0]!, outputSlots[0]!));
      return;
    }
    if (count < outputs.length) outputs.length = count;
    const response = new InferenceResponse(this.plan.ensembleName, this.host.modelVersion, outputs, null, this.#timing);
    if (this.plan.isDecoupled) this.#stream(scope, response);
    else this.#respond(response);
  }

  #respond(response: InferenceResponse): void {
    const { request } = this;
    const { computeInputNs, computeInferNs, computeOutputNs } = this.#timing;
    this.isOver = true;
    request.holder = null;
    this.host.reporter.executed(request.batchSize, computeInputNs, computeInferNs, computeOutputNs);
    try {
      request.respond(response);
    } catch (error) {
      this.host.onFault(error);
    }
    this.#leave();
  }

  #stream(scope: EnsembleScope, response: InferenceResponse): void {
    const { request } = this;
    const { reporter, clock } = this.host;
    const arrivedNs = clock.nowNs();
    const index = request.responseCount;
    if (index === 0) reporter.firstResponded(arrivedNs - request.receivedNs);
    scope.isAnswered = true;
    try {
      request.stream(response);
    } catch (error) {
      this.host.onFault(error);
      this.#fail(InferenceError.from(error));
      return;
    }
    const takenNs = clock.nowNs();
    reporter.responded(index, arrivedNs - this.#waitedSinceNs, takenNs - arrivedNs);
    this.#waitedSinceNs = takenNs;
    if (request.isPaused) for (let i = 0; i < this.#calls.length; i++) this.#calls[i]!.pause();
    scope.settleOver();
  }

  #complete(): void {
    const { request } = this;
    const { reporter, clock } = this.host;
    const { computeInputNs, computeInferNs, computeOutputNs } = this.#timing;
    reporter.executed(request.batchSize, computeInputNs, computeInferNs, computeOutputNs);
    reporter.endedWithoutResponse(request.responseCount, clock.nowNs() - this.#waitedSinceNs);
    this.isOver = true;
    request.holder = null;
    request.timing = this.#timing;
    try {
      request.complete();
    } catch (error) {
      this.host.onFault(error);
    }
    this.#leave();
  }

  #fail(error: InferenceError): void {
    const { request } = this;
    this.isOver = true;
    request.holder = null;
    if (this.plan.isDecoupled) {
      const { reporter, clock } = this.host;
      reporter.responseFailed(request.responseCount, error.code === 'CANCELLED', clock.nowNs() - this.#waitedSinceNs);
    }
    try {
      request.fail(error);
    } catch (fault) {
      this.host.onFault(fault);
    }
    this.#leave();
  }

  /** Ends what still runs for it, and gives back what it kept. */
  #leave(): void {
    this.isOver = true;
    this.request.holder = null;
    for (let i = this.#calls.length - 1; i >= 0; i--) {
      const call = this.#calls[i]!;
      call.cancel();
      this.host.ended(call);
    }
    this.#calls.length = 0;
    this.#root.release();
    this.host.runOver(this);
  }

  #notMade(name: string, slot: number): InferenceError {
    const { steps, ensembleName } = this.plan;
    const makers = steps.filter(({ gives }) => gives.includes(slot)).map(({ index, call }) => `step ${index}, model '${call.modelName}'`);
    const who = makers.length === 0 ? 'its input was not sent' : `of ${makers.join(' and ')} none ran, or none gave it`;
    return invalidArgument(
      `in ensemble '${ensembleName}', output '${name}' was not made for this request: ${who}; a step runs when its conditions (when) hold and its inputs are there`,
    );
  }
}

function firstUnanswered({ children }: StepCall): EnsembleScope | null {
  for (let i = 0; i < children!.length; i++) if (!children![i]!.isAnswered) return children![i]!;
  return null;
}
