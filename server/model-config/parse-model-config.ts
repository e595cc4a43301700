import { type Document, isScalar, parseDocument, visit } from 'yaml';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { findDuplicateKey } from './find-duplicate-key.ts';
import { isNestedTooDeep, MAX_NESTING_DEPTH } from './nesting-depth.ts';
import { parseTextFormat } from './parse-text-format.ts';
import { type ConfigDocument, readConfigDocument, readConfigObject } from './read-config-object.ts';

export type ConfigFormat = 'pbtxt' | 'json' | 'yaml';

/** The configuration's file in a model directory, and how it is written. A directory may hold one of them, not several. */
export const CONFIG_FILE_FORMATS: Readonly<Record<string, ConfigFormat>> = {
  'config.pbtxt': 'pbtxt',
  'config.json': 'json',
  'config.yaml': 'yaml',
  'config.yml': 'yaml',
};

/** Bytes of UTF-8. A real configuration has a few thousand; check the file's size before reading it. */
export const MAX_CONFIG_BYTES: number = 1024 * 1024;

/** YAML's is lower: its grammar costs ten times as much to read, all of it in one go. */
export const MAX_YAML_CONFIG_BYTES: number = 128 * 1024;

/** Aliases in one YAML document: a few hundred bytes of nested ones could stand for gigabytes, and each is looked up by walking the document. */
const MAX_YAML_ALIASES = 100;

/**
 * The text of a model configuration as a complete ModelConfig (unset fields at their proto3 defaults, nothing else filled in: see
 * normaliseModelConfig). The three formats mean the same. `source` names the file, or where else the text came from, in errors.
 * Throws INVALID_ARGUMENT: the text is no document of its format, or a field is unknown, of the wrong type, or out of range; RESOURCE_EXHAUSTED:
 * the text is too long.
 * Source: reference, protobuf text format and proto JSON as Triton reads them (sections 5.11 and 5.12).
 */
export function parseModelConfig(text: string, format: ConfigFormat, source: string): ModelConfig {
  return readConfigObject(parseConfigText(text, format, source, 'rounded'), source);
}

/** The text as its author wrote it: nothing filled in, 64-bit integers exact. Throws as parseModelConfig does. */
export function parseConfigDocument(text: string, format: ConfigFormat, source: string): ConfigDocument {
  return readConfigDocument(parseConfigText(text, format, source, 'exact'), source);
}

/**
 * The text as plain objects, before any field is looked at (pbtxt: after). `integers`: beyond 2^53, JSON and YAML ones are doubles that are near, or bigints.
 * Throws as parseModelConfig does.
 */
export function parseConfigText(text: string, format: ConfigFormat, source: string, integers: 'rounded' | 'exact'): unknown {
  const bytes = Buffer.byteLength(text);
  const limit = format === 'yaml' ? MAX_YAML_CONFIG_BYTES : MAX_CONFIG_BYTES;
  if (bytes > limit) {
    const hint = format === 'yaml' ? `; JSON and pbtxt may have ${MAX_CONFIG_BYTES}` : '';
    throw new InferenceError('RESOURCE_EXHAUSTED', `${source}: expected at most ${limit} bytes of configuration, got ${bytes}${hint}`);
  }
  // A byte order mark is what some editors put before the first field.
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text;
  switch (format) {
    case 'pbtxt':
      return parseTextFormat(body, source, integers === 'exact');
    case 'json':
      return parseJson(body, source, integers === 'exact');
    case 'yaml':
      return parseYaml(body, source, integers === 'exact');
  }
}

/** What a directory without a configuration file says: nothing, every field at its default. */
export function emptyModelConfig(): ModelConfig {
  return readConfigObject({}, 'no configuration');
}

/** A string, or a whole number of so many digits that a double may not hold it. */
const STRING_OR_LONG_INTEGER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d{16,}(?![\d.eE])/g;
const MARKED_INTEGER = /^\0integer:(-?\d+)$/;

/** JSON.parse with long integers as bigints. The text must already have been accepted by JSON.parse. */
function parseExact(text: string): unknown {
  const marked = text.replace(STRING_OR_LONG_INTEGER, (token, at: number) =>
    token.startsWith('"') || /[\d.]/.test(text.charAt(at - 1)) ? token : `"\\u0000integer:${token}"`,
  );
  return JSON.parse(marked, (_key, value: unknown) => {
    const digits = typeof value === 'string' ? MARKED_INTEGER.exec(value)?.[1] : undefined;
    return digits === undefined ? value : BigInt(digits);
  });
}

function parseJson(text: string, source: string, isExact: boolean): unknown {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`${source}: not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  requireShallow(text, 'json', source);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined)
    throw invalidArgument(`${source}: the key ${JSON.stringify(duplicate)} is given twice in one object; keep one`);
  return isExact ? parseExact(text) : document;
}

function parseYaml(text: string, source: string, intAsBigInt: boolean): unknown {
  requireShallow(text, 'yaml', source);
  let document: Document;
  try {
    document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, strict: true, version: '1.2', schema: 'core', intAsBigInt });
  } catch (error) {
    throw unreadableYaml(error, source);
  }
  // A warning is an unknown tag or directive: something the author meant that would be dropped.
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) {
    const { line, column } = lineAndColumn(text, problem.pos[0]);
    throw invalidArgument(`${source}, line ${line}, column ${column}: not YAML: ${problem.message}`);
  }
  checkYamlNodes(document, text, source);
  try {
    // An empty file is an empty configuration, as an empty config.pbtxt is.
    return document.toJS({ maxAliasCount: MAX_YAML_ALIASES }) ?? {};
  } catch (error) {
    throw unreadableYaml(error, source);
  }
}

function requireShallow(text: string, format: 'json' | 'yaml', source: string): void {
  if (!isNestedTooDeep(text, format)) return;
  throw invalidArgument(`${source}: nested more than ${MAX_NESTING_DEPTH} deep, and no field of a configuration is`);
}

/** Duplicate keys and too many aliases, in one walk: the library's own check for the former takes seconds on a long map. */
function checkYamlNodes(document: Document, text: string, source: string): void {
  let aliases = 0;
  const refuse = (offset: number | undefined, problem: string): never => {
    const { line, column } = lineAndColumn(text, offset ?? 0);
    throw invalidArgument(`${source}, line ${line}, column ${column}: ${problem}`);
  };
  visit(document, {
    Alias: (_, node) => {
      if (++aliases > MAX_YAML_ALIASES) refuse(node.range?.[0], `expected at most ${MAX_YAML_ALIASES} aliases`);
    },
    Map: (_, map) => {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        if (seen.has(name)) refuse(key.range?.[0], `the key ${JSON.stringify(name)} is given twice in one object; keep one`);
        seen.add(name);
      }
    },
  });
}

/** Nesting too deep for the stack, or too many aliases. */
function unreadableYaml(error: unknown, source: string): InferenceError {
  return invalidArgument(`${source}: not YAML that can be read: ${error instanceof Error ? error.message : String(error)}`);
}

function lineAndColumn(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - (before.lastIndexOf('\n') + 1) + 1 };
}
