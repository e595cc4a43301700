const NAMES = /"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\br\d+\b/g;

/** For each rule, a number that it shares with those that it leads to and that lead back to it. `bodies`: GBNF by name, names as GrammarRules makes them. */
export function recursiveGroups(bodies: ReadonlyMap<string, string>): ReadonlyMap<string, number> {
  const next = new Map<string, string[]>();
  const before = new Map<string, string[]>();
  for (const [name, body] of bodies) {
    const named = [...body.matchAll(NAMES)].map((found) => found[0]).filter((text) => text.startsWith('r') && bodies.has(text));
    next.set(name, named);
    for (const other of named) {
      const list = before.get(other);
      if (list === undefined) before.set(other, [name]);
      else list.push(name);
    }
  }
  // Kosaraju: in the order in which rules are finished, backwards, along the edges turned round.
  const finished: string[] = [];
  const seen = new Set<string>();
  for (const start of bodies.keys()) {
    const todo: { name: string; at: number }[] = [];
    if (!seen.has(start)) todo.push({ name: start, at: 0 });
    seen.add(start);
    while (todo.length > 0) {
      const top = todo[todo.length - 1]!;
      const other = next.get(top.name)![top.at++];
      if (other === undefined) {
        finished.push(top.name);
        todo.pop();
      } else if (!seen.has(other)) {
        seen.add(other);
        todo.push({ name: other, at: 0 });
      }
    }
  }
  const groups = new Map<string, number>();
  for (let i = finished.length - 1; i >= 0; i--) {
    const todo = [finished[i]!];
    while (todo.length > 0) {
      const name = todo.pop()!;
      if (groups.has(name)) continue;
      groups.set(name, i);
      for (const other of before.get(name) ?? []) if (!groups.has(other)) todo.push(other);
    }
  }
  return groups;
}
