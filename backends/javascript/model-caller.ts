/** @hotpath once per call that the model's code makes (measured by request-channel.bench.ts) */

import type { AsyncLocalStorage } from 'node:async_hooks';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { HostServices, ModelCall, RequestPlace, RequestSequence } from '../api/backend.ts';
import type { CallOptions, Tensor as ModelTensor, TensorInit } from './model-api.ts';
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
  async call(place: RequestPlace | null, model: string, inputs: Inputs, options: CallOptions = {}): Promise<Record<string, ModelTensor>> {
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
    options: CallOptions = {},
  ): AsyncGenerator<Record<string, ModelTensor>> {
    const { signal, timeoutMs } = options;
    const controller = signal === undefined && timeoutMs === undefined ? null : new AbortController();
    const call = this.#callFrom(place, model, inputs, options, controller?.signal ?? null);
    const onAbort = (): void => controller!.abort(signal!.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort);
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => controller!.abort(new DOMException('', 'TimeoutError')), timeoutMs);
    try {
      for await (const outputs of this.#services.call(call)) yield byName(outputs);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #callFrom(place: RequestPlace | null, model: string, inputs: Inputs, options: CallOptions, signal: AbortSignal | null): ModelCall {
    if (typeof model !== 'string' || model === '') throw invalidArgument(`call: expected a model's name, got ${shown(model)}`);
    if (typeof inputs !== 'object' || inputs === null)
      throw invalidArgument(`call of model '${model}': expected its inputs by name, got ${shown(inputs)}`);
    if (typeof options !== 'object' || options === null)
      throw invalidArgument(`call of model '${model}': expected options, got ${shown(options)}`);
    const tensors = Object.keys(inputs).map((name) => tensorFrom(`call of model '${model}': input '${name}'`, name, inputs[name], null));
    const { version = '', outputs = [], parameters = {}, id = '', priority = 0, sequence } = options;
    return {
      modelName: model,
      modelVersion: String(version),
      id: String(id),
      inputs: tensors,
      outputs: outputs.map(String),
      parameters,
      priority,
      sequence: sequence === undefined ? null : sequenceFrom(model, sequence),
      caller: place ?? this.#places.getStore() ?? null,
      signal,
    };
  }
}

function sequenceFrom(model: string, { id, isStart = false, isEnd = false }: NonNullable<CallOptions['sequence']>): RequestSequence {
  if (typeof id === 'number' && !(Number.isSafeInteger(id) && id >= 0))
    throw invalidArgument(`call of model '${model}': sequence.id: expected a whole number or text, got ${id}`);
  return { id: typeof id === 'number' ? BigInt(id) : id, isStart, isEnd };
}

function byName(outputs: readonly Tensor[]): Record<string, ModelTensor> {
  const named = Object.create(null) as Record<string, ModelTensor>;
  for (const output of outputs) named[output.name] = new TensorView(output);
  return named;
}
