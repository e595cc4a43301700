import { beforeAll, describe, expect, it } from 'vitest';
import type { LlamaAddon } from '../native/llama-addon.ts';
import { loadAddon } from '../native/load-addon.ts';
import { jsonSchemaToGbnf } from './json-schema-to-gbnf.ts';

let addon: LlamaAddon;
beforeAll(async () => {
  ({ addon } = await loadAddon(() => {}));
});

const examples: readonly { name: string; schema: unknown; yes: readonly string[]; no: readonly string[] }[] = [
  {
    name: 'unevaluated properties, which are the additional ones',
    schema: { type: 'object', properties: { a: { type: 'null' } }, unevaluatedProperties: { type: 'integer' } },
    yes: ['{}', '{"a":null,"b":1}'],
    no: ['{"a":1}', '{"b":null}'],
  },
  {
    name: 'no unevaluated properties, in what allOf merges',
    schema: {
      allOf: [{ type: 'object', required: ['a'] }, { properties: { b: { type: 'null' } } }, { unevaluatedProperties: true }],
      unevaluatedProperties: false,
    },
    yes: ['{"b":null,"a":1}'],
    no: ['{"a":1,"c":1}', '{"b":null}'],
  },
  {
    name: 'no unevaluated properties, where there are none',
    schema: { allOf: [{ properties: { a: {} } }, { unevaluatedProperties: false }] },
    yes: ['{}'],
    no: ['{"a":1}'],
  },
  {
    name: 'unevaluated items, which are the others',
    schema: { prefixItems: [{ type: 'string' }], unevaluatedItems: false },
    yes: ['[]', '["a"]'],
    no: ['["a","b"]', '[1]'],
  },
];

describe('unevaluatedProperties and unevaluatedItems', () => {
  it.each(examples)('$name', ({ schema, yes, no }) => {
    const grammar = new addon.AddonGrammar(jsonSchemaToGbnf(schema)) as unknown as { isTextCompatible(text: string): boolean };
    expect(yes.filter((text) => !grammar.isTextCompatible(text))).toEqual([]);
    expect(no.filter((text) => grammar.isTextCompatible(text))).toEqual([]);
  });

  it.each<[unknown, RegExp]>([
    [
      { allOf: [{ prefixItems: [true] }], unevaluatedItems: false },
      /#\/unevaluatedItems: 'unevaluatedItems' beside .* cannot become a grammar/,
    ],
    [
      { anyOf: [{ properties: { a: {} } }], unevaluatedProperties: { type: 'string' } },
      /#\/unevaluatedProperties: 'unevaluatedProperties' beside/,
    ],
    [{ type: 'array', unevaluatedItems: 5 }, /#\/unevaluatedItems: expected a schema/],
  ])('refuses %j', (schema, message) => {
    expect(() => jsonSchemaToGbnf(schema)).toThrow(message);
  });
});
