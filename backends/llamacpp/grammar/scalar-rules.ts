import { alternatives, type GrammarRules } from './grammar-rules.ts';
import type { MergedSchema } from './merge-keywords.ts';
import { integerRange, MAX_BOUND, NUMBER_RANGE_RULES, numberRange } from './number-range.ts';
import { RegexUnsupported } from './regex-parser.ts';
import { patternRule } from './regex-to-gbnf.ts';
import { type SchemaErrors, step } from './schema-limits.ts';
import { Unsatisfiable } from './schema-parts.ts';

/** Others are notes, as JSON Schema has it. A date's day may be 31 in any month. */
const FORMATS: Readonly<Record<string, readonly string[]>> = {
  date: ['date'],
  time: ['time'],
  'date-time': ['date', '"T"', 'time'],
  uuid: ['hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}'],
  ipv4: ['octet "." octet "." octet "." octet'],
};

const FORMAT_RULES: Readonly<Record<string, string>> = {
  date: '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])',
  clock: '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]',
  time: 'clock ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [-+] clock)',
  octet: '"25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9]',
};

/** Without \u escapes: two of those may be one character. */
const COUNTED: Readonly<Record<string, string>> = { 'counted-char': '[^"\\\\\\x00-\\x1f] | "\\\\" ["\\\\/bfnrt]' };

export function stringRule(schema: MergedSchema, rules: GrammarRules, errors: SchemaErrors): string {
  const { minLength, maxLength, pattern, pointer } = schema;
  const format = schema.format !== null && Object.hasOwn(FORMATS, schema.format) ? schema.format : null;
  const counted = minLength > 0 || maxLength !== null;
  if (maxLength !== null && maxLength < minLength)
    throw new Unsatisfiable(pointer, `maxLength ${maxLength} is below minLength ${minLength}`);
  if ([pattern !== null, format !== null, counted].filter(Boolean).length > 1) {
    throw errors.at(
      pointer,
      'pattern, format and minLength or maxLength of one string cannot become a grammar together; say it all in the pattern',
    );
  }
  if (format !== null) {
    rules.addNamed(FORMAT_RULES);
    return rules.add(`"\\"" ${FORMATS[format]!.join(' ')} "\\""`);
  }
  if (pattern !== null) {
    try {
      return patternRule(pattern, rules);
    } catch (error) {
      if (error instanceof RegexUnsupported) throw errors.at(step(pointer, 'pattern'), error.message);
      throw error;
    }
  }
  if (!counted) return 'string';
  rules.addNamed(COUNTED);
  return rules.add(`"\\"" ${rules.repeat('counted-char', minLength, maxLength)} "\\""`);
}

export function numberRule(schema: MergedSchema, integer: boolean, rules: GrammarRules, errors: SchemaErrors): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, pointer } = schema;
  if (minimum === null && maximum === null && exclusiveMinimum === null && exclusiveMaximum === null) return integer ? 'integer' : 'number';
  const minExcluded = exclusiveMinimum !== null && (minimum === null || exclusiveMinimum >= minimum);
  const maxExcluded = exclusiveMaximum !== null && (maximum === null || exclusiveMaximum <= maximum);
  let min = minExcluded ? exclusiveMinimum : minimum;
  let max = maxExcluded ? exclusiveMaximum : maximum;
  for (const [bound, keyword] of [
    [min, minExcluded ? 'exclusiveMinimum' : 'minimum'],
    [max, maxExcluded ? 'exclusiveMaximum' : 'maximum'],
  ] as const) {
    if (bound === null) continue;
    if (!integer && !Number.isInteger(bound))
      throw errors.at(step(pointer, keyword), `bounds of numbers that are not whole cannot become a grammar, got ${bound}`);
    if (!(Math.abs(bound) <= MAX_BOUND))
      throw errors.at(step(pointer, keyword), `expected a bound from -${MAX_BOUND} to ${MAX_BOUND}, got ${bound}`);
  }
  if (integer) {
    if (min !== null) min = minExcluded ? Math.floor(min) + 1 : Math.ceil(min);
    if (max !== null) max = maxExcluded ? Math.ceil(max) - 1 : Math.floor(max);
    if (min !== null && max !== null && min > max) throw new Unsatisfiable(pointer, 'no integer lies between its bounds');
    return rules.add(integerRange(min, max).join(' | '));
  }
  if (min !== null && max !== null && min > max) throw new Unsatisfiable(pointer, 'no number lies between its bounds');
  const options = numberRange({ min, max, minExcluded, maxExcluded });
  if (options.length === 0) throw new Unsatisfiable(pointer, 'no number lies between its bounds');
  rules.addNamed(NUMBER_RANGE_RULES);
  return rules.add(alternatives(options));
}
