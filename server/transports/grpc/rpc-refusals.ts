/** The sentences of what the gRPC transport refuses. */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';

const MAX_QUOTED = 200;

export const ACCEPTED_ENCODINGS = 'identity,deflate,gzip';

function quote(text: string): string {
  return `'${text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}...` : text}'`;
}

export function unknownMethod(path: string, known: Iterable<string>): InferenceError {
  return new InferenceError('UNIMPLEMENTED', `this server has no method ${quote(path)}${didYouMean(path, known)}`);
}

export function malformedTimeout(value: string): InferenceError {
  return invalidArgument(`grpc-timeout: expected 1 to 8 digits and one of the units H, M, S, m, u, n, such as '100m', got ${quote(value)}`);
}

export function unsupportedEncoding(value: string): InferenceError {
  return new InferenceError('UNIMPLEMENTED', `grpc-encoding: expected one of ${ACCEPTED_ENCODINGS}, got ${quote(value)}`);
}

export function metadataTooLarge(bytes: number, maxBytes: number): InferenceError {
  return new InferenceError(
    'RESOURCE_EXHAUSTED',
    `the request's metadata is ${bytes} bytes long, more than the ${maxBytes} that this server takes`,
  );
}

export function responseTooLarge(bytes: number, maxBytes: number): InferenceError {
  return new InferenceError(
    'RESOURCE_EXHAUSTED',
    `the response message is ${bytes} bytes long, more than the ${maxBytes} bytes that this server sends`,
  );
}

export function compressedWithoutEncoding(): InferenceError {
  return invalidArgument('the message is marked as compressed, but the call has no grpc-encoding (gzip or deflate) that says how');
}

export function corruptMessage(encoding: string): InferenceError {
  return invalidArgument(`the request message is not valid ${encoding} data, which grpc-encoding says it is`);
}

export function truncatedMessage(): InferenceError {
  return invalidArgument('the request ended inside a message: its length prefix promises more bytes than were sent');
}

export function noMessage(): InferenceError {
  return new InferenceError('UNIMPLEMENTED', 'the request has no message; a unary method takes exactly one');
}

export function secondMessage(): InferenceError {
  return new InferenceError('UNIMPLEMENTED', 'the request has more than one message; a unary method takes exactly one');
}

export function noRoom(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the server holds as many bytes of request messages as it may; try again soon', {
    retryAfterSeconds: 1,
  });
}

export function shuttingDown(): InferenceError {
  return new InferenceError('UNAVAILABLE', 'the server is shutting down, and the call took longer than it waits');
}

export function requestStalled(stallMs: number): InferenceError {
  return new InferenceError('DEADLINE_EXCEEDED', `the request did not go on: none of its bytes came for ${stallMs / 1000} s`);
}

export function deadlinePassed(): InferenceError {
  return new InferenceError('DEADLINE_EXCEEDED', "the call's deadline passed before its answer was ready");
}
