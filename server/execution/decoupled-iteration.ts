/** @hotpath asks an instance for the responses to one request, one after the other: the model's end of every decoupled request (measured by decoupled-channel.bench.ts) */

import type { DecoupledModelInstance, ModelMetadata } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { checkOutputs, modelFault } from './check-outputs.ts';
import { RESPONSE_WINDOW } from './decoupled-execution.ts';
import type { HostedRequest } from './request-row.ts';
import { thrownText } from './thrown-text.ts';

/** A decoupled instance where it runs. */
export interface HostedDecoupledInstance {
  readonly instance: DecoupledModelInstance;
  readonly metadata: ModelMetadata;
  readonly modelName: string;
}

/** Who hears of an iteration's responses, and of its end, once. Not called before {@link DecoupledIteration.run} has returned its promise. */
export interface IterationSink {
  /** `outputs` are checked; their bytes are valid until this returns. What it throws ends the iteration. */
  onResponse(outputs: readonly Tensor[]): void;
  onEnd(error: InferenceError | null): void;
}

/** One request in the model. The next response is asked for only while there is credit, so a slow caller stops the model. */
export class DecoupledIteration {
  readonly #hosted: HostedDecoupledInstance;
  readonly #inputs: readonly Tensor[];
  readonly #parameters: Readonly<Record<string, string | number | boolean>>;
  readonly #sink: IterationSink;
  readonly #request: HostedRequest | null;
  readonly #controller: AbortController = new AbortController();
  #credit = RESPONSE_WINDOW;
  #onCredit: (() => void) | null = null;

  constructor(
    hosted: HostedDecoupledInstance,
    inputs: readonly Tensor[],
    parameters: Readonly<Record<string, string | number | boolean>>,
    sink: IterationSink,
    /** What more is known of it, in a host that runs models' own code. */
    request: HostedRequest | null = null,
  ) {
    this.#hosted = hosted;
    this.#inputs = inputs;
    this.#parameters = parameters;
    this.#sink = sink;
    this.#request = request;
  }

  /** So many responses were taken. */
  grant(count: number): void {
    this.#credit += count;
    this.#goOn();
  }

  /** Tells the model that nobody waits; its end follows when it has stopped. */
  cancel(): void {
    this.#controller.abort();
    this.#request?.abort();
    this.#goOn();
  }

  /** Never rejects. */
  async run(): Promise<void> {
    const { instance, metadata, modelName } = this.#hosted;
    const { signal } = this.#controller;
    let iterator: AsyncIterator<readonly Tensor[]> | null = null;
    let error: InferenceError | null = null;
    // Whoever starts it hears nothing before it has the run in hand.
    await null;
    try {
      const told = { inputs: this.#inputs, parameters: this.#parameters, signal };
      iterator = instance.infer(this.#request === null ? told : { ...told, request: this.#request })[Symbol.asyncIterator]();
      while (!signal.aborted) {
        if (this.#credit === 0) {
          await new Promise<void>((resolve) => {
            this.#onCredit = resolve;
          });
          continue;
        }
        const { done, value } = await iterator.next();
        if (done === true) {
          iterator = null;
          break;
        }
        if (signal.aborted) break;
        checkOutputs(modelName, metadata, value);
        this.#credit--;
        this.#sink.onResponse(value);
      }
    } catch (thrown) {
      if (!signal.aborted) error = failureOf(modelName, thrown);
    }
    try {
      await iterator?.return?.();
    } catch {
      // It was told to stop, or has failed already: what more goes wrong is nobody's to hear.
    }
    this.#sink.onEnd(error);
  }

  #goOn(): void {
    const onCredit = this.#onCredit;
    this.#onCredit = null;
    onCredit?.();
  }
}

function failureOf(modelName: string, thrown: unknown): InferenceError {
  if (thrown instanceof InferenceError) return thrown;
  return modelFault(modelName, `failed: ${thrownText(thrown)}`);
}
