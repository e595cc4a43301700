import { alternatives, escapeCharacter, type GrammarRules, literal } from './grammar-rules.ts';

/**
 * An expression for one of `texts` (at least one). Common beginnings are written once: llama.cpp holds a stack for each alternative that is still open, and tries every token of
 * the vocabulary on each.
 */
export function oneOfTexts(texts: readonly string[], rules: GrammarRules): string {
  const sorted = [...new Set(texts)].sort();
  return group(sorted, 0, rules, 0);
}

function group(sorted: readonly string[], from: number, rules: GrammarRules, depth: number): string {
  if (sorted.length === 1) return literal(sorted[0]!.slice(from));
  // Sorted: what the first and the last share, all share.
  const shared = sharedLength(sorted[0]!, sorted[sorted.length - 1]!, from);
  const parts: string[] = [];
  let start = 0;
  if (sorted[0]!.length === shared) {
    parts.push('""');
    start = 1;
  }
  while (start < sorted.length) {
    const character = firstCharacter(sorted[start]!, shared);
    let end = start + 1;
    while (end < sorted.length && firstCharacter(sorted[end]!, shared) === character) end++;
    const members = sorted.slice(start, end);
    // A trie this deep is a list of texts that are each other's beginnings; the rest is written out.
    parts.push(depth >= 200 ? alternatives(members.map((text) => literal(text.slice(shared)))) : group(members, shared, rules, depth + 1));
    start = end;
  }
  const choice = rules.add(parts.join(' | '));
  return shared === from ? choice : `${literal(sorted[0]!.slice(from, shared))} ${choice}`;
}

/** Where two texts part, not inside a surrogate pair. */
function sharedLength(a: string, b: string, from: number): number {
  let at = from;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  const last = at > from ? a.charCodeAt(at - 1) : 0;
  return last >= 0xd800 && last <= 0xdbff ? at - 1 : at;
}

function firstCharacter(text: string, at: number): number {
  return text.codePointAt(at)!;
}

interface TrieNode {
  ends: boolean;
  readonly next: Map<number, TrieNode>;
}

/** A rule for a JSON string, quotes included and without escapes, that is none of `names`: keys of additional properties. */
export function keyExcept(names: Iterable<string>, rules: GrammarRules): string {
  const root: TrieNode = { ends: false, next: new Map() };
  for (const name of names) {
    let node = root;
    let reachable = true;
    for (const character of name) {
      const code = character.codePointAt(0)!;
      if (code < 0x20 || code === 0x22 || code === 0x5c) {
        // Such a name is spelled with an escape, and keys of this rule have none.
        reachable = false;
        break;
      }
      let next = node.next.get(code);
      if (next === undefined) {
        next = { ends: false, next: new Map() };
        node.next.set(code, next);
      }
      node = next;
    }
    if (reachable) node.ends = true;
  }
  const any = rules.add('[^"\\\\\\x00-\\x1f]*');
  // Children before parents, without recursion: names may be long.
  const order: TrieNode[] = [root];
  for (let i = 0; i < order.length; i++) for (const child of order[i]!.next.values()) order.push(child);
  const ruleOf = new Map<TrieNode, string>();
  for (const node of order.reverse()) {
    const parts: string[] = [];
    let excluded = '';
    for (const [code, child] of node.next) {
      const spelled = escapeCharacter(code);
      excluded += spelled;
      parts.push(`[${spelled}] ${ruleOf.get(child)!}`);
    }
    parts.push(`[^"\\\\\\x00-\\x1f${excluded}] ${any} "\\""`);
    if (!node.ends) parts.push('"\\""');
    ruleOf.set(node, rules.add(parts.join(' | ')));
  }
  return rules.add(`"\\"" ${ruleOf.get(root)!}`);
}
