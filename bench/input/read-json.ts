import { open } from 'node:fs/promises';
import { parseExactJson } from '../../clients/typescript/src/parse-exact-json.ts';
import { invalidArgument } from '../../proto/inference-error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** An integer beyond what a double holds may be among these; digits behind a point are none. */
const LONG_INTEGER = /(?:^|[^.\d])\d{16,}(?![.\d])/;

/** Throws the system's error for a file that cannot be read, INVALID_ARGUMENT for one that is too large. */
export async function readText(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    if (size > MAX_FILE_BYTES) throw invalidArgument(`${path}: expected at most ${MAX_FILE_BYTES} bytes, got ${size}`);
    const text = await handle.readFile('utf8');
    return text.startsWith('\uFEFF') ? text.slice(1) : text;
  } finally {
    await handle.close();
  }
}

/** JSON with 64-bit integers as they stand. `what` names it in errors, which are INVALID_ARGUMENT. */
export function parseJson(text: string, what: string): unknown {
  if (text.trim() === '') throw invalidArgument(`${what}: expected JSON, got nothing but white space`);
  try {
    return LONG_INTEGER.test(text) ? parseExactJson(text) : (JSON.parse(text) as unknown);
  } catch (error) {
    throw invalidArgument(`${what}: expected JSON: ${(error as Error).message}`);
  }
}

/** undefined: it is no JSON. */
export function tryParseJson(text: string): unknown {
  try {
    return parseJson(text, '');
  } catch {
    return undefined;
  }
}

export function isObject(json: unknown): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json) && !ArrayBuffer.isView(json);
}

/** For errors. */
export function kindOf(json: unknown): string {
  if (json === undefined) return 'nothing';
  return Array.isArray(json)
    ? json.length === 0
      ? 'an empty array'
      : 'an array'
    : json === null
      ? 'null'
      : typeof json === 'object'
        ? 'an object'
        : JSON.stringify(String(json)).slice(0, 60);
}

/** Lines with something in them, and their numbers from 1 on. */
export function linesOf(text: string): { readonly number: number; readonly line: string }[] {
  return text
    .split('\n')
    .map((line, index) => ({ number: index + 1, line: line.trim() }))
    .filter(({ line }) => line !== '');
}
