/** Whether JSON Schema allows a value: a judge of its own for tests, of the keywords that schema-values.case.ts makes. */
export function allowedBy(schema: unknown, value: unknown): boolean {
  if (typeof schema === 'boolean') return schema;
  const s = schema as Record<string, unknown>;
  const number = (key: string): number | undefined => s[key] as number | undefined;
  if (s['enum'] !== undefined && !(s['enum'] as unknown[]).some((one) => JSON.stringify(one) === JSON.stringify(value))) return false;
  if (s['anyOf'] !== undefined && !(s['anyOf'] as unknown[]).some((one) => allowedBy(one, value))) return false;
  if (s['allOf'] !== undefined && !(s['allOf'] as unknown[]).every((one) => allowedBy(one, value))) return false;
  if (s['type'] !== undefined && ![s['type']].flat().some((type) => isOf(type as string, value))) return false;
  if (typeof value === 'string') {
    const length = [...value].length;
    if (length < (number('minLength') ?? 0) || length > (number('maxLength') ?? length)) return false;
    if (s['pattern'] !== undefined && !new RegExp(s['pattern'] as string, 'u').test(value)) return false;
    if (s['format'] === 'uuid' && !/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(value)) return false;
    if (s['format'] === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:\d\d)$/.test(value)) return false;
  }
  if (typeof value === 'number' && (value < (number('minimum') ?? value) || value > (number('maximum') ?? value))) return false;
  if (Array.isArray(value)) {
    if (value.length < (number('minItems') ?? 0) || value.length > (number('maxItems') ?? value.length)) return false;
    const prefix = (s['prefixItems'] ?? []) as unknown[];
    return value.every((item, i) => allowedBy(i < prefix.length ? prefix[i] : (s['items'] ?? true), item));
  }
  if (typeof value === 'object' && value !== null) {
    const properties = (s['properties'] ?? {}) as Record<string, unknown>;
    if (!((s['required'] ?? []) as string[]).every((name) => Object.hasOwn(value, name))) return false;
    return Object.entries(value).every(([name, inner]) =>
      allowedBy(Object.hasOwn(properties, name) ? properties[name] : (s['additionalProperties'] ?? true), inner),
    );
  }
  return true;
}

function isOf(type: string, value: unknown): boolean {
  switch (type) {
    case 'integer':
      return Number.isInteger(value);
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    default:
      return typeof value === type;
  }
}
