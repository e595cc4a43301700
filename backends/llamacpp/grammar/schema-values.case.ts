import fc from 'fast-check';

/** A schema and values that it allows, made together. */
export interface SchemaAndValues {
  readonly schema: Record<string, unknown>;
  readonly values: fc.Arbitrary<unknown>;
}

const text = fc.oneof(
  fc.string({ maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 5 }),
  fc.constantFrom('"', '\\', '\n', 'é\u0001', '😀', '</s>'),
);
const finite = fc.double({ min: -1e9, max: 1e9, noNaN: true }).map((value) => Math.round(value * 1000) / 1000);

const scalar: fc.Arbitrary<SchemaAndValues> = fc.oneof(
  fc.constant({ schema: { type: 'string' }, values: text }),
  fc.constant({ schema: { type: 'boolean', title: 'a note' }, values: fc.boolean() }),
  fc.constant({ schema: { type: 'null' }, values: fc.constant(null) }),
  fc.constant({ schema: { type: 'number' }, values: finite }),
  fc.constant({ schema: { type: ['integer', 'null'] }, values: fc.option(fc.maxSafeInteger()) }),
  fc.constant({ schema: {}, values: fc.jsonValue({ maxDepth: 1, noUnicodeString: true }).map(withoutExtremes) }),
  fc.uniqueArray(fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null)), { minLength: 1, maxLength: 6 }).map((values) => ({
    schema: { enum: values },
    values: fc.constantFrom(...values),
  })),
  fc.tuple(fc.integer({ min: -5000, max: 5000 }), fc.nat(3000)).map(([minimum, more]) => ({
    schema: { type: 'integer', minimum, maximum: minimum + more },
    values: fc.integer({ min: minimum, max: minimum + more }),
  })),
  fc.tuple(fc.integer({ min: -50, max: 50 }), fc.nat(60), fc.boolean()).map(([minimum, more, open]) => ({
    schema: open ? { type: 'number', minimum } : { type: 'number', minimum, maximum: minimum + more },
    values: finite
      .map((value) => minimum + Math.round((Math.abs(value) % (open ? 1e6 : more + 1e-9)) * 100) / 100)
      .map((value) => Math.min(value, open ? value : minimum + more)),
  })),
  fc.tuple(fc.nat(3), fc.nat(4)).map(([minLength, more]) => ({
    schema: { type: 'string', minLength, maxLength: minLength + more },
    values: fc
      .array(fc.constantFrom('a', 'é', '😀', '"', '\\', '\n'), { minLength, maxLength: minLength + more })
      .map((letters) => letters.join('')),
  })),
  fc.constant({ schema: { type: 'string', format: 'uuid' }, values: fc.uuid() }),
  fc.constant({
    schema: { type: 'string', format: 'date-time' },
    values: fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }).map((date) => date.toISOString()),
  }),
  fc
    .constantFrom('^[a-z]{2,5}-\\d+$', '^(foo|ba[rz])?\\w*$', '^\\S+@\\S+\\.(com|org)$', 'a"b', '^[^"\\\\]{1,3}$', '^\\\\n')
    .map((pattern) => ({
      schema: { type: 'string', pattern },
      values: fc
        .stringMatching(new RegExp(pattern))
        .map((value) => withoutControls(value))
        .filter((value) => new RegExp(pattern).test(value)),
    })),
);

/** Nested some levels deep. */
export function schemaAndValues(depth: number): fc.Arbitrary<SchemaAndValues> {
  if (depth === 0) return scalar;
  const inner = schemaAndValues(depth - 1);
  const array = fc.tuple(inner, fc.nat(2), fc.nat(3)).map(([item, minItems, more]) => ({
    schema: { type: 'array', items: item.schema, minItems, ...(more === 3 ? {} : { maxItems: minItems + more }) },
    values: fc.array(item.values, { minLength: minItems, maxLength: minItems + more }) as fc.Arbitrary<unknown>,
  }));
  const tuple = fc.array(inner, { minLength: 1, maxLength: 3 }).map((items) => ({
    schema: { type: 'array', prefixItems: items.map((item) => item.schema), items: false },
    values: fc
      .tuple(fc.tuple(...items.map((item) => item.values)), fc.nat(items.length))
      .map(([values, length]) => values.slice(0, length)) as fc.Arbitrary<unknown>,
  }));
  const object = fc
    .tuple(
      fc.uniqueArray(fc.oneof(fc.constantFrom('a', 'ab', 'abc', 'b"', 'type'), fc.string({ minLength: 1, maxLength: 4 })), {
        maxLength: 5,
      }),
      fc.array(inner, { minLength: 5, maxLength: 5 }),
      fc.nat(31),
      fc.boolean(),
    )
    .map(([names, members, needed, open]) => {
      // Numbers as names would change places in a JavaScript object.
      const safe = names.map((name) => (/^\d+$/.test(name) || name === '__proto__' ? `n${name}` : name));
      const required = safe.filter((_, i) => (needed >> i) & 1);
      const record = Object.fromEntries(safe.map((name, i) => [name, members[i]!.values]));
      const more = open
        ? fc.dictionary(fc.constantFrom('x', 'a', 'abcd', 'typ', 'other'), fc.integer({ min: 0, max: 9 }), { maxKeys: 2 })
        : fc.constant({});
      return {
        schema: {
          type: 'object',
          properties: Object.fromEntries(safe.map((name, i) => [name, members[i]!.schema])),
          required,
          additionalProperties: open ? { type: 'integer' } : false,
        },
        values: fc
          .tuple(fc.record(record, { requiredKeys: required }), more)
          .map(([own, others]) => inOrder(safe, own, others)) as fc.Arbitrary<unknown>,
      };
    });
  const either = fc.array(inner, { minLength: 1, maxLength: 3 }).map((options) => ({
    schema: { anyOf: options.map((option) => option.schema) },
    values: fc.oneof(...options.map((option) => option.values)),
  }));
  const both = inner.map((one) => ({ schema: { allOf: [one.schema, one.schema, true] }, values: one.values }));
  const referred = inner
    .map((one) => ({ schema: { $ref: '#/$defs/never' }, values: one.values, inner: one.schema }))
    .map(({ values, inner: schema }) => ({ schema, values }));
  return fc.oneof({ weight: 1, arbitrary: scalar }, array, tuple, { weight: 3, arbitrary: object }, either, both, referred);
}

function inOrder(names: readonly string[], own: Record<string, unknown>, others: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const name of names) if (Object.hasOwn(own, name)) out[name] = own[name];
  for (const [name, value] of Object.entries(others)) if (!names.includes(name)) out[name] = value;
  return out;
}

/** Numbers that JSON writes with three digits of exponent are not in the grammar. */
function withoutExtremes(value: unknown): unknown {
  if (typeof value === 'number') return Math.round(value) % 1_000_000;
  if (Array.isArray(value)) return value.map(withoutExtremes);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutExtremes(inner)]));
  return value;
}

/** Those that JSON has no short escape for are not in the grammar of a pattern. */
function withoutControls(text: string): string {
  return [...text].filter((character) => character >= ' ' || '\b\t\n\f\r'.includes(character)).join('');
}
