import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LlamaAddon } from '../native/llama-addon.ts';
import { loadAddon } from '../native/load-addon.ts';
import { allowedBy } from './allowed-by.case.ts';
import { JSON_OBJECT_GRAMMAR } from './json-primitives.ts';
import { jsonSchemaToGbnf } from './json-schema-to-gbnf.ts';
import { schemaAndValues } from './schema-values.case.ts';

let addon: LlamaAddon;
beforeAll(async () => {
  ({ addon } = await loadAddon(() => {}));
});

function judge(schema: unknown): (text: string) => boolean {
  const grammar = new addon.AddonGrammar(jsonSchemaToGbnf(schema)) as unknown as { isTextCompatible(text: string): boolean };
  return (text) => grammar.isTextCompatible(text);
}

/** What a schema allows and what not, as texts of JSON. */
const examples: readonly { name: string; schema: unknown; yes: readonly string[]; no: readonly string[] }[] = [
  {
    name: 'optional properties and commas',
    schema: { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'string' }, c: { type: 'null' } }, required: ['b'] },
    yes: ['{"b":"x"}', '{"a":1,"b":"x"}', '{"a": 1, "b": "", "c": null}', '{"b":"","c":null}', '{\n  "a": 1,\n  "b": ""\n}'],
    no: ['{}', '{"a":1}', '{,"b":""}', '{"a":1 "b":""}', '{"b":"",}', '{"b":"","a":1}', '{"b":"","d":1}', '{"b":1}', '{"b":""} ', ''],
  },
  {
    name: 'all optional',
    schema: { type: 'object', properties: { a: {}, b: {} } },
    yes: ['{}', '{ }', '{"a":1}', '{"b":[1]}', '{"a":{},"b":2}'],
    no: ['{"b":1,"a":1}', '{,}'],
  },
  {
    name: 'other properties',
    schema: { type: 'object', properties: { ab: { type: 'null' } }, additionalProperties: { type: 'integer' } },
    yes: ['{}', '{"ab":null}', '{"a":1}', '{"ab":null,"a":1,"abc":2,"":3}', '{"é":1}'],
    no: ['{"ab":1}', '{"a":null}', '{"a":1,"ab":2}', '{"\\u0061b":1}'],
  },
  { name: 'no properties', schema: { type: 'object', properties: {} }, yes: ['{}', '{ }'], no: ['{"a":1}'] },
  { name: 'any object', schema: { type: 'object' }, yes: ['{}', '{"a":[1,{"b":null}]}'], no: ['[]', '1'] },
  {
    name: 'counted properties',
    schema: { type: 'object', minProperties: 1, maxProperties: 2 },
    yes: ['{"a":1}', '{"a":1,"b":2}'],
    no: ['{}', '{"a":1,"b":2,"c":3}'],
  },
  {
    name: 'required without properties',
    schema: { type: 'object', required: ['x'] },
    yes: ['{"x":1}', '{"x":"y"}'],
    no: ['{}', '{"y":1}'],
  },
  {
    name: 'recursion by $ref',
    schema: {
      $defs: {
        n: {
          type: 'object',
          properties: { v: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/n' }, { type: 'null' }] } },
          required: ['v', 'next'],
        },
      },
      $ref: '#/$defs/n',
    },
    yes: ['{"v":1,"next":null}', '{"v":1,"next":{"v":2,"next":null}}'],
    no: ['{"v":1}', '{"v":1,"next":{}}'],
  },
  {
    name: 'recursion by #',
    schema: { type: 'object', properties: { c: { type: 'array', items: { $ref: '#' } } } },
    yes: ['{}', '{"c":[{},{"c":[]}]}'],
    no: ['{"c":[1]}'],
  },
  {
    name: 'recursion through allOf',
    schema: {
      definitions: {
        base: { type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] },
        node: { allOf: [{ $ref: '#/definitions/base' }, { properties: { kid: { $ref: '#/definitions/node' } } }] },
      },
      $ref: '#/definitions/node',
    },
    yes: ['{"id":1}', '{"id":1,"kid":{"id":2,"kid":{"id":3}}}'],
    no: ['{}', '{"kid":{"id":1}}', '{"id":1,"kid":{}}'],
  },
  {
    name: 'allOf merges',
    schema: { allOf: [{ type: 'integer', minimum: 3 }, { maximum: 12 }, { type: 'number' }] },
    yes: ['3', '7', '12'],
    no: ['2', '13', '4.5', '-3'],
  },
  {
    name: 'anyOf beside properties',
    schema: {
      type: 'object',
      properties: { a: { type: 'integer' }, b: { type: 'integer' } },
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    yes: ['{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
    no: ['{}'],
  },
  {
    name: 'alternatives that cannot be',
    schema: { type: 'string', anyOf: [{ type: 'integer' }, { const: 'x' }, false] },
    yes: ['"x"'],
    no: ['1', '"y"'],
  },
  {
    name: 'enum beside a pattern of another type',
    schema: { enum: [1, 'a', null], type: ['integer', 'null'], pattern: 'x', properties: {} },
    yes: ['1', 'null'],
    no: ['"a"'],
  },
  { name: 'oneOf', schema: { oneOf: [{ type: 'string' }, { const: 5 }] }, yes: ['"a"', '5'], no: ['6'] },
  { name: 'const object', schema: { const: { a: [1, 'x'] } }, yes: ['{"a":[1,"x"]}'], no: ['{}', '{"a":[1]}'] },
  {
    name: 'enum narrowed by type',
    schema: { type: 'string', enum: ['a', 1, 'ab', null] },
    yes: ['"a"', '"ab"'],
    no: ['1', 'null', '"', '"b"'],
  },
  {
    name: 'items',
    schema: { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 },
    yes: ['[1,2]', '[1, 2, 3]'],
    no: ['[]', '[1]', '[1,2,3,4]', '[1,2,]'],
  },
  { name: 'no items', schema: { type: 'array', maxItems: 0 }, yes: ['[]', '[ ]'], no: ['[1]'] },
  {
    name: 'prefixItems',
    schema: { type: 'array', prefixItems: [{ type: 'integer' }, { type: 'string' }], items: { type: 'null' }, minItems: 1 },
    yes: ['[1]', '[1,"a"]', '[1,"a",null,null]'],
    no: ['[]', '["a"]', '[1,null]', '[1,"a",1]'],
  },
  {
    name: 'string lengths',
    schema: { type: 'string', minLength: 2, maxLength: 3 },
    yes: ['"ab"', '"a\\n"', '"é😀x"'],
    no: ['"a"', '"abcd"', '"\\ud83d\\ude00"'],
  },
  {
    name: 'long strings',
    schema: { type: 'string', minLength: 1500, maxLength: 5000 },
    yes: [`"${'x'.repeat(1500)}"`, `"${'x'.repeat(3333)}"`, `"${'x'.repeat(5000)}"`],
    no: [`"${'x'.repeat(1499)}"`, `"${'x'.repeat(5001)}"`],
  },
  { name: 'pattern anywhere', schema: { type: 'string', pattern: 'b+' }, yes: ['"b"', '"abbc"'], no: ['"a"', '""'] },
  {
    name: 'pattern, anchored',
    schema: { type: 'string', pattern: '^\\d{3}-[A-Z]+$' },
    yes: ['"123-AB"'],
    no: ['"123-"', '"x123-A"', '"123-a"'],
  },
  { name: 'pattern with quotes', schema: { type: 'string', pattern: '^["\\\\]$' }, yes: ['"\\""', '"\\\\"'], no: ['"""', '"\\"', '"a"'] },
  { name: 'date', schema: { type: 'string', format: 'date' }, yes: ['"2024-02-29"'], no: ['"2024-13-01"', '"2024-1-1"', '"x"'] },
  { name: 'an unknown format', schema: { type: 'string', format: 'email' }, yes: ['"anything"'], no: ['1'] },
  {
    name: 'an integer range',
    schema: { type: 'integer', minimum: -12, exclusiveMaximum: 105 },
    yes: ['-12', '-1', '0', '9', '10', '99', '104'],
    no: ['-13', '105', '1000', '-0', '01'],
  },
  { name: 'an integer from', schema: { type: 'integer', minimum: 42 }, yes: ['42', '50', '100', '999999'], no: ['41', '5', '-42'] },
  {
    name: 'a number range',
    schema: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
    yes: ['0.5', '1', '1.0', '0.001'],
    no: ['0', '0.0', '1.1', '-0.1', '2'],
  },
  { name: 'true', schema: true, yes: ['1', '{"a":[]}', '"x"'], no: ['', 'x'] },
  { name: 'types', schema: { type: ['string', 'null'], minLength: 1 }, yes: ['null', '"a"'], no: ['""', '1'] },
];

const refused: readonly (readonly [unknown, RegExp])[] = [
  [false, /^json_schema: #: no value is allowed here/],
  ['{', /^json_schema: #: not JSON/],
  [5, /^json_schema: #: expected a schema/],
  [{ type: 'strin' }, /^json_schema: #\/type: expected object, array, string/],
  [{ type: 'object', properties: { a: { items: 3, type: 'array' } } }, /^json_schema: #\/properties\/a\/items: expected a schema/],
  [
    { type: 'object', properties: { 'a/b': { not: {} } }, required: ['a/b'] },
    /^json_schema: #\/properties\/a~1b\/not: 'not' cannot become a grammar/,
  ],
  [{ anyOf: [{}, {}], not: {} }, /#\/not/],
  [{ type: 'object', propertys: {} }, /#\/propertys: unknown keyword 'propertys'; did you mean 'properties'\?/],
  [{ $ref: 'https://example.com/x.json' }, /#\/\$ref: 'https:\/\/example.com\/x.json' is not supported: only references inside/],
  [{ $ref: '#/$defs/x', $defs: {} }, /points at nothing: #\/\$defs has no 'x'/],
  [{ $ref: '#' }, /it refers to itself with no object or array between/],
  [{ anyOf: [{ type: 'null' }, { $ref: '#' }] }, /refers to itself/],
  [{ allOf: [{ type: 'string' }, { $ref: '#' }, { type: 'integer' }] }, /types exclude each other/],
  [{ type: 'string', pattern: '(?=a)b' }, /#\/pattern: .*lookaround/],
  [{ type: 'string', pattern: '(a)\\1' }, /#\/pattern: \\1/],
  [
    { anyOf: Array.from({ length: 500 }, (_, i) => ({ type: 'integer', minimum: i, maximum: 1e9 + i * 1234567 })) },
    /#: its alternatives begin in too many ways/,
  ],
  [{ type: 'string', pattern: '(a|b)*a(a|b){12}' }, /#\/pattern: too many ways/],
  [{ type: 'string', pattern: '[' }, /#\/pattern: not a regular expression/],
  [{ type: 'string', maxLength: 1e9 }, /#\/maxLength: expected a whole number from 0 to 100000, got 1000000000/],
  [{ type: 'string', minLength: 3, maxLength: 2 }, /maxLength 2 is below minLength 3/],
  [{ type: 'array', minItems: -1 }, /#\/minItems/],
  [{ type: 'number', minimum: 0.5 }, /#\/minimum: bounds of numbers that are not whole/],
  [{ type: 'integer', minimum: 5, maximum: 4 }, /no integer lies between/],
  [{ type: 'array', uniqueItems: true }, /#\/uniqueItems/],
  [{ enum: [] }, /#\/enum: expected an array of values/],
  [{ enum: ['a'], pattern: 'a' }, /#\/pattern: 'pattern' beside enum/],
  [{ type: 'integer', enum: ['a'] }, /none of the values/],
  [{ type: 'object', properties: { a: {} }, required: [1] }, /#\/required\/0/],
  [{ type: 'object', properties: { a: false }, required: ['a'] }, /#\/properties\/a: no value/],
  [Array.from({ length: 600 }).reduce((inner) => ({ items: inner }), {}), /nested more than/],
  [{ properties: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, {}])) }, /2000 properties; at most 1000/],
  [{ description: 'x'.repeat(300_000) }, /at most 262144/],
];

/** A recursive choice of objects, each with these properties; `self` is the choice. */
function choiceOf(...alternatives: readonly Record<string, unknown>[]): unknown {
  const anyOf = alternatives.map((properties) => ({ type: 'object', properties, required: Object.keys(properties) }));
  return { $ref: '#/$defs/n', $defs: { n: { anyOf: [...anyOf, { type: 'null' }] } } };
}
const self = { $ref: '#/$defs/n' };

describe('jsonSchemaToGbnf', () => {
  it('takes recursive alternatives that can be told apart before they contain themselves', () => {
    const nested = (alternatives: unknown, open: string, close: string): boolean =>
      judge(alternatives)(`${open.repeat(40)}null${close.repeat(40)}`);
    expect(nested(choiceOf({ k: { const: 1 }, a: self }, { k: { const: 2 }, a: self }), '{"k":2,"a":', '}')).toBe(true);
    expect(nested(choiceOf({ a: self }, { b: self }), '{"b":', '}')).toBe(true);
    expect(nested(choiceOf({ t: { type: 'string' }, a: self }, { t: { type: 'string' }, b: self }), '{"t":"x","b":', '}')).toBe(true);
    const binary = choiceOf({ left: self, right: self }, { value: { type: 'integer' } }, { value: { type: 'string' } });
    expect(judge(binary)('{"left":{"value":1},"right":{"left":{"value":"x"},"right":null}}')).toBe(true);
    const value = {
      anyOf: [{ type: 'string' }, { type: 'array', items: { $ref: '#' } }, { type: 'object', additionalProperties: { $ref: '#' } }],
    };
    expect(nested(value, '{"x":[', ']}')).toBe(false);
    expect(judge(value)(`${'{"x":['.repeat(40)}"y"${']}'.repeat(40)}`)).toBe(true);
  });

  it('refuses those that cannot: each level would double the work', () => {
    const message = /^json_schema: #\/\$defs\/n: two alternatives that contain themselves begin alike/;
    expect(() => jsonSchemaToGbnf(choiceOf({ a: self, k: { const: 1 } }, { a: self, k: { const: 2 } }))).toThrow(message);
    expect(() => jsonSchemaToGbnf(choiceOf({ t: {}, a: self }, { t: {}, b: self }))).toThrow(message);
    const arrays = {
      $ref: '#/$defs/n',
      $defs: {
        n: {
          anyOf: [
            { type: 'array', items: self },
            { type: 'array', items: self, maxItems: 3 },
          ],
        },
      },
    };
    expect(() => jsonSchemaToGbnf(arrays)).toThrow(message);
    const optional = {
      $defs: {
        n: {
          anyOf: [
            { type: 'object', properties: { a: self, b: self } },
            { type: 'object', properties: { b: self } },
          ],
        },
      },
      $ref: '#/$defs/n',
    };
    expect(() => jsonSchemaToGbnf(optional)).toThrow(message);
  });

  for (const { name, schema, yes, no } of examples) {
    it(name, () => {
      const accepts = judge(schema);
      expect(yes.filter((text) => !accepts(text))).toEqual([]);
      expect(no.filter(accepts)).toEqual([]);
    });
  }

  for (const [schema, message] of refused) {
    it(`refuses ${(JSON.stringify(schema) ?? '').slice(0, 60)}`, () => {
      expect(() => jsonSchemaToGbnf(schema)).toThrow(message);
      expect(() => jsonSchemaToGbnf(schema)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    });
  }

  it('accepts what random schemas allow, however it is indented', () => {
    let cases = 0;
    fc.assert(
      fc.property(
        schemaAndValues(2).chain(({ schema, values }) => fc.tuple(fc.constant(schema), fc.array(values, { minLength: 1, maxLength: 4 }))),
        ([schema, values]) => {
          fc.pre(expressible(schema));
          const accepts = judge(schema);
          for (const value of values) {
            expect(allowedBy(schema, value)).toBe(true);
            for (const text of [JSON.stringify(value), JSON.stringify(value, null, 2)]) {
              if (hasEnum(schema) && text.includes('\n')) continue;
              cases++;
              if (!accepts(text)) throw new Error(`${JSON.stringify(schema)} does not accept ${text}\n${jsonSchemaToGbnf(schema)}`);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(cases).toBeGreaterThan(300);
  });

  it('accepts nothing that random schemas do not allow', () => {
    let rejected = 0;
    fc.assert(
      fc.property(
        schemaAndValues(2).chain(({ schema }) =>
          fc.tuple(
            fc.constant(schema),
            fc.array(
              schemaAndValues(1).chain(({ values }) => values),
              { minLength: 3, maxLength: 8 },
            ),
          ),
        ),
        ([schema, values]) => {
          fc.pre(expressible(schema));
          const accepts = judge(schema);
          for (const value of values) {
            const text = JSON.stringify(value);
            if (!accepts(text)) rejected++;
            else if (!allowedBy(schema, JSON.parse(text))) throw new Error(`${JSON.stringify(schema)} accepts ${text}`);
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(rejected).toBeGreaterThan(200);
  });

  it('what a changed text of it is still accepted is JSON', () => {
    fc.assert(
      fc.property(
        schemaAndValues(2).chain(({ schema, values }) => fc.tuple(fc.constant(schema), values)),
        fc.nat(),
        fc.constantFrom('', ',', '"', '}', ']', '0', '-', ' ', '\\', 'e'),
        ([schema, value], place, inserted) => {
          const whole = JSON.stringify(value);
          const at = place % (whole.length + 1);
          const text = whole.slice(0, at) + inserted + whole.slice(inserted === '' ? at + 1 : at);
          if (!expressible(schema) || !judge(schema)(text)) return;
          expect(allowedBy(schema, JSON.parse(text)), `${JSON.stringify(schema)} accepts ${text}`).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('answers soon whatever the schema', () => {
    const chain = Object.fromEntries(
      Array.from({ length: 24 }, (_, i) => [
        `d${i}`,
        { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { const: i }] }] },
      ]),
    );
    const wide = { anyOf: Array.from({ length: 60 }, (_, i) => ({ const: i })) };
    const started = performance.now();
    expect(() => jsonSchemaToGbnf({ $ref: '#/$defs/d0', $defs: { ...chain, d24: { type: 'null' } } })).toThrow(/too many ways/);
    expect(() => jsonSchemaToGbnf({ allOf: Array.from({ length: 8 }, () => wide) })).toThrow(/more than 5000 schemas/);
    expect(() =>
      jsonSchemaToGbnf({
        type: 'object',
        properties: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`p${i}`, { type: 'string', maxLength: 500 + i }])),
      }),
    ).toThrow(/too large/);
    expect(performance.now() - started).toBeLessThan(3000);
    expect(judge({ enum: Array.from({ length: 4000 }, (_, i) => `value ${i}`) })('"value 3999"')).toBe(true);
    expect(
      judge({ type: 'object', properties: Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`p${i}`, {}])) })(
        '{"p7":1,"p998":{}}',
      ),
    ).toBe(true);
  });

  it('any object', () => {
    const grammar = new addon.AddonGrammar(JSON_OBJECT_GRAMMAR) as unknown as { isTextCompatible(text: string): boolean };
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
        const text = JSON.stringify(value, (_, inner) => (typeof inner === 'number' ? Math.round(inner) % 1e9 : inner));
        expect(grammar.isTextCompatible(`{"a":${text}}`)).toBe(true);
        expect(grammar.isTextCompatible(text)).toBe(text.startsWith('{'));
      }),
    );
  });
});

/** Values of enum and const are compact. */
function hasEnum(schema: unknown): boolean {
  return JSON.stringify(schema).includes('"enum"');
}

/** allOf may bring a pattern and a length together. */
function expressible(schema: unknown): boolean {
  try {
    jsonSchemaToGbnf(schema);
    return true;
  } catch (error) {
    if (
      JSON.stringify(schema).includes('"allOf"') &&
      /cannot become a grammar together|two different|beside enum or const/.test(String(error))
    )
      return false;
    throw error;
  }
}
