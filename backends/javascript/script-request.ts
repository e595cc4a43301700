/** @hotpath one object per request that the model's code is given (measured by request-channel.bench.ts) */

import type { ModelRequest as HostRequest, RequestPlace } from '../api/backend.ts';
import type { ModelRequest, Outputs, ParameterValue, Sequence, Tensor } from './model-api.ts';
import type { ModelCaller } from './model-caller.ts';
import { TensorView } from './tensor-view.ts';

export class ScriptRequest implements ModelRequest {
  readonly id: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly requestedOutputs: readonly string[];
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  readonly priority: number;
  readonly sequence: Sequence | null;
  readonly batchSize: number;
  readonly deadlineMs: number;
  readonly #request: HostRequest;
  readonly #place: RequestPlace;
  readonly #caller: ModelCaller;
  readonly #send: ((outputs: Outputs) => Promise<void>) | null;
  #timer: NodeJS.Timeout | null = null;
  #controller: AbortController | null = null;

  /** `send`: null where each request is answered once. */
  constructor(request: HostRequest, caller: ModelCaller, send: ((outputs: Outputs) => Promise<void>) | null) {
    this.id = request.id;
    this.requestedOutputs = request.outputs;
    this.parameters = request.parameters;
    this.priority = request.priority;
    this.sequence = request.sequence;
    this.batchSize = request.batchSize;
    this.deadlineMs = request.deadlineMs;
    this.#request = request;
    this.#place = request.place;
    this.#caller = caller;
    this.#send = send;
    const inputs = Object.create(null) as Record<string, Tensor>;
    for (let i = 0; i < request.inputs.length; i++) inputs[request.inputs[i]!.name] = new TensorView(request.inputs[i]!);
    this.inputs = inputs;
  }

  /** Made when it is asked for: most models never do. */
  get signal(): AbortSignal {
    if (this.deadlineMs === Number.POSITIVE_INFINITY) return this.#request.signal;
    if (this.#controller === null) {
      const controller = new AbortController();
      this.#controller = controller;
      const { signal } = this.#request;
      const abort = (): void => controller.abort();
      if (signal.aborted) abort();
      else {
        signal.addEventListener('abort', abort, { once: true });
        this.#timer = setTimeout(abort, Math.min(0x7fff_ffff, Math.max(0, this.deadlineMs - performance.now()))).unref();
      }
    }
    return this.#controller.signal;
  }

  get call(): ModelRequest['call'] {
    return (model, inputs, options) => this.#caller.call(this.#place, model, inputs, options);
  }

  get stream(): ModelRequest['stream'] {
    return (model, inputs, options) => this.#caller.stream(this.#place, model, inputs, options);
  }

  get send(): (outputs: Outputs) => Promise<void> {
    if (this.#send !== null) return this.#send;
    return () =>
      Promise.reject(new Error('send is for decoupled models: return the outputs, or set model_transaction_policy { decoupled: true }'));
  }

  /** The request has ended. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
