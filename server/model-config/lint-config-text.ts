import type { Type } from 'protobufjs';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { ConfigFinding } from './config-finding.ts';
import { type LineOfField, locateConfigFields } from './locate-config-fields.ts';
import { enumValuesOf, messageTypeOf, modelConfigType, protoNameOf } from './model-config-schema.ts';
import { type ConfigFormat, parseConfigText } from './parse-model-config.ts';
import { readConfigObject } from './read-config-object.ts';
import { scanTextFormat, type TextField } from './scan-text-format.ts';

export interface LocatedFinding extends ConfigFinding {
  /** Null: the finding is about the whole. */
  readonly line: number | null;
}

export interface LintedConfig {
  /** What could be read of it, mistakes as unset fields; null: it is no document of its format. */
  readonly config: ModelConfig | null;
  readonly findings: readonly LocatedFinding[];
  readonly lineOf: LineOfField;
}

/**
 * Every mistake of a configuration's text where parseModelConfig throws the first: unknown fields, wrong types, values out of range. What the fields mean is
 * validateModelConfig's to check.
 */
export function lintConfigText(text: string, format: ConfigFormat): LintedConfig {
  const findings: ConfigFinding[] = [];
  const source = 'configuration';
  try {
    // A field that the text format's reader stops at is taken out before.
    const readable = format === 'pbtxt' ? withoutUnreadable(text, findings) : text;
    const config = readConfigObject(parseConfigText(readable, format, source, 'rounded'), source, findings);
    const lineOf = locateConfigFields(text, format);
    return { config, findings: findings.map((finding) => ({ ...finding, line: lineOf(finding.field) })), lineOf };
  } catch (error) {
    if (!(error instanceof InferenceError)) throw error;
    const lineOf = locateConfigFields(text, format);
    const found = findings.map((finding) => ({ ...finding, line: lineOf(finding.field) }));
    const [, line, message = error.message] = /^configuration(?:, line (\d+))?(?:, column \d+)?: (.*)$/s.exec(error.message) ?? [];
    return {
      config: null,
      findings: [...found, { severity: 'error', field: '', line: line === undefined ? null : Number(line), message }],
      lineOf,
    };
  }
}

/** The text with spaces for every field that its message does not have, or whose enum does not have its value; the findings say so. */
function withoutUnreadable(text: string, findings: ConfigFinding[]): string {
  const unreadable: TextField[] = [];
  findUnreadable(modelConfigType, scanTextFormat(text)?.fields ?? [], '', findings, unreadable);
  let readable = text;
  for (const { start, end } of unreadable) {
    readable = readable.slice(0, start) + readable.slice(start, end).replace(/[^\n]/g, ' ') + readable.slice(end);
  }
  return readable;
}

function findUnreadable(type: Type, fields: readonly TextField[], path: string, findings: ConfigFinding[], unreadable: TextField[]): void {
  const counts = new Map<string, number>();
  for (const written of fields) {
    const { name, values } = written;
    const fieldPath = path === '' ? name : `${path}.${name}`;
    const field = type.fieldsArray.find((one) => protoNameOf(one) === name);
    const problem = field === undefined ? unknownField(type, name) : unknownEnumValue(enumValuesOf(field), written);
    if (problem !== null) {
      findings.push({ severity: 'error', field: fieldPath, message: problem });
      unreadable.push(written);
    }
    const inside = field === undefined ? null : messageTypeOf(field);
    if (field === undefined || inside === null) continue;
    for (const value of values) {
      if (value.scalar !== null) continue;
      const index = counts.get(name) ?? 0;
      counts.set(name, index + 1);
      if (field.map) {
        const entry = value.fields.find((one) => one.name === 'value')?.values[0]?.fields ?? [];
        const key = value.fields.find((one) => one.name === 'key')?.values[0]?.scalar ?? '';
        findUnreadable(inside, entry, `${fieldPath}[${JSON.stringify(key)}]`, findings, unreadable);
      } else findUnreadable(inside, value.fields, field.repeated ? `${fieldPath}[${index}]` : fieldPath, findings, unreadable);
    }
  }
}

function unknownField(type: Type, name: string): string {
  const names = type.fieldsArray.map(protoNameOf);
  return `unknown field${didYouMean(name, names) || `; ${type.name} has: ${names.join(', ')}`}`;
}

function unknownEnumValue(enumValues: Readonly<Record<string, number>> | null, { values }: TextField): string | null {
  if (enumValues === null) return null;
  const wrong = values.find(({ scalar }) => scalar !== null && /^[A-Za-z_]/.test(scalar) && !Object.hasOwn(enumValues, scalar))?.scalar;
  if (wrong === undefined || wrong === null) return null;
  const names = Object.keys(enumValues);
  return `expected one of ${names.join(', ')}, got ${wrong}${didYouMean(wrong, names)}`;
}
