import type { Field, Type } from 'protobufjs';
import { isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml';
import { messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';
import { isNestedTooDeep } from './nesting-depth.ts';
import type { ConfigFormat } from './parse-model-config.ts';
import { scanTextFormat, type TextField } from './scan-text-format.ts';

/** The line of a field (`input[0].dims[1]`), or of what it would stand in, counted from 1; null: nothing of the kind is in the text. */
export type LineOfField = (field: string) => number | null;

/** JSON is read as YAML, which has places for its nodes. */
export function locateConfigFields(text: string, format: ConfigFormat): LineOfField {
  const lines = new Map<string, number>();
  if (format === 'pbtxt') locateInText(modelConfigType, scanTextFormat(text)?.fields ?? [], '', lines);
  else if (!isNestedTooDeep(text, format)) locateInYaml(text, lines);
  return (field) => {
    // From the field itself outwards: what it would stand in ends before a '.' or a '['.
    for (let path = field; path !== ''; path = path.slice(0, Math.max(0, path.lastIndexOf('.'), path.lastIndexOf('[')))) {
      const line = lines.get(path);
      if (line !== undefined) return line;
    }
    return null;
  };
}

function locateInText(type: Type | null, fields: readonly TextField[], path: string, lines: Map<string, number>): void {
  const counts = new Map<string, number>();
  for (const { name, line, values } of fields) {
    const field = fieldNamed(type, name);
    const fieldPath = path === '' ? name : `${path}.${name}`;
    if (!lines.has(fieldPath)) lines.set(fieldPath, line);
    for (const value of values) {
      if (field?.map) {
        const key = value.fields.find((one) => one.name === 'key')?.values[0]?.scalar ?? '';
        const entryPath = `${fieldPath}[${JSON.stringify(key)}]`;
        lines.set(entryPath, value.line);
        const inside = value.fields.find((one) => one.name === 'value')?.values[0]?.fields ?? [];
        locateInText(messageTypeOf(field), inside, entryPath, lines);
        continue;
      }
      const index = counts.get(name) ?? 0;
      counts.set(name, index + 1);
      const valuePath = field?.repeated ? `${fieldPath}[${index}]` : fieldPath;
      if (!lines.has(valuePath)) lines.set(valuePath, value.line);
      if (value.scalar === null) locateInText(field === undefined ? null : messageTypeOf(field), value.fields, valuePath, lines);
    }
  }
}

function locateInYaml(text: string, lines: Map<string, number>): void {
  const counter = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, lineCounter: counter });
  if (document.errors.length > 0) return;
  const lineOf = (node: Node): number => counter.linePos(node.range?.[0] ?? 0).line;
  const visit = (node: ParsedNode | null, type: Type | null, isMapField: boolean, path: string): void => {
    if (isMap(node)) {
      for (const { key, value } of node.items) {
        if (!isScalar(key)) continue;
        const given = String(key.value);
        const field = isMapField ? undefined : fieldNamed(type, given);
        const name = field === undefined ? given : protoNameOf(field);
        const memberPath = isMapField ? `${path}[${JSON.stringify(given)}]` : path === '' ? name : `${path}.${name}`;
        lines.set(memberPath, lineOf(key));
        const inside = isMapField ? type : field === undefined ? null : messageTypeOf(field);
        visit(value as ParsedNode | null, inside, field?.map ?? false, memberPath);
      }
    } else if (isSeq(node)) {
      for (const [index, item] of node.items.entries()) {
        lines.set(`${path}[${index}]`, lineOf(item as Node));
        visit(item as ParsedNode, type, false, `${path}[${index}]`);
      }
    }
  };
  visit(document.contents, modelConfigType, false, '');
}

function fieldNamed(type: Type | null, name: string): Field | undefined {
  return type?.fieldsArray.find((field) => field.name === name || protoNameOf(field) === name);
}
