import type { Type } from 'protobufjs';
import { Document, isScalar, visit } from 'yaml';
import { invalidArgument } from '../../proto/inference-error.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';
import type { ConfigFormat } from './parse-model-config.ts';
import type { ConfigDocument, ConfigValue } from './read-config-object.ts';

const LINE_WIDTH = 120;

/**
 * A configuration as the text of a file, ending in a newline; reading it gives the same document. JSON and YAML have integers beyond 2^53 as strings, as
 * proto JSON does. Throws INVALID_ARGUMENT for a string that UTF-8 has no bytes for.
 */
export function writeConfigDocument(document: ConfigDocument, format: ConfigFormat): string {
  switch (format) {
    case 'pbtxt':
      return writeMessage(modelConfigType, document, '');
    case 'json':
      return `${writeJson(document, '')}\n`;
    case 'yaml':
      return writeYaml(document);
  }
}

function writeMessage(type: Type, message: ConfigDocument, indent: string): string {
  let text = '';
  for (const [name, value] of Object.entries(message)) {
    const field = type.fieldsArray.find((one) => protoNameOf(one) === name);
    if (field === undefined) throw new Error(`${type.name} has no field ${name}`);
    const inside = messageTypeOf(field);
    const isEnum = enumValuesOf(field) !== null;
    const one = (member: ConfigValue): string =>
      inside === null ? writeScalar(member, isEnum) : writeBlock(writeMessage(inside, member as ConfigDocument, `${indent}  `), indent);
    const colon = inside === null ? ': ' : ' ';
    if (field.map) {
      const isText = Reflect.get(field, 'keyType') === 'string';
      const entries = Object.entries(value as ConfigDocument);
      if (entries.length === 0) text += `${indent}${name}: []\n`;
      for (const [key, member] of entries) {
        text += `${indent}${name} { key: ${isText ? quote(key) : key} value${colon}${one(member)} }\n`;
      }
    } else if (Array.isArray(value)) {
      if (inside === null || value.length === 0) text += `${indent}${name}: [${value.map(one).join(', ')}]\n`;
      else for (const member of value) text += `${indent}${name} ${one(member as ConfigValue)}\n`;
    } else text += `${indent}${name}${colon}${one(value)}\n`;
  }
  return text;
}

function writeBlock(body: string, indent: string): string {
  return body === '' ? '{ }' : `{\n${body}${indent}}`;
}

function writeScalar(value: ConfigValue, isEnum: boolean): string {
  return typeof value === 'string' && !isEnum ? quote(value) : String(value);
}

const escapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '"': '\\"', '\\': '\\\\' };

function quote(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
  const escaped = text.replace(/["\\\u0000-\u001f\u007f]/g, (unit) => {
    return escapes[unit] ?? `\\${unit.charCodeAt(0).toString(8).padStart(3, '0')}`;
  });
  // Every surrogate that is half of a pair is replaced in one go with the other half.
  if (/\p{Surrogate}/u.test(text)) throw invalidArgument(`a string with half of a surrogate pair cannot be written as pbtxt: "${escaped}"`);
  return `"${escaped}"`;
}

/** Two spaces a level; lists of scalars on one line. */
function writeJson(value: ConfigValue, indent: string): string {
  if (typeof value === 'bigint') return `"${value}"`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((member) => typeof member !== 'object')) return `[${value.map((member) => writeJson(member, '')).join(', ')}]`;
    return `[\n${value.map((member) => inner + writeJson(member as ConfigValue, inner)).join(',\n')}\n${indent}]`;
  }
  const members = Object.entries(value as ConfigDocument);
  if (members.length === 0) return '{}';
  return `{\n${members.map(([key, member]) => `${inner}${JSON.stringify(key)}: ${writeJson(member, inner)}`).join(',\n')}\n${indent}}`;
}

function writeYaml(value: ConfigDocument): string {
  const document = new Document(withoutBigInts(value), { version: '1.2', schema: 'core', aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_, sequence) => {
      sequence.flow = sequence.items.every(isScalar);
    },
    Scalar: (_, scalar) => {
      // A folded or literal block is no place for characters that only a quoted string can spell.
      if (typeof scalar.value === 'string' && /[^\x20-\x7e]/.test(scalar.value)) scalar.type = 'QUOTE_DOUBLE';
    },
  });
  return Object.keys(value).length === 0 ? '{}\n' : document.toString({ lineWidth: LINE_WIDTH });
}

function withoutBigInts(value: ConfigValue): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map((member) => withoutBigInts(member as ConfigValue));
  return Object.fromEntries(Object.entries(value as ConfigDocument).map(([key, member]) => [key, withoutBigInts(member)]));
}
