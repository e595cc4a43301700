/** @hotpath one object per request of a decoupled model whose caller takes one answer (measured by generate.bench.ts) */

import { InferenceError, type StatusCode } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceCaller, InferenceRequest } from '../inference/inference-request.ts';
import { InferenceResponse } from '../inference/inference-response.ts';

/** What a request is told that has no response, or more than one. */
export interface OneResponseRefusal {
  readonly code: StatusCode;
  message(modelName: string, got: string): string;
}

/** Of the calls that have one answer by their protocol. */
export const UNARY_REFUSAL: OneResponseRefusal = {
  code: 'UNIMPLEMENTED',
  message: (modelName, got) =>
    `model '${modelName}': a unary call takes exactly one response, got ${got}: use generate_stream, gRPC ModelStreamInfer or the WebSocket, or leave out what asks the model for several (stream=true)`,
};

/**
 * Stands between a decoupled model and a caller that takes one answer: passes on the one response, as final, once it is known that no other follows. With the second one the request is
 * cancelled.
 */
export class OneResponse implements InferenceCaller {
  readonly #caller: InferenceCaller;
  readonly #refusal: OneResponseRefusal;
  #held: InferenceResponse | null = null;
  #isOver = false;

  constructor(caller: InferenceCaller, refusal: OneResponseRefusal) {
    this.#caller = caller;
    this.#refusal = refusal;
  }

  onResponse(request: InferenceRequest, response: InferenceResponse): void {
    if (this.#isOver) return;
    if (this.#held === null) {
      this.#held = copyOf(response);
      return;
    }
    this.#refuse(request, 'a second one');
    // After the refusal: a cancel ends the request before it returns.
    request.cancel();
  }

  onComplete(request: InferenceRequest): void {
    if (this.#isOver) return;
    const response = this.#held;
    if (response === null) {
      this.#refuse(request, 'none');
      return;
    }
    this.#isOver = true;
    this.#caller.onResponse(request, response, true);
  }

  onError(request: InferenceRequest, error: InferenceError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#caller.onError(request, error);
  }

  #refuse(request: InferenceRequest, got: string): void {
    this.#isOver = true;
    this.#held = null;
    const { code, message } = this.#refusal;
    this.#caller.onError(request, new InferenceError(code, message(request.modelName, got)));
  }
}

/** With bytes of its own: a response's are borrowed. */
function copyOf({ modelName, modelVersion, outputs, parameters, timing }: InferenceResponse): InferenceResponse {
  const copies = outputs.map(({ name, datatype, shape, data }): Tensor => ({ name, datatype, shape, data: Uint8Array.from(data) }));
  return new InferenceResponse(modelName, modelVersion, copies, parameters, timing);
}
