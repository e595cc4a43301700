/** @hotpath asks an instance for the responses to one request, one after the other: the model's end of every decoupled request (measured by decoupled-channel.bench.ts) */

import type { DecoupledModelInstance, DecoupledRequest, ModelMetadata, ModelRequest } from '../../backends/api/backend.ts';
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
  /** The model said so; no more often than it was asked to be told. */
  onProgress(): void;
  onEnd(error: InferenceError | null): void;
}

/** A request as its instance has it. */
class IteratedRequest implements DecoupledRequest {
  readonly request?: ModelRequest;
  readonly inputs: readonly Tensor[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly signal: AbortSignal;
  readonly #progressMs: number;
  readonly #sink: IterationSink;
  #toldMs = performance.now();
  inputTokens = 0;
  outputTokens = 0;
  isOver = false;

  constructor(
    inputs: readonly Tensor[],
    parameters: Readonly<Record<string, string | number | boolean>>,
    signal: AbortSignal,
    request: ModelRequest | null,
    sink: IterationSink,
    progressMs: number,
  ) {
    this.inputs = inputs;
    this.parameters = parameters;
    this.signal = signal;
    if (request !== null) this.request = request;
    this.#sink = sink;
    this.#progressMs = progressMs;
  }

  progress(): void {
    if (this.#progressMs === 0 || this.isOver) return;
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < this.#progressMs) return;
    this.#toldMs = nowMs;
    this.#sink.onProgress();
  }

  used(inputTokens: number, outputTokens: number): void {
    this.inputTokens = inputTokens;
    this.outputTokens = outputTokens;
  }
}

/** One request in the model. The next response is asked for only while there is credit, so a slow caller stops the model. */
export class DecoupledIteration {
  readonly #hosted: HostedDecoupledInstance;
  readonly #asked: IteratedRequest;
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
    /** Least time between two `onProgress`, ms; 0: none are wanted. */
    progressMs = 0,
  ) {
    this.#hosted = hosted;
    this.#sink = sink;
    this.#request = request;
    this.#asked = new IteratedRequest(inputs, parameters, this.#controller.signal, request, sink, progressMs);
  }

  /** Of a text, as the model told them so far; 0 for any other. */
  get inputTokens(): number {
    return this.#asked.inputTokens;
  }

  get outputTokens(): number {
    return this.#asked.outputTokens;
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
      iterator = instance.infer(this.#asked)[Symbol.asyncIterator]();
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
    this.#asked.isOver = true;
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
