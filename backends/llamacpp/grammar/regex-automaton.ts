import type { CodePointSet } from './code-point-set.ts';
import { type RegexNode, RegexUnsupported } from './regex-parser.ts';

/** Of the automaton that the expression is read into, and of the deterministic one: each state of that becomes a rule. */
const MAX_POSITIONS = 20_000;
const MAX_STATES = 4_000;
/** What making the one of the other may take: some 50 ms. */
const MAX_STEPS = 300_000;

/** Sets of one state's edges do not overlap. */
export interface AutomatonState {
  readonly isEnd: boolean;
  readonly edges: readonly { readonly set: CodePointSet; readonly to: number }[];
}

/**
 * A deterministic automaton that reads the whole of what the expression says; its first state is the start. A grammar made of the expression itself would be ambiguous wherever the
 * expression is, and llama.cpp tries all ways through a token before it refuses it: (a+a+)+b takes 2^n steps on n letters. Throws RegexUnsupported where it gets too large.
 */
export function automatonOf(tree: RegexNode): readonly AutomatonState[] {
  return new Determinizer(new Positions(tree)).states();
}

/** Of a non-deterministic automaton: a position reads a character of its set and goes on to `next`, or, without a set, goes on to any of `ways`. */
class Positions {
  readonly sets: (CodePointSet | null)[] = [];
  readonly nexts: number[] = [];
  readonly ways: number[][] = [];
  readonly end: number;
  readonly start: number;

  constructor(tree: RegexNode) {
    this.end = this.#add(null, -1, []);
    this.start = this.#read(tree, this.end);
  }

  #add(set: CodePointSet | null, next: number, ways: number[]): number {
    if (this.sets.length >= MAX_POSITIONS) throw tooLarge();
    this.sets.push(set);
    this.nexts.push(next);
    this.ways.push(ways);
    return this.sets.length - 1;
  }

  /** Where `node` begins, with `next` behind it. */
  #read(node: RegexNode, next: number): number {
    switch (node.kind) {
      case 'set':
        return this.#add(node.set, next, []);
      case 'sequence':
        return node.parts.reduceRight((behind, part) => this.#read(part, behind), next);
      case 'choice':
        return this.#add(
          null,
          -1,
          node.options.map((option) => this.#read(option, next)),
        );
      case 'repeat': {
        let at = next;
        if (node.max === null) {
          at = this.#add(null, -1, [next]);
          this.ways[at]!.push(this.#read(node.of, at));
        } else {
          for (let i = node.min; i < node.max; i++) at = this.#add(null, -1, [next, this.#read(node.of, at)]);
        }
        for (let i = 0; i < node.min; i++) at = this.#read(node.of, at);
        return at;
      }
      default:
        throw new RegexUnsupported('^ and $ are supported at the ends of the pattern, or of its alternatives, alone');
    }
  }
}

class Determinizer {
  readonly #positions: Positions;
  readonly #numbers = new Map<string, number>();
  readonly #members: (readonly number[])[] = [];
  #steps = 0;

  constructor(positions: Positions) {
    this.#positions = positions;
  }

  states(): AutomatonState[] {
    const states: AutomatonState[] = [];
    this.#number([this.#positions.start]);
    for (let i = 0; i < this.#members.length; i++) {
      const members = this.#members[i]!;
      states.push({ isEnd: members.includes(this.#positions.end), edges: this.#edges(members) });
    }
    return states;
  }

  /** The state of being at any of the positions, or of those that they lead to without a character. */
  #number(from: readonly number[]): number {
    const { sets, ways, end } = this.#positions;
    const seen = new Set(from);
    const members: number[] = [];
    for (const at of seen) {
      this.#spend(1 + ways[at]!.length);
      if (sets[at] !== null || at === end) members.push(at);
      for (const way of ways[at]!) seen.add(way);
    }
    this.#spend(members.length);
    members.sort((a, b) => a - b);
    const key = members.join();
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    if (this.#members.length >= MAX_STATES) throw tooLarge();
    this.#members.push(members);
    this.#numbers.set(key, this.#members.length - 1);
    return this.#members.length - 1;
  }

  /** From one border of any of the sets to the next, all characters lead to the same positions. */
  #edges(members: readonly number[]): AutomatonState['edges'] {
    const borders: { at: number; next: number; change: 1 | -1 }[] = [];
    for (const member of members) {
      const next = this.#positions.nexts[member]!;
      for (const [from, to] of this.#positions.sets[member] ?? [])
        borders.push({ at: from, next, change: 1 }, { at: to + 1, next, change: -1 });
    }
    this.#spend(borders.length);
    borders.sort((a, b) => a.at - b.at);
    const open = new Map<number, number>();
    const sets = new Map<number, [number, number][]>();
    for (const [i, { at, next, change }] of borders.entries()) {
      const count = (open.get(next) ?? 0) + change;
      if (count === 0) open.delete(next);
      else open.set(next, count);
      const until = borders[i + 1]?.at ?? at;
      if (until === at || open.size === 0) continue;
      this.#spend(open.size);
      const to = this.#number([...open.keys()]);
      const ranges = sets.get(to);
      if (ranges === undefined) sets.set(to, [[at, until - 1]]);
      else if (ranges[ranges.length - 1]![1] === at - 1) ranges[ranges.length - 1]![1] = until - 1;
      else ranges.push([at, until - 1]);
    }
    return [...sets].map(([to, set]) => ({ set, to }));
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MAX_STEPS) throw tooLarge();
  }
}

function tooLarge(): RegexUnsupported {
  return new RegexUnsupported('too many ways to match it: lower its repetitions, or tie it to the beginning with ^');
}
