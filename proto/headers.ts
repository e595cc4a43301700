/** Header names, lower case as both HTTP engines hand them over, and content types of the Open Inference Protocol over HTTP. */

/** Byte length of the JSON part of an infer body; the tensors' bytes follow it (binary tensor data extension). */
export const INFERENCE_HEADER_CONTENT_LENGTH = 'inference-header-content-length';
/** Milliseconds that the caller waits for the answer, from the request's arrival; Nereid's own. */
export const INFERENCE_TIMEOUT_MS = 'inference-timeout-ms';
/** The most that it may say: a week. */
export const MAX_INFERENCE_TIMEOUT_MS: number = 7 * 24 * 3_600_000;
export const CONTENT_TYPE = 'content-type';
export const CONTENT_ENCODING = 'content-encoding';
export const ACCEPT_ENCODING = 'accept-encoding';

export const JSON_CONTENT_TYPE = 'application/json';
export const BINARY_CONTENT_TYPE = 'application/octet-stream';
