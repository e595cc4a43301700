import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { DecoupledChannel } from '../../execution/decoupled-execution.ts';
import type { InstanceChannel } from '../../execution/execution-host.ts';
import type { Clock, ClockTimer } from '../../inference/clock.ts';
import { type InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { ModelReporter } from '../../metrics/model-reporter.ts';
import { Batch, type BatchContext } from '../../scheduling/batch.ts';
import { type DecoupledContext, DecoupledRequest } from '../../scheduling/decoupled-request.ts';
import type { SequencePlan } from '../../scheduling/sequence/sequence-plan.ts';
import { standaloneInputs, standaloneSignature } from '../../scheduling/sequence/standalone-inputs.ts';
import type { Model } from '../model.ts';

/** Responses of a decoupled model to one request; a model that gives more may never end. */
const MAX_RESPONSES = 10_000;
/** How soon to look again for an instance without room: other models of its host take it for moments. */
const RETRY_NS = 2e6;
const LONGEST_TIMER_MS = 0x7fff_ffff;

/** What an instance answered. */
export interface Answer {
  readonly responseCount: number;
  /** Of the first response, copied; empty when there was none. */
  readonly outputs: readonly Tensor[];
}

/**
 * Runs requests on the instances of a model that is not in service yet, past its scheduler: an instance is warmed up by name, and nothing is
 * counted, for the statistics are of what clients asked. One deadline for all of them.
 */
export class PreparationRun {
  readonly model: Model;
  /** What requests are held to. */
  readonly signature: ModelSignature;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** Null: all that the model has. */
  readonly #only: readonly (InstanceChannel | DecoupledChannel)[] | null;
  readonly #context: BatchContext & DecoupledContext;
  readonly #running: Set<RunningRequest> = new Set();
  #timer: ClockTimer | null = null;
  #isLate = false;

  constructor(model: Model, clock: Clock, timeoutMs: number, only: readonly (InstanceChannel | DecoupledChannel)[] | null = null) {
    this.model = model;
    this.signature = model.sequencePlan === null ? model.signature : standaloneSignature(model.sequencePlan);
    this.#only = only;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#context = {
      signature: model.sequencePlan?.signature ?? model.signature,
      isPlain: false,
      streamInput: -1,
      responder: null,
      reporter: new ModelReporter(model.name, model.version, {}, model.isDecoupled),
      clock,
      onBatchEnd: () => {},
      onBatchDivided: () => {},
      onLeft: () => {},
      onFault: () => {},
    };
    if (timeoutMs < LONGEST_TIMER_MS) this.#timer = clock.schedule(() => this.#expire(), timeoutMs * 1e6);
  }

  /** For messages. */
  get label(): string {
    return `model '${this.model.name}' version ${this.model.version}`;
  }

  /** To be called in every case: ends the deadline. */
  end(): void {
    if (this.#timer !== null) this.#clock.clear(this.#timer);
    this.#timer = null;
  }

  /** Lets everybody else have a turn. Throws once the deadline has passed. */
  async pause(): Promise<void> {
    if (!this.#isLate) await new Promise<void>((resolve) => this.#clock.endOfTick(resolve));
    if (this.#isLate) throw this.#lateness();
  }

  /** Runs the request `count` times on each instance, on all of them at once. Rejects with the first failure; by then none runs it any more. */
  async onEachInstance(request: InferenceRequest, count: number): Promise<void> {
    let failure: unknown = null;
    const work = this.#channels().map(async (channel) => {
      try {
        for (let i = 0; i < count && failure === null; i++) await this.#execute(channel, request, false);
      } catch (error) {
        failure ??= error;
      }
    });
    await Promise.all(work);
    if (failure !== null) throw failure;
  }

  /** Runs the request on one instance. */
  onOneInstance(request: InferenceRequest): Promise<Answer> {
    return this.#execute(this.#channels()[0]!, request, true);
  }

  #channels(): readonly (InstanceChannel | DecoupledChannel)[] {
    if (this.#only !== null) return this.#only;
    const { instances, name } = this.model;
    const channels = instances.everyChannel;
    if (channels.length === 0) throw instances.failure ?? new InferenceError('UNAVAILABLE', `no instance of model '${name}' is alive`);
    return channels;
  }

  /** `request`: validated; it is copied, so that it can be run again. */
  async #execute(channel: InstanceChannel | DecoupledChannel, request: InferenceRequest, keepsOutputs: boolean): Promise<Answer> {
    // An inline instance answers at once, and many in a row must not keep the loop.
    await this.pause();
    const running = new RunningRequest(request, keepsOutputs, this.model.sequencePlan);
    while (!this.#start(channel, running.request)) {
      if (!channel.isAlive) throw new InferenceError('UNAVAILABLE', `an instance of model '${this.model.name}' has died`);
      await new Promise<void>((resolve) => this.#clock.schedule(resolve, RETRY_NS));
      await this.pause();
    }
    this.#running.add(running);
    try {
      return await running.ended;
    } finally {
      this.#running.delete(running);
    }
  }

  #start(channel: InstanceChannel | DecoupledChannel, request: InferenceRequest): boolean {
    if (!channel.hasCapacity) return false;
    request.receivedNs = this.#clock.nowNs();
    request.queuedNs = request.receivedNs;
    if ('execute' in channel) return channel.execute(new Batch([request], this.#context));
    const running = new DecoupledRequest(request, this.#context);
    const run = channel.start(running);
    if (run === null) return false;
    running.started(run, request.receivedNs);
    return true;
  }

  #expire(): void {
    this.#isLate = true;
    for (const running of this.#running) running.giveUp(this.#lateness());
  }

  #lateness(): InferenceError {
    return new InferenceError('DEADLINE_EXCEEDED', `preparing the model took longer than ${this.#timeoutMs} ms, as long as it may`);
  }
}

/** One run of a request, and who waits for its end. */
class RunningRequest implements InferenceCaller {
  readonly request: InferenceRequest;
  readonly ended: Promise<Answer>;
  readonly #keepsOutputs: boolean;
  #responseCount = 0;
  #outputs: readonly Tensor[] = [];
  #resolve!: (answer: Answer) => void;
  #reject!: (error: InferenceError) => void;

  constructor(template: InferenceRequest, keepsOutputs: boolean, plan: SequencePlan | null) {
    this.#keepsOutputs = keepsOutputs;
    const request = new InferenceRequest({ ...template, caller: this });
    const { boundInputs, batchSize } = template;
    request.boundInputs = plan === null ? boundInputs : standaloneInputs(plan, boundInputs, batchSize);
    request.batchSize = template.batchSize;
    request.inputBytes = template.inputBytes;
    this.request = request;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  onResponse(_request: InferenceRequest, { outputs }: InferenceResponse, isFinal: boolean): void {
    this.#responseCount++;
    if (this.#keepsOutputs && this.#responseCount === 1)
      this.#outputs = outputs.map((output) => ({ ...output, data: output.data.slice() }));
    if (isFinal) this.onComplete();
    else if (this.#responseCount > MAX_RESPONSES) {
      this.giveUp(new InferenceError('RESOURCE_EXHAUSTED', `the model gave more than ${MAX_RESPONSES} responses to one request`));
    }
  }

  onComplete(): void {
    this.#resolve({ responseCount: this.#responseCount, outputs: this.#outputs });
  }

  onError(_request: InferenceRequest, error: InferenceError): void {
    this.#reject(error);
  }

  /** A batch in a host goes on until it ends, or until the host's execution timeout ends it; nobody hears of it. */
  giveUp(error: InferenceError): void {
    this.#reject(error);
    this.request.cancel();
  }
}
