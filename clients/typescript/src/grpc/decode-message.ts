import { invalidArgument } from '../../../../proto/inference-error.ts';
import { DELIMITED, FIXED32, FIXED64, type MessageFields, ProtobufReader, VARINT } from '../../../../proto/protobuf-reader.ts';
import { malformedAnswer } from '../infer-result.ts';
import { type FieldPlan, type MessagePlan, planOf } from './message-plan.ts';

type Decoded = Record<string, unknown>;

/** Lists and maps from this field number on are what this server adds to Triton's messages: missing when they are empty, as in REST. */
const FIRST_OWN_FIELD = 1000;
const TWO_TO_32 = 4_294_967_296;
const ENTRY: MessageFields = { name: 'map entry', fields: ['', 'key', 'value'] };
const scratch = new DataView(new ArrayBuffer(4));

/**
 * A message of message-fields.ts as an object: numbers for 64-bit integers (the nearest one beyond 2^53) unless the table says text, names for enums, own properties for
 * the keys of maps, defaults for what is not set unless the table says missing. Throws INTERNAL for bytes that are no such message.
 */
export function decodeMessage(messageName: string, bytes: Uint8Array): Decoded {
  const plan = planOf(messageName);
  try {
    return readMessage(new ProtobufReader(bytes, plan.names), plan);
  } catch (error) {
    throw malformedAnswer((error as Error).message, error);
  }
}

/** Reads to the end of the reader's message. */
function readMessage(reader: ProtobufReader, plan: MessagePlan): Decoded {
  const message: Decoded = {};
  for (const field of plan.fields) if (field.rule !== 'optional' && field.number < FIRST_OWN_FIELD) message[field.name] = defaultOf(field);
  while (reader.next()) {
    reader.uncounted();
    const field = plan.byNumber.get(reader.field);
    if (field !== undefined && field.rule !== 'one' && field.rule !== 'optional') message[field.name] ??= defaultOf(field);
    if (field === undefined) reader.skip();
    else if (field.rule === 'map') readEntry(reader, plan, field, message[field.name] as Decoded);
    else if (field.rule === 'list') readList(reader, plan, field, message[field.name] as unknown[]);
    else message[field.name] = readValue(reader, plan.names, field);
  }
  return message;
}

function defaultOf(field: FieldPlan): unknown {
  if (field.rule === 'list') return [];
  if (field.rule === 'map') return {};
  switch (field.type) {
    case 'message':
      return readMessage(new ProtobufReader(new Uint8Array(0), ENTRY), planOf(field.messageName));
    case 'enum':
      return field.enumNames!.get(0) ?? 0;
    case 'bool':
      return false;
    case 'string':
      return '';
    case 'bytes':
      return new Uint8Array(0);
    case 'int64-text':
    case 'uint64-text':
      return '0';
    default:
      return 0;
  }
}

/** A value with its tag read. */
function readValue(reader: ProtobufReader, within: MessageFields, field: FieldPlan): unknown {
  switch (field.type) {
    case 'message': {
      const plan = planOf(field.messageName);
      const outerEnd = reader.enter(plan.names);
      const value = readMessage(reader, plan);
      reader.leave(outerEnd, within);
      return value;
    }
    case 'string':
      return reader.takeText(reader.end);
    case 'bytes':
      reader.takeRange();
      return reader.rangeView().slice();
    case 'double':
      return reader.takeDouble();
    case 'float':
      if (reader.wireType !== FIXED32) throw reader.wrongWireType(FIXED32);
      return readFloat(reader);
    default:
      reader.takeVarint();
      return varintValue(reader, field);
  }
}

/** One element, or a packed run of them. */
function readList(reader: ProtobufReader, plan: MessagePlan, field: FieldPlan, list: unknown[]): void {
  const isPackable = field.type !== 'message' && field.type !== 'string' && field.type !== 'bytes';
  if (reader.wireType !== DELIMITED || !isPackable) {
    list.push(readValue(reader, plan.names, field));
    return;
  }
  const { field: number } = reader;
  const outerEnd = reader.enter(plan.names);
  while (reader.at < reader.end) {
    // For the errors, which name the field at hand.
    reader.field = number;
    if (field.type === 'float') {
      list.push(readFloat(reader));
    } else if (field.type === 'double') {
      reader.wireType = FIXED64;
      list.push(reader.takeDouble());
    } else {
      reader.varint();
      list.push(varintValue(reader, field));
    }
  }
  reader.leave(outerEnd, plan.names);
}

function readEntry(reader: ProtobufReader, plan: MessagePlan, field: FieldPlan, map: Decoded): void {
  let key = field.keyType === 'string' ? '' : '0';
  let value: unknown;
  const outerEnd = reader.enter(ENTRY);
  while (reader.next()) {
    reader.uncounted();
    if (reader.field === 1 && field.keyType === 'string') {
      key = reader.takeText(reader.end);
    } else if (reader.field === 1) {
      reader.takeVarint();
      key = wholeText(reader, field.keyType === 'int64' || field.keyType === 'int32');
    } else if (reader.field === 2) {
      value = readValue(reader, ENTRY, field);
    } else {
      reader.skip();
    }
  }
  reader.leave(outerEnd, plan.names);
  // `__proto__` is a key like any other.
  Object.defineProperty(map, key, {
    value: value ?? defaultOf({ ...field, rule: 'one' }),
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** The varint just read. */
function varintValue(reader: ProtobufReader, field: FieldPlan): unknown {
  switch (field.type) {
    case 'bool':
      return reader.low !== 0 || reader.high !== 0;
    case 'enum':
      return field.enumNames!.get(reader.low) ?? reader.low;
    case 'int32':
      return reader.low;
    case 'uint32':
      return reader.low >>> 0;
    case 'int64':
      return reader.high * TWO_TO_32 + (reader.low >>> 0);
    case 'uint64':
      return (reader.high >>> 0) * TWO_TO_32 + (reader.low >>> 0);
    case 'int64-text':
      return wholeText(reader, true);
    case 'uint64-text':
      return wholeText(reader, false);
    default:
      throw reader.wrongWireType(VARINT);
  }
}

function wholeText({ high, low }: ProtobufReader, isSigned: boolean): string {
  return String((BigInt(isSigned ? high : high >>> 0) << 32n) | BigInt(low >>> 0));
}

/** The shortest decimal that is this float: 0.1, where the double nearest to it would read 0.10000000149011612. */
function readFloat(reader: ProtobufReader): number {
  const { bytes, at } = reader;
  if (reader.end - at < 4) throw invalidArgument(`${reader.where()}: a float that the end of the message cuts`);
  for (let i = 0; i < 4; i++) scratch.setUint8(i, bytes[at + i]!);
  reader.at += 4;
  const value = scratch.getFloat32(0, true);
  if (Number.isInteger(value)) return value;
  for (let digits = 6; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === value) return shorter;
  }
  return value;
}
