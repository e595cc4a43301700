import { isCollection, isMap, isScalar, isSeq, type Node, type Pair, parseDocument, type YAMLMap } from 'yaml';
import type { FieldEdit } from './knob-edits.ts';
import { isObject } from './knobs.ts';

/** The text of YAML or JSON with one field set and all else as it was, comments and layout too. null: it cannot be done without knowing more. */
export function editYaml(text: string, { path, value }: FieldEdit, isJson: boolean): string | null {
  const document = parseDocument(text, { keepSourceTokens: true });
  if (document.errors.length > 0) return null;
  const root = document.contents;
  // Nothing, or nothing but comments.
  if (root === null || (isScalar(root) && root.value === null)) {
    return isJson || path.length !== 1 ? null : `${withLineEnd(text)}${pairText(path[0]!, value, false)}\n`;
  }
  return setIn(text, root, path, value, isJson);
}

function setIn(text: string, node: unknown, [key, ...rest]: FieldEdit['path'], value: unknown, isJson: boolean): string | null {
  if (typeof key === 'number') {
    const item = isSeq(node) ? node.items[key] : undefined;
    return item === undefined || rest.length === 0 ? null : setIn(text, item, rest, value, isJson);
  }
  if (!isMap(node) || key === undefined) return null;
  const pair = node.items.find((one) => (isScalar(one.key) ? one.key.value : one.key) === key);
  if (pair === undefined) return inserted(text, node, pairText(key, nested(rest, value), isJson), isJson);
  if (isScalar(pair.value) && rest.length === 1 && rest[0] === 'string_value') return replaced(text, pair.value, scalarText(value, isJson));
  if (rest.length > 0) return isNothing(pair.value) ? null : setIn(text, pair.value, rest, value, isJson);
  return isScalar(pair.value) || isSeq(pair.value) ? replaced(text, pair.value, valueText(value, isJson)) : null;
}

function nested(path: FieldEdit['path'], value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => (typeof key === 'number' ? [inner] : { [key]: inner }), value);
}

function isNothing(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null);
}

function replaced(text: string, node: Node, by: string): string | null {
  const range = node.range;
  // A block list ends in lines of its own, comments among them: what follows it is not known to be its own.
  if (range === undefined || range === null || (isCollection(node) && node.flow !== true)) return null;
  return text.slice(0, range[0]) + by + text.slice(range[1]);
}

function inserted(text: string, map: YAMLMap, pair: string, isJson: boolean): string | null {
  const range = map.range;
  if (range === undefined || range === null) return null;
  const last = map.items.at(-1);
  if (map.flow === true) {
    const close = range[1] - 1;
    if (last === undefined) return `${text.slice(0, range[0] + 1)} ${pair} ${text.slice(close)}`;
    const end = endOf(last);
    if (end === null) return null;
    const indent = isJson ? lineIndent(text, startOf(last)) : null;
    return `${text.slice(0, end)},${indent === null ? ' ' : `\n${indent}`}${pair}${text.slice(end).replace(/^\s*,/, '')}`;
  }
  const start = last === undefined ? null : startOf(map.items[0]!);
  if (start === null) return null;
  // Behind the map's last line; the map of a document goes to the end of it.
  const end = range[1];
  const column = start - (text.lastIndexOf('\n', start - 1) + 1);
  const before = withLineEnd(text.slice(0, end));
  return `${before}${' '.repeat(column)}${pair}\n${text.slice(end).replace(/^\n/, '')}`;
}

function startOf(pair: Pair): number | null {
  return isScalar(pair.key) ? (pair.key.range?.[0] ?? null) : null;
}

function endOf(pair: Pair): number | null {
  const value = (isScalar(pair.value) || isCollection(pair.value) ? pair.value : pair.key) as Node;
  return value.range?.[1] ?? null;
}

/** What stands before `at` on its line, when that is nothing but space; else null. */
function lineIndent(text: string, at: number | null): string | null {
  if (at === null) return null;
  const before = text.slice(text.lastIndexOf('\n', at - 1) + 1, at);
  return text.lastIndexOf('\n', at - 1) >= 0 && before.trim() === '' ? before : null;
}

function withLineEnd(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

function pairText(key: string | number, value: unknown, isJson: boolean): string {
  return `${isJson ? JSON.stringify(key) : key}: ${valueText(value, isJson)}`;
}

function valueText(value: unknown, isJson: boolean): string {
  if (Array.isArray(value)) return `[${value.map((member) => valueText(member, isJson)).join(', ')}]`;
  if (!isObject(value)) return scalarText(value, isJson);
  // `{ string_value: "2" }` has a short form in YAML.
  const only = Object.keys(value).length === 1 ? value['string_value'] : undefined;
  if (!isJson && only !== undefined) return scalarText(only, isJson);
  const members = Object.entries(value).map(([key, member]) => pairText(key, member, isJson));
  return members.length === 0 ? '{}' : `{ ${members.join(', ')} }`;
}

/** Text that is a number is one in YAML's short form, and in JSON it stays text. */
function scalarText(value: unknown, isJson: boolean): string {
  if (typeof value !== 'string') return String(value);
  return isJson || !/^[A-Za-z0-9_]+$/.test(value) ? JSON.stringify(value) : value;
}
