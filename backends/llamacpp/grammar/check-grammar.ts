import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { GbnfError, type GbnfItem, GbnfParser, type GbnfRules } from './gbnf-parser.ts';

const MAX_LENGTH = 256 * 1024;
const MAX_RULES = 5_000;
/** llama.cpp looks for left recursion along every way, however often they meet. */
const MAX_WAYS = 100_000;
/** And calls itself at each step of a way. */
const MAX_STEPS = 2_000;

/**
 * Refuses GBNF text that llama.cpp cannot compile or would not survive: too large, left recursion (also behind rules that may be empty), repetitions without end of nothing. Throws
 * INVALID_ARGUMENT `grammar: ...`. `compile` makes an AddonGrammar, and has the last word. What no check can tell: an ambiguous grammar can make each token slower than the last.
 */
export function checkGrammar(text: string, compile: (text: string) => unknown): void {
  if (text.length > MAX_LENGTH) throw invalidArgument(`grammar: ${text.length} characters; at most ${MAX_LENGTH} are compiled`);
  if (text.includes('\0')) throw invalidArgument('grammar: a NUL character; write \\x00');
  try {
    const rules = new GbnfParser(text).parse();
    checkRules(rules);
    checkWays(rules, mayBeEmpty(rules));
  } catch (error) {
    if (error instanceof GbnfError) throw invalidArgument(`grammar: ${error.message}`);
    throw error;
  }
  try {
    compile(text);
  } catch (error) {
    if (error instanceof InferenceError) throw error;
    throw new InferenceError('INVALID_ARGUMENT', 'grammar: llama.cpp does not compile it', { cause: error });
  }
}

function checkRules(rules: GbnfRules): void {
  if (!rules.has('root'))
    throw new GbnfError(
      `expected a rule named root, got ${rules.size === 0 ? 'no rules' : `rules without it${didYouMean('root', rules.keys())}`}`,
    );
  if (rules.size > MAX_RULES) throw new GbnfError(`${rules.size} rules and groups; at most ${MAX_RULES} are compiled`);
  for (const [name, alternatives] of rules) {
    for (const item of alternatives.flat()) {
      if (item.rule === null || rules.has(item.rule)) continue;
      throw new GbnfError(`${shown(name)} names the rule ${item.rule}, which there is not${didYouMean(item.rule, rules.keys())}`);
    }
  }
}

function shown(name: string): string {
  return name.startsWith('(') ? 'a group' : `rule ${name}`;
}

/** Names of rules that the empty text fulfils, from those that need nothing on. */
function mayBeEmpty(rules: GbnfRules): ReadonlySet<string> {
  const empty = new Set<string>();
  const users = new Map<string, string[]>();
  for (const [name, alternatives] of rules) {
    for (const item of alternatives.flat()) {
      if (item.rule === null) continue;
      const named = users.get(item.rule);
      if (named === undefined) users.set(item.rule, [name]);
      else named.push(name);
    }
  }
  const todo = [...rules.keys()];
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (empty.has(name)) continue;
    if (!rules.get(name)!.some((sequence) => sequence.every((item) => isEmpty(item, empty)))) continue;
    empty.add(name);
    todo.push(...(users.get(name) ?? []));
  }
  return empty;
}

function isEmpty(item: GbnfItem, empty: ReadonlySet<string>): boolean {
  return item.min === 0 || item.elements === 0 || (item.rule !== null && empty.has(item.rule));
}

/** What a rule may begin with must not be the rule itself. */
function checkWays(rules: GbnfRules, empty: ReadonlySet<string>): void {
  const first = new Map<string, readonly string[]>();
  for (const [name, alternatives] of rules) first.set(name, firstRules(name, alternatives, empty));
  const done = new Map<string, { ways: number; steps: number }>();
  const open = new Set<string>();
  for (const start of rules.keys()) {
    const todo = [start];
    while (todo.length > 0) {
      const name = todo[todo.length - 1]!;
      if (done.has(name)) {
        todo.pop();
        continue;
      }
      const next = first.get(name)!;
      if (open.has(name)) {
        open.delete(name);
        todo.pop();
        const below = next.map((other) => done.get(other)!);
        const ways = below.reduce((sum, other) => sum + other.ways, 1);
        const steps = below.reduce((most, other) => Math.max(most, other.steps), 0) + 1;
        if (ways > MAX_WAYS || steps > MAX_STEPS) throw new GbnfError(`${shown(name)} may begin in too many ways`);
        done.set(name, { ways, steps });
        continue;
      }
      open.add(name);
      for (const other of next) {
        if (open.has(other))
          throw new GbnfError(
            `left recursion: ${shown(other)} may begin with itself; put something before it, or write it as a repetition`,
          );
        if (!done.has(other)) todo.push(other);
      }
    }
  }
}

function firstRules(name: string, alternatives: readonly (readonly GbnfItem[])[], empty: ReadonlySet<string>): string[] {
  const out: string[] = [];
  for (const sequence of alternatives) {
    let isFirst = true;
    for (const item of sequence) {
      const inside = item.elements === 0 || (item.rule !== null && empty.has(item.rule));
      if (inside && (item.max === null || item.max > 1)) {
        throw new GbnfError(`${shown(name)} repeats something that may be empty`);
      }
      if (isFirst && item.rule !== null) out.push(item.rule);
      if (!isEmpty(item, empty)) isFirst = false;
    }
  }
  return out;
}
