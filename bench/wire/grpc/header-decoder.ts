/** HPACK without a dynamic table, which the lane's SETTINGS forbid the server: a block means the same whenever it comes. Source: RFC 7541. */

import { HeaderDecoder } from '../../../proto/hpack/header-decoder.ts';
import { HpackFault } from '../../../proto/hpack/hpack-fault.ts';
import type { AnswerHeaders } from './answer-headers.ts';
import { decodeGrpcMessage } from './grpc-status.ts';
import { ProtocolFault } from './protocol-fault.ts';

const UNKNOWN = 2;

/** The fields that gRPC has a use for; the others are read and dropped. Throws ProtocolFault. */
export function decodeAnswerHeaders(block: Buffer, from: number, to: number): AnswerHeaders {
  let httpStatus = 0;
  let contentType = '';
  let grpcStatus = -1;
  let grpcMessage = '';
  decodeHeaderBlock(block, from, to, (name, value) => {
    if (name === ':status') httpStatus = Number(value);
    else if (name === 'content-type') contentType = value;
    // What is no number is UNKNOWN, as gRPC says.
    else if (name === 'grpc-status') grpcStatus = /^\d{1,9}$/.test(value) ? Number(value) : UNKNOWN;
    else if (name === 'grpc-message') grpcMessage = decodeGrpcMessage(value);
  });
  return { httpStatus, contentType, grpcStatus, grpcMessage };
}

/** All fields of `block[from, to)`, in their order. Throws ProtocolFault, for a reference to the dynamic table too. */
export function decodeHeaderBlock(block: Buffer, from: number, to: number, onField: (name: string, value: string) => void): void {
  try {
    new HeaderDecoder(0).decode(block, from, to, { onField });
  } catch (error) {
    if (!(error instanceof HpackFault)) throw error;
    throw new ProtocolFault(`${error.message} in a header block (the lane's SETTINGS allow the server no dynamic table)`);
  }
}
