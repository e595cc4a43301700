import type { Field, Type } from 'protobufjs';
import protobuf from 'protobufjs/light.js';
import { descriptor } from '../../proto/gen/descriptor.ts';

/** Reflection of `inference.ModelConfig`: which fields there are, for reading, checking and writing configurations. */
export const modelConfigType: Type = protobuf.Root.fromJSON(descriptor).resolveAll().lookupType('inference.ModelConfig');

/** snake_case, as the .proto file and configuration files spell it. */
export function protoNameOf(field: Field): string {
  const name: unknown = Reflect.get(field, 'protoName');
  return typeof name === 'string' ? name : field.name;
}

/** The message that a field holds (for a map: its values), or null for scalars and enums. */
export function messageTypeOf(field: Field): Type | null {
  return field.resolvedType instanceof protobuf.Type ? field.resolvedType : null;
}

/** The names and numbers of a field's enum, or null when it is none. */
export function enumValuesOf(field: Field): Readonly<Record<string, number>> | null {
  return field.resolvedType instanceof protobuf.Enum ? field.resolvedType.values : null;
}

/** `ModelInput.data_type`, `ModelVersionPolicy.Latest.num_versions`: how tables here name a field. */
export function qualifiedNameOf(field: Field): string {
  const owner = field.parent?.fullName ?? '';
  return `${owner.replace(/^\.inference\./, '')}.${protoNameOf(field)}`;
}
