/** Header blocks of the gRPC protocol: what answers begin and end with; status, percent-encoded message, retry-after. */

import type { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { encodeHeaderBlock } from './http2/header-block.ts';
import { ACCEPTED_ENCODINGS } from './rpc-refusals.ts';

const RESPONSE_FIELDS: Readonly<Record<string, string>> = { ':status': '200', 'content-type': 'application/grpc' };

/** Header blocks: what an answer begins with, and how a call that went well ends, behind that or at once. */
export const RESPONSE_HEAD: Buffer = encodeHeaderBlock(RESPONSE_FIELDS);
export const CODED_RESPONSE_HEADS: Readonly<Record<'gzip' | 'deflate', Buffer>> = {
  gzip: encodeHeaderBlock({ ...RESPONSE_FIELDS, 'grpc-encoding': 'gzip' }),
  deflate: encodeHeaderBlock({ ...RESPONSE_FIELDS, 'grpc-encoding': 'deflate' }),
};
export const OK_TRAILERS: Buffer = encodeHeaderBlock({ 'grpc-status': '0' });
const OK_ANSWER: Buffer = encodeHeaderBlock({ ...RESPONSE_FIELDS, 'grpc-status': '0' });

/** Bytes of an encoded message: gRPC clients take 8 KiB of metadata without being asked to take more. */
export const MAX_STATUS_MESSAGE_BYTES = 4096;

/** The last header block of a call that ends with this; null: well. `isAll`: nothing was sent before it. */
export function endBlock(error: InferenceError | null, isAll: boolean): Buffer {
  if (error === null) return isAll ? OK_ANSWER : OK_TRAILERS;
  return encodeHeaderBlock(isAll ? { ...RESPONSE_FIELDS, ...errorTrailers(error) } : errorTrailers(error));
}

/** An answer that refuses a call before there is one; it tells what encodings there are. */
export function refusalBlock(error: InferenceError): Buffer {
  return encodeHeaderBlock({ ...RESPONSE_FIELDS, 'grpc-accept-encoding': ACCEPTED_ENCODINGS, ...errorTrailers(error) });
}

function errorTrailers(error: InferenceError): Record<string, string> {
  const trailers: Record<string, string> = {
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
