/** @hotpath an InferenceResponse as the body of an HTTP answer (measured by encode-response.bench.ts) */

import { BINARY_CONTENT_TYPE, CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH, JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { HttpExchange } from '../../transports/http-exchange.ts';
import { type AnswerSource, encodeInference, releaseEncoder } from '../oip-json/encode-response.ts';

const JSON_HEADERS: readonly string[] = [CONTENT_TYPE, JSON_CONTENT_TYPE];

/** Answers with 200; answers nothing and throws what {@link encodeInference} throws. */
export function respondInference(
  exchange: HttpExchange,
  request: InferenceRequest,
  response: InferenceResponse,
  source: AnswerSource,
): void {
  try {
    const pieces = encodeInference(request, response, source);
    const json = pieces[0]!;
    if (pieces.length === 1) exchange.respond(200, JSON_HEADERS, json);
    else exchange.respond(200, [CONTENT_TYPE, BINARY_CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH, String(json.length)], pieces);
  } finally {
    releaseEncoder();
  }
}
