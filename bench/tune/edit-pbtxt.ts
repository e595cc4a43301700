import type { FieldEdit } from './knob-edits.ts';
import { isObject } from './knobs.ts';
import { type PbtxtField, type PbtxtMessage, type PbtxtValue, scanPbtxt } from './scan-pbtxt.ts';

/** The text with one field set and all else as it was, comments and layout too. null: it cannot be done without knowing more. */
export function editPbtxt(text: string, { path, value }: FieldEdit): string | null {
  const root = scanPbtxt(text);
  return root === null ? null : setIn(text, root, path, value, true);
}

function setIn(text: string, message: PbtxtMessage, path: FieldEdit['path'], value: unknown, isRoot: boolean): string | null {
  const [name, ...rest] = path;
  if (typeof name !== 'string') return null;
  const found = message.fields.filter((field) => field.name === name);
  if (name === 'parameters' && typeof rest[0] === 'string') return setParameter(text, message, found, rest, value);
  const [first] = found;
  if (first === undefined) return rest.length === 0 ? inserted(text, message, fieldText(name, value), isRoot) : null;
  if (rest.length === 0) return replaced(text, found, value);
  const [index, ...inside] = typeof rest[0] === 'number' ? rest : [0, ...rest];
  const target = messagesOf(found)[index as number];
  return target === undefined ? null : setIn(text, target, inside as FieldEdit['path'], value, false);
}

/** A map: entries with a key and a value each. */
function setParameter(
  text: string,
  root: PbtxtMessage,
  found: readonly PbtxtField[],
  [key, ...rest]: FieldEdit['path'],
  value: unknown,
): string | null {
  const entry = messagesOf(found).find((message) => scalarText(text, message, 'key') === key);
  if (rest.length === 0) {
    const inner = isObject(value) ? fieldTexts(value) : null;
    if (inner === null || entry !== undefined) return null;
    return inserted(text, root, `parameters { key: ${JSON.stringify(key)} value { ${inner} } }`, true);
  }
  const inside = entry?.fields.find((field) => field.name === 'value')?.value;
  return inside?.kind === 'message' ? setIn(text, inside, rest, value, false) : null;
}

/** A repeated field may be written as a list, or as one field after the other, or both. */
function messagesOf(fields: readonly PbtxtField[]): PbtxtMessage[] {
  const values = fields.flatMap(({ value }): readonly PbtxtValue[] => (value.kind === 'list' ? value.items : [value]));
  return values.filter((value) => value.kind === 'message');
}

function scalarText(text: string, message: PbtxtMessage, name: string): string | null {
  const value = message.fields.find((field) => field.name === name)?.value;
  return value?.kind === 'scalar' ? text.slice(value.start + 1, value.end - 1) : null;
}

/** The first takes the value; where a repeated field is written several times, the others go. */
function replaced(text: string, [first, ...others]: readonly PbtxtField[], value: unknown): string | null {
  if (first === undefined || isObject(value)) return null;
  let edited = text;
  for (const { start, end } of [...others].reverse()) edited = edited.slice(0, start).replace(/[ \t]*\n?[ \t]*$/, ' ') + edited.slice(end);
  return edited.slice(0, first.value.start) + valueText(first.name, value) + edited.slice(first.value.end);
}

function inserted(text: string, message: PbtxtMessage, field: string, isRoot: boolean): string {
  if (isRoot) return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${field}\n`;
  const last = message.fields.at(-1);
  const close = message.end - 1;
  if (last === undefined) {
    // Between the braces there may be a comment, which goes to the end of its line.
    const between = text.slice(message.start + 1, close);
    return between.trim() === ''
      ? `${text.slice(0, message.start + 1)} ${field} ${text.slice(close)}`
      : insertedLine(text, close, field, '');
  }
  if (!text.slice(last.end, close).includes('\n')) return `${text.slice(0, last.end)} ${field}${text.slice(last.end)}`;
  const lineStart = text.lastIndexOf('\n', last.start) + 1;
  return insertedLine(text, close, field, /^[ \t]*/.exec(text.slice(lineStart))![0]);
}

/** On a line of its own before the closing brace. */
function insertedLine(text: string, close: number, field: string, indent: string): string {
  const lineStart = text.lastIndexOf('\n', close - 1) + 1;
  return `${text.slice(0, lineStart)}${indent}${field}\n${text.slice(lineStart)}`;
}

function fieldTexts(value: Readonly<Record<string, unknown>>): string {
  return Object.entries(value)
    .map(([name, member]) => fieldText(name, member))
    .join(' ');
}

function fieldText(name: string, value: unknown): string {
  const isMessage = isObject(value) || (Array.isArray(value) && value.some(isObject));
  return `${name}${isMessage ? '' : ':'} ${valueText(name, value)}`;
}

function valueText(name: string, value: unknown): string {
  if (Array.isArray(value)) return `[ ${value.map((member) => valueText(name, member)).join(', ')} ]`;
  if (isObject(value)) return Object.keys(value).length === 0 ? '{ }' : `{ ${fieldTexts(value)} }`;
  // The one enum among what is set here.
  return typeof value === 'string' && name !== 'kind' ? JSON.stringify(value) : String(value);
}
