/** @hotpath once per call that the model's code makes (measured by request-channel.bench.ts) */

import type { AsyncLocalStorage } from 'node:async_hooks';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { HostServices, ModelCall, RequestPlace } from '../api/backend.ts';
import type { CallOptions, Tensor as ModelTensor, TensorInit } from './model-api.ts';
import { type ReadCallOptions, readCallOptions } from './read-call-options.ts';
import { shown, tensorFrom } from './tensor-from.ts';
import { TensorView } from './tensor-view.ts';

type Inputs = Readonly<Record<string, TensorInit>>;

/** `call` and `stream` of context and requests. */
export class ModelCaller {
  readonly #services: HostServices;
  /** For whom the code that runs now works. */
  readonly #places: AsyncLocalStorage<RequestPlace>;

  constructor(services: HostServices, places: AsyncLocalStorage<RequestPlace>) {
    this.#services = services;
    this.#places = places;
  }

  /** `place` null: that of the code that runs now. */
  async call(place: RequestPlace | null, model: string, inputs: Inputs, options?: CallOptions): Promise<Record<string, ModelTensor>> {
    let answer: Record<string, ModelTensor> | null = null;
    for await (const outputs of this.stream(place, model, inputs, options)) {
      if (answer !== null) throw invalidArgument(`call: model '${model}' gave more than one response: it is decoupled; use stream`);
      answer = outputs;
    }
    if (answer === null) throw new InferenceError('INTERNAL', `call: model '${model}' gave no response: it is decoupled; use stream`);
    return answer;
  }

  async *stream(
    place: RequestPlace | null,
    model: string,
    inputs: Inputs,
    options?: CallOptions,
  ): AsyncGenerator<Record<string, ModelTensor>> {
    if (typeof model !== 'string' || model === '') throw invalidArgument(`call: expected a model's name, got ${shown(model)}`);
    const read = readCallOptions(model, options);
    const { signal, timeoutMs } = read;
    const controller = signal === null && timeoutMs === null ? null : new AbortController();
    const call = this.#callFrom(place, model, inputs, read, controller?.signal ?? null);
    const onAbort = (): void => controller!.abort(signal!.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort);
    const timer = timeoutMs === null ? undefined : setTimeout(() => controller!.abort(new DOMException('', 'TimeoutError')), timeoutMs);
    try {
      for await (const outputs of this.#services.call(call)) yield byName(outputs);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #callFrom(place: RequestPlace | null, model: string, inputs: Inputs, options: ReadCallOptions, signal: AbortSignal | null): ModelCall {
    if (typeof inputs !== 'object' || inputs === null)
      throw invalidArgument(`call of model '${model}': expected its inputs by name, got ${shown(inputs)}`);
    const { version, outputs, parameters, id, priority, sequence } = options;
    return {
      modelName: model,
      modelVersion: version,
      id,
      inputs: Object.keys(inputs).map((name) => tensorFrom(`call of model '${model}': input '${name}'`, name, inputs[name], null)),
      outputs,
      parameters,
      priority,
      sequence,
      caller: place ?? this.#places.getStore() ?? null,
      signal,
    };
  }
}

function byName(outputs: readonly Tensor[]): Record<string, ModelTensor> {
  const named = Object.create(null) as Record<string, ModelTensor>;
  for (const output of outputs) named[output.name] = new TensorView(output);
  return named;
}
