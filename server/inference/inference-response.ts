/** @hotpath one object per inference response, on every protocol (measured by infer.bench.ts) */

import type { Tensor } from '../../proto/tensor.ts';
import type { RequestParameter } from './inference-request.ts';

/** The standard split of a request's time, nanoseconds (Triton statistics: queue, compute input, compute infer, compute output). */
export interface ResponseTiming {
  readonly queueNs: number;
  readonly computeInputNs: number;
  readonly computeInferNs: number;
  readonly computeOutputNs: number;
}

/** Of a response that came from the response cache: nothing ran for it. */
export const cachedTiming: ResponseTiming = { queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };

/**
 * What a model answered to one request. `outputs` holds the outputs that the request wants, in the model's order; their bytes are borrowed
 * from the batch and are valid until the caller's `onResponse` returns.
 */
export class InferenceResponse {
  readonly modelName: string;
  /** The version that really ran. */
  readonly modelVersion: string;
  readonly outputs: readonly Tensor[];
  /** Response parameters, or null when the model set none. */
  readonly parameters: Readonly<Record<string, RequestParameter>> | null;
  readonly timing: ResponseTiming;

  constructor(
    modelName: string,
    modelVersion: string,
    outputs: readonly Tensor[],
    parameters: Readonly<Record<string, RequestParameter>> | null,
    timing: ResponseTiming,
  ) {
    this.modelName = modelName;
    this.modelVersion = modelVersion;
    this.outputs = outputs;
    this.parameters = parameters;
    this.timing = timing;
  }
}
