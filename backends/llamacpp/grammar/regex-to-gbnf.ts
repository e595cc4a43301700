import { charactersInJson } from './code-point-set.ts';
import { alternatives, type GrammarRules } from './grammar-rules.ts';
import { parseRegex, type RegexNode, RegexUnsupported } from './regex-parser.ts';
import { MAX_REPETITIONS } from './schema-limits.ts';

/** The rule of a JSON string, quotes included, whose value the pattern matches anywhere (as JSON Schema says: ^ and $ tie it to the ends). Throws RegexUnsupported. */
export function patternRule(pattern: string, rules: GrammarRules): string {
  const tree = parseRegex(pattern);
  const options = tree.kind === 'choice' ? tree.options : [tree];
  return rules.add(alternatives(options.map((option) => `"\\"" ${anchored(option, rules)} "\\""`)));
}

function anchored(node: RegexNode, rules: GrammarRules): string {
  const parts = node.kind === 'sequence' ? [...node.parts] : [node];
  let before = 'char* ';
  let after = ' char*';
  while (parts[0]?.kind === 'start') {
    before = '';
    parts.shift();
  }
  while (parts[parts.length - 1]?.kind === 'end') {
    after = '';
    parts.pop();
  }
  return `${before}${sequence(parts, rules)}${after}`;
}

function sequence(parts: readonly RegexNode[], rules: GrammarRules): string {
  if (parts.length === 0) return '""';
  return parts.map((part) => expression(part, rules)).join(' ');
}

function expression(node: RegexNode, rules: GrammarRules): string {
  switch (node.kind) {
    case 'set': {
      const options = charactersInJson(node.set);
      if (options.length === 0) throw new RegexUnsupported('a class that no printable character is in');
      return options.length === 1 ? options[0]! : rules.add(options.join(' | '));
    }
    case 'sequence':
      return sequence(node.parts, rules);
    case 'choice':
      return rules.add(node.options.map((option) => expression(option, rules)).join(' | '));
    case 'repeat': {
      if (node.min > MAX_REPETITIONS || (node.max ?? 0) > MAX_REPETITIONS)
        throw new RegexUnsupported(`a repetition above ${MAX_REPETITIONS}`);
      if (node.max === 0) return '""';
      if (mayBeEmpty(node.of)) throw new RegexUnsupported('a repetition of something that may be empty, as in (a*)*');
      const name = rules.add(expression(node.of, rules));
      return rules.repeat(name, node.min, node.max);
    }
    default:
      throw new RegexUnsupported('^ and $ are supported at the ends of the pattern, or of its alternatives, alone');
  }
}

function mayBeEmpty(node: RegexNode): boolean {
  switch (node.kind) {
    case 'set':
      return false;
    case 'sequence':
      return node.parts.every(mayBeEmpty);
    case 'choice':
      return node.options.some(mayBeEmpty);
    case 'repeat':
      return node.min === 0 || mayBeEmpty(node.of);
    default:
      return true;
  }
}
