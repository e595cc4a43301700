/** HPACK without a dynamic table, which the lane's SETTINGS forbid the server: a block means the same whenever it comes. Source: RFC 7541. */

import type { AnswerHeaders } from './answer-headers.ts';
import { decodeGrpcMessage } from './grpc-status.ts';
import { decodeHuffman } from './huffman-code.ts';
import { ProtocolFault } from './protocol-fault.ts';
import { STATIC_NAMES, STATIC_VALUES } from './static-table.ts';

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
  const cursor: Cursor = { block, at: from, to };
  while (cursor.at < to) {
    const byte = block[cursor.at]!;
    if (byte >= 0x80) {
      const index = readInteger(cursor, 0x7f);
      onField(staticName(index), STATIC_VALUES[index]!);
    } else if (byte >= 0x40) {
      // To be kept in the dynamic table; of no size, it keeps nothing (section 4.4).
      readLiteral(cursor, 0x3f, onField);
    } else if (byte >= 0x20) {
      const size = readInteger(cursor, 0x1f);
      if (size > 0) throw new ProtocolFault(`the server sets its header table to ${size} bytes; the lane's SETTINGS allow it none`);
    } else {
      readLiteral(cursor, 0x0f, onField);
    }
  }
}

/** A place in a header block that is being read. */
interface Cursor {
  readonly block: Buffer;
  at: number;
  readonly to: number;
}

function readLiteral(cursor: Cursor, mask: number, onField: (name: string, value: string) => void): void {
  const index = readInteger(cursor, mask);
  const name = index === 0 ? readString(cursor) : staticName(index);
  onField(name, readString(cursor));
}

function staticName(index: number): string {
  const name = index === 0 ? undefined : STATIC_NAMES[index];
  if (name !== undefined) return name;
  throw new ProtocolFault(
    index === 0
      ? 'a header field with index 0, which HPACK does not have'
      : `a header field with index ${index}, of the dynamic table: the lane's SETTINGS_HEADER_TABLE_SIZE of 0 allows the server none`,
  );
}

function readString(cursor: Cursor): string {
  const { block } = cursor;
  const isHuffman = cursor.at < cursor.to && block[cursor.at]! >= 0x80;
  const length = readInteger(cursor, 0x7f);
  const start = cursor.at;
  if (length > cursor.to - start) throw cut();
  cursor.at += length;
  return isHuffman ? decodeHuffman(block, start, cursor.at) : block.toString('latin1', start, cursor.at);
}

/** Section 5.1. `mask`: the bits of the first byte that belong to it. */
function readInteger(cursor: Cursor, mask: number): number {
  const { block, to } = cursor;
  if (cursor.at >= to) throw cut();
  let value = block[cursor.at++]! & mask;
  if (value < mask) return value;
  for (let shift = 0; ; shift += 7) {
    if (cursor.at >= to) throw cut();
    if (shift > 21) throw new ProtocolFault('a length of more than 28 bits in a header block');
    const byte = block[cursor.at++]!;
    value += (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

function cut(): ProtocolFault {
  return new ProtocolFault('a header block that ends within a field');
}
