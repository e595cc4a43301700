/** @hotpath takes each request to an ensemble, and starts its steps */

import type { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { NestedCalls } from '../../inference/nested-calls.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import { type Scheduler, schedulerStopping } from '../scheduler.ts';
import type { EnsemblePlan } from './ensemble-plan.ts';
import { type EnsembleHost, EnsembleRun } from './ensemble-run.ts';
import { EnsembleView } from './ensemble-view.ts';
import type { StepCall } from './step-call.ts';

export interface EnsembleSchedulerOptions {
  readonly plan: EnsemblePlan;
  readonly signature: ModelSignature;
  readonly nestedCalls: NestedCalls;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

/** Sets of outputs whose part of the ensemble is kept; callers may name any. */
const MAX_VIEWS = 64;

/**
 * Passes each request through the steps as their tensors come to be; the models of the steps queue and batch for themselves, and nothing is queued or batched here but what
 * `max_inflight_requests` holds back. How many requests there are is bounded by the door.
 */
export class EnsembleScheduler implements Scheduler, EnsembleHost {
  readonly plan: EnsemblePlan;
  readonly modelVersion: string;
  readonly nestedCalls: NestedCalls;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
  readonly #signature: ModelSignature;
  readonly #runs: Set<EnsembleRun> = new Set();
  /** By the bits, or the names, of the outputs that a request wants. */
  readonly #views: Map<string, EnsembleView> = new Map();
  /** By step, where there is a limit: requests to its model, and those that wait for fewer of them. */
  readonly #inflight: number[];
  readonly #waiting: StepCall[][];
  #pending = 0;
  #onStopped: (() => void) | null = null;
  #isStopping = false;

  constructor(options: EnsembleSchedulerOptions) {
    const { plan } = options;
    this.plan = plan;
    this.#signature = options.signature;
    this.modelVersion = options.signature.modelVersion;
    this.nestedCalls = options.nestedCalls;
    this.reporter = options.reporter;
    this.clock = options.clock;
    this.onFault = options.onFault;
    this.#inflight = plan.steps.map(() => 0);
    this.#waiting = plan.steps.map(() => []);
  }

  get inflightCount(): number {
    return this.#runs.size;
  }

  get pendingCount(): number {
    return this.#pending;
  }

  enqueue(request: InferenceRequest): void {
    if (this.#isStopping) throw schedulerStopping(this.#signature.modelName);
    request.queuedNs = this.clock.nowNs();
    const run = new EnsembleRun(request, request.outputs.length === 0 ? this.plan.whole : this.#viewOf(request), this);
    request.holder = run;
    this.#runs.add(run);
    if (run.start()) this.clock.endOfTick(() => run.pump());
  }

  /** It has no instances. */
  poke(): void {}

  failPending(error: InferenceError): void {
    for (const run of [...this.#runs]) run.abandon(error);
  }

  stop(): Promise<void> {
    this.#isStopping = true;
    return new Promise((resolve) => {
      const previous = this.#onStopped;
      this.#onStopped = () => {
        previous?.();
        resolve();
      };
      this.#settleStop();
    });
  }

  begin(call: StepCall): void {
    const { index } = call.step;
    const { maxInflight } = this.plan;
    if (maxInflight > 0 && this.#inflight[index]! >= maxInflight) {
      this.#waiting[index]!.push(call);
      this.#count(1);
      return;
    }
    this.#inflight[index]!++;
    call.start();
  }

  ended(call: StepCall): void {
    const { index } = call.step;
    const waiting = this.#waiting[index]!;
    if (!call.isStarted) {
      waiting.splice(waiting.indexOf(call), 1);
      this.#count(-1);
      return;
    }
    const next = waiting.shift();
    if (next === undefined) {
      this.#inflight[index]!--;
      return;
    }
    this.#count(-1);
    next.start();
  }

  runOver(run: EnsembleRun): void {
    this.#runs.delete(run);
    this.#settleStop();
  }

  #count(change: number): void {
    this.#pending += change;
    this.reporter.pendingCount = this.#pending;
  }

  #viewOf({ outputs }: InferenceRequest): EnsembleView {
    const { outputIndex } = this.#signature;
    const { plan } = this;
    if (outputs.length === plan.outputNames.length) return plan.whole;
    const indexes = new Array<number>(outputs.length);
    for (let i = 0; i < outputs.length; i++) indexes[i] = outputIndex.get(outputs[i]!.name)!;
    const key = indexes.sort(ascending).join();
    const known = this.#views.get(key);
    if (known !== undefined) return known;
    const view = new EnsembleView(
      plan,
      indexes.map((index) => plan.outputSlots[index]!),
    );
    if (this.#views.size < MAX_VIEWS) this.#views.set(key, view);
    return view;
  }

  #settleStop(): void {
    if (this.#onStopped === null || this.#runs.size > 0) return;
    const stopped = this.#onStopped;
    this.#onStopped = null;
    stopped();
  }
}

function ascending(one: number, other: number): number {
  return one - other;
}
