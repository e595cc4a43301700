import type { HttpErrorBody } from '../transports/http-exchange.ts';
import { httpErrorBody as openInferenceBody } from './oip-rest/status.ts';
import { encodeRefusal } from './openai/status.ts';

const OPENAI_PATH = /^\/v1(?:\/|$)|^(?:\/v2)?\/rerank$/;

/** Refusals that a transport words before a route is reached, in the form that the path's clients read. */
export const httpErrorBody: HttpErrorBody = {
  contentType: openInferenceBody.contentType,
  encode: (status, message, path) =>
    OPENAI_PATH.test(path) ? encodeRefusal(status, message) : openInferenceBody.encode(status, message, path),
};
