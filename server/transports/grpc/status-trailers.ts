/** Trailing metadata of the gRPC protocol: status, percent-encoded message, retry-after. */

import type { OutgoingHttpHeaders } from 'node:http2';
import type { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';

export const OK_TRAILERS: OutgoingHttpHeaders = Object.freeze({ 'grpc-status': '0' });

/** Bytes of an encoded message: gRPC clients take 8 KiB of metadata without being asked to take more. */
export const MAX_STATUS_MESSAGE_BYTES = 4096;

export function errorTrailers(error: InferenceError): OutgoingHttpHeaders {
  const trailers: OutgoingHttpHeaders = {
    'grpc-status': String(STATUS_FORMS[error.code].grpc),
    'grpc-message': encodeStatusMessage(error.message),
  };
  if (error.retryAfterSeconds > 0) trailers['retry-after'] = String(Math.ceil(error.retryAfterSeconds));
  return trailers;
}

/** UTF-8, everything but printable ASCII as %XX, and `%` too. What is over the bound is cut between characters and ends in `...`. */
export function encodeStatusMessage(message: string): string {
  // Each UTF-16 unit takes at least a byte, so no more of them can fit.
  const text = message.slice(0, MAX_STATUS_MESSAGE_BYTES + 1).toWellFormed();
  if (/^[ -$&-~]*$/.test(text)) return text.length <= MAX_STATUS_MESSAGE_BYTES ? text : `${text.slice(0, MAX_STATUS_MESSAGE_BYTES - 3)}...`;
  let encoded = '';
  /** Where to cut should more come than fits. */
  let cutAt = 0;
  for (const character of text) {
    encoded += /[ -$&-~]/.test(character) ? character : percentEncode(character);
    if (encoded.length > MAX_STATUS_MESSAGE_BYTES) return `${encoded.slice(0, cutAt)}...`;
    if (encoded.length <= MAX_STATUS_MESSAGE_BYTES - 3) cutAt = encoded.length;
  }
  return encoded;
}

function percentEncode(character: string): string {
  let encoded = '';
  for (const byte of Buffer.from(character)) encoded += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return encoded;
}
