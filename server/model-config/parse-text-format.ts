import type { Field, Type } from 'protobufjs';
import textFormat from 'protobufjs/ext/textformat.js';
import { type InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { nearestName } from '../../proto/nearest-name.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';
import { scanTextFormat, type TextField } from './scan-text-format.ts';

/** Above this, an error that came without a line number is reported without one: finding it parses the text again. */
const MAX_LOCATED_CHARS = 64 * 1024;

/**
 * A `config.pbtxt` (protobuf text format) as a plain object for readConfigObject: camelCase names, 64-bit integers as decimal strings so that
 * nothing is rounded before it is checked. `asWritten`: the fields in the order of the text, empty lists among them. Throws INVALID_ARGUMENT with the line, the line's text and the nearest valid name.
 */
export function parseTextFormat(text: string, source: string, asWritten: boolean): object {
  try {
    const message = textFormat.fromText(modelConfigType, text);
    return plainMessage(modelConfigType, message, asWritten ? (scanTextFormat(text)?.fields ?? null) : null);
  } catch (error) {
    throw explain(error, text, source);
  }
}

/**
 * With `written`: the fields in its order, and empty lists too. toObject sorts the fields and drops empty lists, and a message cannot tell
 * those apart from lists that were not given.
 */
function plainMessage(type: Type, message: object, written: readonly TextField[] | null): object {
  const result: Record<string, unknown> = {};
  const fields = written === null ? type.fieldsArray : namedBy(written, type);
  for (const field of fields) {
    const isGiven = Object.hasOwn(message, field.name) && !(written === null && isEmptyList(field, Reflect.get(message, field.name)));
    if (!isGiven && written === null) continue;
    const value: unknown = isGiven ? Reflect.get(message, field.name) : field.map ? {} : [];
    result[field.name] = plainField(field, value, written?.filter((one) => one.name === protoNameOf(field)) ?? null);
  }
  return result;
}

function namedBy(written: readonly TextField[], type: Type): Set<Field> {
  const byName = new Map(type.fieldsArray.map((field) => [protoNameOf(field), field]));
  return new Set(written.map(({ name }) => byName.get(name)).filter((field) => field !== undefined));
}

function isEmptyList(field: Field, value: object): boolean {
  return field.map || field.repeated ? Object.keys(value).length === 0 : false;
}

function plainField(field: Field, value: unknown, written: readonly TextField[] | null): unknown {
  const messageType = messageTypeOf(field);
  const is64Bit = field.type === 'int64' || field.type === 'uint64';
  const plain = (member: unknown, fields: readonly TextField[] | null): unknown => {
    if (messageType !== null) return plainMessage(messageType, member as object, fields);
    return is64Bit ? String(member) : member;
  };
  const members = written?.flatMap((one) => one.values);
  if (Array.isArray(value)) return value.map((member, index) => plain(member, members?.[index]?.fields ?? null));
  if (!field.map) return plain(value, members?.[0]?.fields ?? null);
  // fromEntries: an entry `__proto__` stays an entry, which the reader refuses.
  const fieldsOf = (key: string): readonly TextField[] | null => {
    const entry = members?.findLast(({ fields }) => (scalarOf(fields, 'key') ?? '') === key);
    return entry?.fields.find(({ name }) => name === 'value')?.values[0]?.fields ?? null;
  };
  return Object.fromEntries(Object.entries(value as object).map(([key, member]) => [key, plain(member, fieldsOf(key))]));
}

function scalarOf(fields: readonly TextField[], name: string): string | null | undefined {
  return fields.find((field) => field.name === name)?.values[0]?.scalar;
}

function explain(error: unknown, text: string, source: string): InferenceError {
  const full = error instanceof Error ? error.message : String(error);
  const [, problem = full, reportedLine] = /^(.*) \(line (\d+)\)$/s.exec(full) ?? [];
  const line = reportedLine === undefined ? locate(full, text) : Number(reportedLine);
  const lineText = line === undefined ? '' : (text.split('\n', line)[line - 1] ?? '').trim();
  const where = line === undefined ? source : `${source}, line ${line}`;
  const quoted = lineText === '' ? '' : `, at \`${lineText.length > 80 ? `${lineText.slice(0, 77)}...` : lineText}\``;
  return invalidArgument(`${where}: ${readable(problem)}${quoted}${suggestion(problem, lineText)}`);
}

/**
 * The reader numbers only some of its errors. An error raised by line n is raised by the first n lines alone too, and not by fewer: the smallest such n
 * is the line.
 */
function locate(message: string, text: string): number | undefined {
  if (text.length > MAX_LOCATED_CHARS) return undefined;
  const lines = text.split('\n');
  let low = 1;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (errorOf(lines.slice(0, middle).join('\n')) === message) high = middle;
    else low = middle + 1;
  }
  return low;
}

function errorOf(text: string): string | undefined {
  try {
    textFormat.fromText(modelConfigType, text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The reader's words with the names of the configuration: `.inference.ModelInput.dataType` is ModelInput.data_type. */
function readable(problem: string): string {
  const [, oneofName] = /^(\w+): multiple values$/.exec(problem) ?? [];
  if (oneofName !== undefined) return `only one of ${membersOf(oneofName).join(', ')} may be given`;
  const [, path, rest] = /^\.inference\.([\w.]+)(:.*)$/s.exec(problem) ?? [];
  if (path === undefined || rest === undefined) return problem;
  const dot = path.lastIndexOf('.');
  const field = dot < 0 ? undefined : lookupType(path.slice(0, dot))?.fields[path.slice(dot + 1)];
  return `${field === undefined ? path : `${path.slice(0, dot)}.${protoNameOf(field)}`}${rest.replace('multiple values', 'given twice')}`;
}

function suggestion(problem: string, lineText: string): string {
  const [, typeName, unknownField] = /^\.inference\.([\w.]+): unknown field '(.*)'$/s.exec(problem) ?? [];
  if (typeName !== undefined && unknownField !== undefined) {
    const names = (lookupType(typeName)?.fieldsArray ?? []).map(protoNameOf);
    const nearest = nearestName(unknownField, names);
    return nearest === undefined ? `; fields here are: ${names.join(', ')}` : `; did you mean '${nearest}'?`;
  }
  const [, owner, enumField] = /^\.inference\.([\w.]+)\.(\w+): enum value expected$/.exec(problem) ?? [];
  const field = owner === undefined || enumField === undefined ? undefined : lookupType(owner)?.fields[enumField];
  if (field === undefined) return '';
  const names = Object.keys(enumValuesOf(field) ?? {});
  // The reader does not say what it got, so every word of the line that is not itself valid is compared.
  const words = lineText.match(/[A-Za-z_][A-Za-z0-9_]*/g) ?? [];
  const nearest = words
    .filter((word) => word !== protoNameOf(field))
    .map((word) => nearestName(word, names))
    .find((name) => name !== undefined);
  return `; expected one of ${names.join(', ')}${nearest === undefined ? '' : `; did you mean '${nearest}'?`}`;
}

/** A oneof's members by its camelCase name, which no two messages inside ModelConfig share. */
function membersOf(oneofName: string, type: Type = modelConfigType): string[] {
  const oneof = type.oneofs?.[oneofName];
  if (oneof !== undefined) return oneof.fieldsArray.map(protoNameOf);
  return type.fieldsArray.map(messageTypeOf).flatMap((inside) => (inside === null ? [] : membersOf(oneofName, inside)));
}

function lookupType(path: string): Type | undefined {
  try {
    return modelConfigType.root.lookupType(`inference.${path}`);
  } catch {
    return undefined;
  }
}
