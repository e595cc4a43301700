import { invalidArgument } from '../../../proto/inference-error.ts';

/** Characters of one JSON input. */
const MAX_JSON = 16 * 1024 * 1024;
const MAX_DEPTH = 200;

export type JsonRecord = Readonly<Record<string, unknown>>;

/** JSON text of an input, not nested too deep for a template. Throws INVALID_ARGUMENT `name: ...`. */
export function readJson(text: string, name: string): unknown {
  if (text.length > MAX_JSON) throw invalidArgument(`${name}: ${text.length} characters of JSON; at most ${MAX_JSON} are read`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`${name}: not JSON: ${error instanceof Error ? error.message.slice(0, 200) : 'it does not parse'}`);
  }
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw invalidArgument(`${name}: nested more than ${MAX_DEPTH} deep`);
    const next: unknown[] = [];
    for (const outer of level) if (typeof outer === 'object' && outer !== null) for (const inner of Object.values(outer)) next.push(inner);
    level = next;
  }
  return value;
}

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An own key's value; null counts as left out. */
export function field(record: JsonRecord, key: string): unknown {
  return Object.hasOwn(record, key) ? (record[key] ?? undefined) : undefined;
}

/** A short form for messages. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
