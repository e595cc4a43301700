import { charactersInJson } from './code-point-set.ts';
import type { GrammarRules } from './grammar-rules.ts';
import { type AutomatonState, automatonOf } from './regex-automaton.ts';
import { parseRegex, type RegexNode, RegexUnsupported } from './regex-parser.ts';

const ANYTHING: RegexNode = { kind: 'repeat', of: { kind: 'set', set: [[0, 0x10ffff]] }, min: 0, max: null };

/** The rule of a JSON string, quotes included, whose value the pattern matches anywhere (as JSON Schema says: ^ and $ tie it to the ends). Throws RegexUnsupported. */
export function patternRule(pattern: string, rules: GrammarRules): string {
  const tree = parseRegex(pattern);
  const options = tree.kind === 'choice' ? tree.options : [tree];
  const states = automatonOf({ kind: 'choice', options: options.map(whole) });
  const edges = states.map((state) => state.edges.map(({ set, to }) => ({ to, characters: charactersInJson(set) })));
  const alive = leadingToAnEnd(states, edges);
  if (!alive.has(0)) throw new RegexUnsupported('a class that no printable character is in');
  const names = states.map((_, i) => (alive.has(i) ? rules.reserve() : ''));
  for (const i of alive) {
    const ways = states[i]!.isEnd ? ['"\\""'] : [];
    for (const { to, characters } of edges[i]!) if (alive.has(to)) ways.push(...characters.map((one) => `${one} ${names[to]}`));
    rules.define(names[i]!, ways.join(' | '));
  }
  return rules.add(`"\\"" ${names[0]}`);
}

/** The same, as it matches from beginning to end. */
function whole(node: RegexNode): RegexNode {
  const parts = node.kind === 'sequence' ? [...node.parts] : [node];
  const before: RegexNode[] = [ANYTHING];
  const after: RegexNode[] = [ANYTHING];
  while (parts[0]?.kind === 'start') {
    before.length = 0;
    parts.shift();
  }
  while (parts[parts.length - 1]?.kind === 'end') {
    after.length = 0;
    parts.pop();
  }
  return { kind: 'sequence', parts: [...before, ...parts, ...after] };
}

/** Other states would be rules that nothing fulfils. */
function leadingToAnEnd(
  states: readonly AutomatonState[],
  edges: readonly (readonly { readonly to: number; readonly characters: readonly string[] }[])[],
): ReadonlySet<number> {
  const sources = new Map<number, number[]>();
  for (const [from, out] of edges.entries()) {
    for (const { to, characters } of out) {
      if (characters.length === 0) continue;
      const known = sources.get(to);
      if (known === undefined) sources.set(to, [from]);
      else known.push(from);
    }
  }
  const alive = new Set<number>();
  for (const [i, { isEnd }] of states.entries()) if (isEnd) alive.add(i);
  for (const state of alive) for (const source of sources.get(state) ?? []) alive.add(source);
  return alive;
}
