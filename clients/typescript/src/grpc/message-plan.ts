import type { MessageFields } from '../../../../proto/protobuf-reader.ts';
import { ENUM_VALUES, MESSAGE_FIELDS } from './message-fields.ts';

export type ScalarType =
  | 'double'
  | 'float'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'int64-text'
  | 'uint64-text'
  | 'bool'
  | 'string'
  | 'bytes'
  | 'enum'
  | 'message';

export interface FieldPlan {
  readonly name: string;
  readonly number: number;
  readonly type: ScalarType;
  /** The message's name, for type 'message'. */
  readonly messageName: string;
  /** By number, for type 'enum'. */
  readonly enumNames: ReadonlyMap<number, string> | null;
  /** `optional`: missing when it is not set; `one` has a default. */
  readonly rule: 'one' | 'optional' | 'list' | 'map';
  /** Of a map. */
  readonly keyType: ScalarType | null;
}

export interface MessagePlan {
  readonly fields: readonly FieldPlan[];
  readonly byNumber: ReadonlyMap<number, FieldPlan>;
  /** For the reader's errors. */
  readonly names: MessageFields;
}

const plans = new Map<string, MessagePlan>();
const FIELD = /^([a-z_][a-z0-9_]*):(\d+):(?:map<([a-z0-9]+),)?([\w.-]+)(>|\[\]|\?)?$/i;

/** A message of message-fields.ts, parsed at its first use. */
export function planOf(messageName: string): MessagePlan {
  let plan = plans.get(messageName);
  if (plan === undefined) {
    plan = parsePlan(messageName);
    plans.set(messageName, plan);
  }
  return plan;
}

function parsePlan(messageName: string): MessagePlan {
  const text = MESSAGE_FIELDS[messageName];
  if (text === undefined) throw new Error(`message-fields.ts has no message '${messageName}'`);
  const fields = text === '' ? [] : text.split(' ').map(parseField);
  const names: string[] = [];
  for (const { number, name } of fields) names[number] = name;
  return { fields, byNumber: new Map(fields.map((field) => [field.number, field])), names: { name: messageName, fields: names } };
}

function parseField(text: string): FieldPlan {
  const match = FIELD.exec(text);
  if (match === null) throw new Error(`message-fields.ts: '${text}' is not name:number:type`);
  const [, name = '', number, keyType, typeName = '', suffix] = match;
  const enumText = ENUM_VALUES[typeName];
  const isMessage = MESSAGE_FIELDS[typeName] !== undefined;
  return {
    name,
    number: Number(number),
    type: isMessage ? 'message' : enumText !== undefined ? 'enum' : (typeName as ScalarType),
    messageName: isMessage ? typeName : '',
    enumNames: enumText === undefined ? null : parseEnum(enumText),
    rule: suffix === '>' ? 'map' : suffix === '[]' ? 'list' : suffix === '?' ? 'optional' : 'one',
    keyType: keyType === undefined ? null : (keyType as ScalarType),
  };
}

function parseEnum(text: string): ReadonlyMap<number, string> {
  return new Map(
    text.split(' ').map((entry) => {
      const [name = '', number] = entry.split('=');
      return [Number(number), name];
    }),
  );
}
