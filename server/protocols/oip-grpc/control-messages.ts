import type { Field, Type } from 'protobufjs';
import { DELIMITED, type MessageFields, ProtobufReader, VARINT } from '../../../proto/protobuf-reader.ts';
import { messageTypeOf, modelConfigType, protoNameOf } from '../../model-config/model-config-schema.ts';
import { MAX_NAME_BYTES } from '../oip-json/field-reader.ts';

/** `inference.<name>` by reflection: control calls are few, and their messages are many. */
export function messageType(name: string): Type {
  return modelConfigType.root.lookupType(`inference.${name}`);
}

/** An answer, with members named as in the .proto file, as that message. Enums go by name; what is missing or null is not set. */
export function encodeMessage(type: Type, answer: object): Uint8Array {
  return type.encode(type.fromObject(withFieldNames(type, answer))).finish();
}

/** protobufjs names fields in camelCase. Keys of maps are data and stay. */
function withFieldNames(type: Type, value: object): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const member: unknown = Reflect.get(value, protoNameOf(field));
    if (member !== undefined && member !== null) result[field.name] = withMemberNames(field, member);
  }
  return result;
}

function withMemberNames(field: Field, member: unknown): unknown {
  const type = messageTypeOf(field);
  if (type === null) return member;
  if (field.repeated) return (member as object[]).map((one) => withFieldNames(type, one));
  if (!field.map) return withFieldNames(type, member as object);
  return Object.fromEntries(Object.entries(member as object).map(([key, one]) => [key, withFieldNames(type, one as object)]));
}

/** What a control request may ask with; all of their fields that this server reads are of these kinds. */
export type ControlRequest = Readonly<Record<string, string | boolean>>;

/**
 * Reads a request of strings and booleans: every such field of `type`, with its default where it is not sent, by its name in the .proto file;
 * other fields are passed over. As strict as the reader; INVALID_ARGUMENT for anything malformed.
 */
export function decodeControlRequest(type: Type, message: Uint8Array): ControlRequest {
  const names: string[] = [];
  const request: Record<string, string | boolean> = {};
  for (const field of type.fieldsArray) {
    names[field.id] = protoNameOf(field);
    if (isRead(field)) request[protoNameOf(field)] = field.type === 'string' ? '' : false;
  }
  const fields: MessageFields = { name: type.name, fields: names };
  const reader = new ProtobufReader(message, fields);
  while (reader.next()) {
    const field = type.fieldsById[reader.field];
    if (field === undefined) {
      reader.skip();
    } else if (isRead(field)) {
      request[protoNameOf(field)] = field.type === 'string' ? reader.takeText(MAX_NAME_BYTES) : reader.takeBool();
    } else {
      const isVarint = messageTypeOf(field) === null && field.type !== 'bytes';
      if (reader.wireType !== (isVarint ? VARINT : DELIMITED)) throw reader.wrongWireType(isVarint ? VARINT : DELIMITED);
      reader.skip();
    }
  }
  return request;
}

function isRead(field: Field): boolean {
  return !field.repeated && !field.map && (field.type === 'string' || field.type === 'bool');
}
