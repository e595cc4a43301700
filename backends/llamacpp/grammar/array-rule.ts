import type { GrammarRules } from './grammar-rules.ts';
import type { JsonArrayRules } from './merge-keywords.ts';
import type { CompileParts } from './object-rule.ts';
import { Unsatisfiable } from './schema-parts.ts';

/** First items each by its schema, the rest all by one. */
export function arrayRule(array: JsonArrayRules, pointer: string, rules: GrammarRules, compile: CompileParts): string {
  const { minItems } = array;
  let most = array.maxItems;
  if (array.rest === null && (most === null || most > array.first.length)) most = array.first.length;
  const first: string[] = [];
  for (const [i, parts] of array.first.entries()) {
    if (most !== null && i >= most) break;
    const item = compileUnless(i >= minItems, parts, pointer, compile);
    if (item === null) {
      most = i;
      break;
    }
    first.push(item);
  }
  let rest: string | null = null;
  if (most === null || most > first.length) {
    rest = array.rest!.length === 0 ? 'value' : compileUnless(minItems <= first.length, array.rest!, pointer, compile);
    if (rest === null) most = first.length;
  }
  if (most !== null && most < minItems) throw new Unsatisfiable(pointer, 'no array is allowed: minItems is more than there can be');
  const least = Math.max(0, minItems - first.length);
  let inside = '';
  if (rest !== null) {
    const more = rules.add(`"," ws ${rest}`);
    const left = most === null ? null : most - first.length;
    if (first.length > 0) inside = rules.repeat(more, least, left);
    else {
      const tail = rules.repeat(more, Math.max(0, least - 1), left === null ? null : left - 1);
      inside = tail === '' ? rest : `${rest} ${tail}`;
    }
  }
  for (let i = first.length - 1; i >= 0; i--) {
    const following = i + 1 < first.length ? `"," ws ${inside}` : inside;
    const optional = i + 1 < first.length && i + 1 >= minItems;
    const group = following === '' ? '' : optional ? ` ${rules.add(`${following} | ""`)}` : ` ${following}`;
    inside = rules.add(`${first[i]!}${group}`);
  }
  if (inside === '') return rules.add('"[" ws "]"');
  return rules.add(minItems > 0 ? `"[" ws ${inside} ws "]"` : `"[" ws (${inside} ws)? "]"`);
}

function compileUnless(mayLack: boolean, parts: JsonArrayRules['first'][number], pointer: string, compile: CompileParts): string | null {
  try {
    return compile(parts, pointer);
  } catch (error) {
    if (error instanceof Unsatisfiable && mayLack) return null;
    throw error;
  }
}
