import { type GrammarRules, literal } from './grammar-rules.ts';
import { keyExcept } from './literal-trie.ts';
import type { JsonObjectRules } from './merge-keywords.ts';
import { type Part, Unsatisfiable } from './schema-parts.ts';

/** Compiles what a value must fulfil to the name of its rule. */
export type CompileParts = (parts: readonly Part[], pointer: string) => string;

/** Properties in the schema's order, required ones always, then others where they are allowed. */
export function objectRule(object: JsonObjectRules, pointer: string, rules: GrammarRules, compile: CompileParts): string {
  const members: { rule: string; required: boolean }[] = [];
  for (const [name, parts] of object.properties) {
    const required = object.required.has(name);
    let value: string;
    try {
      value = compile(parts, pointer);
    } catch (error) {
      if (error instanceof Unsatisfiable && !required) continue;
      throw error;
    }
    members.push({ rule: rules.add(`${literal(JSON.stringify(name))} ":" ws ${value}`), required });
  }
  const requiredCount = members.reduce((count, member) => count + (member.required ? 1 : 0), 0);
  const { minProperties, maxProperties, others } = object;
  if (maxProperties !== null && maxProperties < Math.max(requiredCount, minProperties)) {
    throw new Unsatisfiable(pointer, 'maxProperties is below minProperties or the number of required properties');
  }
  const counted = minProperties > requiredCount || maxProperties !== null;
  if (others === null) {
    if (members.length < minProperties) throw new Unsatisfiable(pointer, 'minProperties asks for more properties than there are');
    const trivial = minProperties <= requiredCount && (maxProperties ?? members.length) >= members.length;
    if (counted && !trivial) throw new CountedProperties();
    return wrap(chain(members, '', null, rules), requiredCount > 0, rules);
  }
  if (counted && members.length > requiredCount) throw new CountedProperties();
  const other = otherMember(object, pointer, rules, compile);
  if (other === null) return wrap(chain(members, '', null, rules), requiredCount > 0, rules);
  const least = Math.max(0, minProperties - requiredCount);
  const most = maxProperties === null ? null : maxProperties - requiredCount;
  const more = rules.add(`"," ws ${other}`);
  const tail = most === 0 ? '' : rules.repeat(more, least, most);
  const alone = most === 0 ? null : `${other} ${rules.repeat(more, Math.max(0, least - 1), most === null ? null : most - 1)}`;
  return wrap(chain(members, tail, alone, rules), requiredCount > 0 || least > 0, rules);
}

/** A count of properties beside optional ones would need a rule for every choice of them. */
export class CountedProperties extends Error {}

/** Null where no value of another property is allowed. */
function otherMember(object: JsonObjectRules, pointer: string, rules: GrammarRules, compile: CompileParts): string | null {
  try {
    const value = object.others!.length === 0 ? 'value' : compile(object.others!, pointer);
    const key = object.properties.size === 0 ? 'string' : keyExcept(object.properties.keys(), rules);
    return rules.add(`${key} ":" ws ${value}`);
  } catch (error) {
    if (error instanceof Unsatisfiable) return null;
    throw error;
  }
}

/**
 * All that may stand between the braces, at least one member; null: nothing may. Two rules for each property, so that commas are right: what comes first from here on, and what
 * comes later, each with its comma. `tail`: more members, each with its comma; `alone`: the same where nothing came before.
 */
function chain(
  members: readonly { rule: string; required: boolean }[],
  tail: string,
  alone: string | null,
  rules: GrammarRules,
): string | null {
  let first: string | null = alone === null ? null : rules.add(alone);
  let later = tail;
  for (const { rule, required } of [...members].reverse()) {
    const opening = later === '' ? rule : `${rule} ${later}`;
    first = required || first === null ? rules.add(opening) : rules.add(`${opening} | ${first}`);
    const separate = `"," ws ${rule}${later === '' ? '' : ` ${later}`}`;
    later = rules.add(required ? separate : `${separate} | ${later === '' ? '""' : later}`);
  }
  return first;
}

function wrap(inside: string | null, needed: boolean, rules: GrammarRules): string {
  if (inside === null) return rules.add('"{" ws "}"');
  return rules.add(needed ? `"{" ws ${inside} ws "}"` : `"{" ws (${inside} ws)? "}"`);
}
