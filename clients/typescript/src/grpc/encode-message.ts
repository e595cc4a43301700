import { invalidArgument } from '../../../../proto/inference-error.ts';
import { type FieldPlan, type MessagePlan, planOf } from './message-plan.ts';

/** A message of message-fields.ts from an object with its names; what is missing or has its default is not sent. For requests, whose field numbers are below 16. */
export function encodeMessage(messageName: string, value: object): Buffer {
  const parts: Uint8Array[] = [];
  putMessage(parts, planOf(messageName), value);
  return Buffer.concat(parts);
}

/** Bytes that were added. Byte fields go in as they are: a model's file is copied once, into the message. */
function putMessage(parts: Uint8Array[], plan: MessagePlan, message: object): number {
  let size = 0;
  for (const field of plan.fields) {
    const value: unknown = Reflect.get(message, field.name);
    if (value === undefined || value === null) continue;
    if (field.rule === 'list') for (const element of value as unknown[]) size += putValue(parts, field, field.number, element);
    else if (field.rule === 'map') for (const entry of Object.entries(value as object)) size += putEntry(parts, field, entry);
    else if (field.rule === 'optional' || !isDefault(value)) size += putValue(parts, field, field.number, value);
  }
  return size;
}

function isDefault(value: unknown): boolean {
  return value === '' || value === 0 || value === false || (value instanceof Uint8Array && value.length === 0);
}

function putEntry(parts: Uint8Array[], field: FieldPlan, [key, value]: [string, unknown]): number {
  return putDelimited(parts, field.number, (inside) => {
    const keySize = putBytes(inside, 1, Buffer.from(key, 'utf8'));
    return keySize + putValue(inside, field, 2, value);
  });
}

function putValue(parts: Uint8Array[], field: FieldPlan, number: number, value: unknown): number {
  switch (field.type) {
    case 'message':
      return putDelimited(parts, number, (inside) => putMessage(inside, planOf(field.messageName), value as object));
    case 'string':
      return putBytes(parts, number, Buffer.from(value as string, 'utf8'));
    case 'bytes':
      return putBytes(parts, number, value as Uint8Array);
    case 'bool':
      return putVarints(parts, number << 3, value === true ? 1n : 0n);
    case 'int64':
    case 'uint64':
    case 'uint32':
      return putVarints(parts, number << 3, wholeNumber(field, value as number));
    default:
      throw new Error(`no request has a field of type ${field.type}`);
  }
}

function wholeNumber({ name, type }: FieldPlan, value: number): bigint {
  const max = type === 'uint32' ? 2 ** 32 - 1 : Number.MAX_SAFE_INTEGER;
  const min = type === 'int64' ? -max : 0;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalidArgument(`${name}: expected a whole number from ${min} to ${max}, got ${String(value)}`);
  }
  return BigInt.asUintN(64, BigInt(value));
}

function putDelimited(parts: Uint8Array[], number: number, put: (inside: Uint8Array[]) => number): number {
  const inside: Uint8Array[] = [];
  const length = put(inside);
  const headSize = putVarints(parts, (number << 3) | 2, BigInt(length));
  for (const part of inside) parts.push(part);
  return headSize + length;
}

function putBytes(parts: Uint8Array[], number: number, bytes: Uint8Array): number {
  const headSize = putVarints(parts, (number << 3) | 2, BigInt(bytes.length));
  parts.push(bytes);
  return headSize + bytes.length;
}

/** A tag of one byte and a varint. */
function putVarints(parts: Uint8Array[], tag: number, value: bigint): number {
  const bytes = [tag];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  parts.push(Uint8Array.from(bytes));
  return bytes.length;
}
