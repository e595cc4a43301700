import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { configSchemaFile } from './config-schema-file.ts';
import { encodeModelConfig } from './model-config/encode-model-config.ts';
import { anyModelConfig } from './model-config/model-config.case.ts';
import { type ConfigFormat, parseConfigDocument } from './model-config/parse-model-config.ts';

const root = join(import.meta.dirname, '..');
const file = readFileSync(join(root, 'docs/model-config.schema.json'), 'utf8');
const schema: Schema = JSON.parse(file);

interface Schema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly propertyNames?: { readonly pattern: string };
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly not?: Schema;
  readonly required?: readonly string[];
  readonly $ref?: string;
  readonly definitions?: Readonly<Record<string, Schema>>;
  readonly description?: string;
  readonly deprecationMessage?: string;
}

const keywords = new Set(
  'type properties additionalProperties propertyNames items enum minimum maximum pattern allOf anyOf not required $ref description deprecationMessage definitions $schema title'.split(
    ' ',
  ),
);

/** The keywords that the schema uses, as draft 7 defines them; any other is an error. */
function mistakes(value: unknown, rule: Schema, path: string): string[] {
  const unknown = Object.keys(rule).filter((keyword) => !keywords.has(keyword));
  if (unknown.length > 0) throw new Error(`no check for ${unknown.join(', ')}`);
  if (rule.$ref !== undefined) return mistakes(value, schema.definitions![rule.$ref.replace('#/definitions/', '')]!, path);
  const found: string[] = [];
  const types = [rule.type ?? []].flat();
  const type = Array.isArray(value)
    ? 'array'
    : value === null
      ? 'null'
      : Number.isInteger(value) && types.includes('integer')
        ? 'integer'
        : typeof value;
  if (types.length > 0 && !types.includes(type)) return [`${path}: ${type} is not ${types.join(' or ')}`];
  if (rule.enum !== undefined && !rule.enum.includes(value)) found.push(`${path}: not one of the enum`);
  if (typeof value === 'number' && (value < (rule.minimum ?? value) || value > (rule.maximum ?? value)))
    found.push(`${path}: out of range`);
  if (typeof value === 'string' && rule.pattern !== undefined && !new RegExp(rule.pattern).test(value)) found.push(`${path}: pattern`);
  if (Array.isArray(value)) for (const [index, one] of value.entries()) found.push(...mistakes(one, rule.items ?? {}, `${path}[${index}]`));
  else if (typeof value === 'object' && value !== null) {
    for (const [name, one] of Object.entries(value)) {
      const known =
        rule.properties !== undefined && Object.hasOwn(rule.properties, name) ? rule.properties[name] : rule.additionalProperties;
      if (known === false) found.push(`${path}.${name}: unknown`);
      else if (typeof known === 'object') found.push(...mistakes(one, known, `${path}.${name}`));
      if (rule.propertyNames !== undefined && !new RegExp(rule.propertyNames.pattern).test(name)) found.push(`${path}.${name}: name`);
    }
    for (const name of rule.required ?? []) if (!Object.hasOwn(value, name)) found.push(`${path}.${name}: missing`);
  }
  for (const one of rule.allOf ?? []) found.push(...mistakes(value, one, path));
  const choices = (rule.anyOf ?? []).map((one) => mistakes(value, one, path));
  if (choices.length > 0 && choices.every((list) => list.length > 0)) found.push(...choices[0]!);
  if (rule.not !== undefined && mistakes(value, rule.not, path).length === 0) found.push(`${path}: has what must not be together`);
  return found;
}

const check = (text: string, format: ConfigFormat): string[] => mistakes(parseConfigDocument(text, format, 'c'), schema, '');

describe('docs/model-config.schema.json', () => {
  test('is current: node dist/server/config-schema-file.js docs/model-config.schema.json', () => {
    expect(configSchemaFile(readFileSync(join(root, 'proto/model_config.proto'), 'utf8'))).toBe(file);
  });

  test('holds for every example configuration', () => {
    const repository = join(root, 'model-repository');
    const configOf = (name: string): string | undefined => readdirSync(join(repository, name)).find((one) => one.startsWith('config.'));
    // Models that are code may say it there.
    const names = readdirSync(repository).filter((name) => configOf(name) !== undefined);
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) {
      const config = configOf(name)!;
      const format = config.slice('config.'.length) as ConfigFormat;
      const text = readFileSync(join(repository, name, config), 'utf8');
      expect(check(text, format), name).toEqual([]);
      const reference = /^# yaml-language-server: \$schema=(\S+)\n/.exec(text)?.[1];
      if (format === 'yaml') expect(readFileSync(join(repository, name, reference!), 'utf8')).toBe(file);
    }
    const page = readFileSync(join(root, 'docs/model-configuration.md'), 'utf8');
    const examples = [...page.matchAll(/```(pbtxt|json|yaml)\n([\s\S]*?)```/g)];
    expect(examples.length).toBeGreaterThan(2);
    for (const [, format, text] of examples) expect(check(text!, format as ConfigFormat)).toEqual([]);
  });

  test('holds for everything that the reader reads', () => {
    fc.assert(
      fc.property(anyModelConfig, (config) => {
        expect(mistakes(JSON.parse(JSON.stringify(encodeModelConfig(config))), schema, '')).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test.each([
    [{ max_batchsize: 4 }, '.max_batchsize: unknown'],
    [{ max_batch_size: 2 ** 31 }, '.max_batch_size: out of range'],
    [{ max_batch_size: 1.5 }, '.max_batch_size: number is not integer or string'],
    [{ max_batch_size: '1.5' }, '.max_batch_size: pattern'],
    [{ input: { name: 'X' } }, '.input: object is not array'],
    [{ input: [{ data_type: 'TYPE_FLOAT' }] }, '.input[0].data_type: not one of the enum'],
    [{ dynamic_batching: null }, '.dynamic_batching: null is not object'],
    [{ dynamic_batching: {}, sequence_batching: {} }, ': has what must not be together'],
    [{ version_labels: { a: 'x' } }, '.version_labels.a: pattern'],
    [{ dynamic_batching: { priority_queue_policy: { a: {} } } }, '.dynamic_batching.priority_queue_policy.a: name'],
  ])('finds the mistake in %j', (config, mistake) => {
    expect(mistakes(config, schema, '')).toContain(mistake);
  });

  test('describes fields by the comments of the .proto file and by what this server does with them', () => {
    expect(schema.properties!['max_batch_size']!.description).toMatch(/^0 = no batch dimension\./);
    expect(schema.definitions!['ModelInstanceGroup']!.properties!['gpus']).toMatchObject({
      description: expect.stringContaining('Not supported: '),
      deprecationMessage: expect.stringContaining('Not supported: '),
    });
    expect(schema.definitions!['ModelInstanceGroup']!.properties!['kind']!.description).toContain('KIND_MODEL: The model places itself.');
  });
});
