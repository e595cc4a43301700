import { InferenceError } from '../../proto/inference-error.ts';
import type { InferenceRequest } from './inference-request.ts';
import type { ModelSignature } from './model-signature.ts';

/** What a step of an ensemble, or a model that calls another, knows of the model it calls. */
export interface CallableModel {
  readonly name: string;
  readonly version: string;
  readonly signature: ModelSignature;
  readonly isDecoupled: boolean;
}

/**
 * Requests that a request makes on its way: steps of an ensemble, calls from a model's own code. They pass the same door as those from outside (routing, validation, statistics of the model that
 * answers, deadline), without a permit of their own: the outer request holds one.
 */
export interface NestedCalls {
  /**
   * The model that answers by this name; '' for the version that its policy chooses. Null: it is not loaded now. Throws nothing.
   */
  find(modelName: string, modelVersion: string): CallableModel | null;
  /**
   * Routes by the request's own `modelName` and `modelVersion` ('' or a number or a label), validates and enqueues. What goes wrong, also at once, is heard by the request's caller, and never
   * before this returned: exactly one end, as for any request. The caller of a decoupled model gets its responses through `onResponse` with `isFinal` false.
   */
  infer(request: InferenceRequest): void;
}

/** Where there are no other models: a model that is tried by itself. */
export const noNestedCalls: NestedCalls = {
  find: () => null,
  infer: (request) => {
    setImmediate(() => {
      request.fail(
        new InferenceError('UNAVAILABLE', `model '${request.modelName}' is not here: the model that calls it is tried by itself`),
      );
    });
  },
};
