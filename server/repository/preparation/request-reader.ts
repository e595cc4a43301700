import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';

/** What a protocol and the door do with a request's bytes, for requests that come from files. */
export interface RequestReader {
  /** Decodes a V2 request in JSON by the signature. Throws InferenceError. */
  decodeRequest(body: Uint8Array, signature: ModelSignature, caller: InferenceCaller): InferenceRequest;
  /** Holds the request to the signature and binds its inputs. Throws INVALID_ARGUMENT. */
  validateRequest(request: InferenceRequest, signature: ModelSignature): void;
}
